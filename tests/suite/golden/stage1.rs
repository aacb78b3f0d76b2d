//! One round: selection, and records from what was selected.

use avr::method::{
    Templates, finished_set,
    scored::{ImprovementPlace, ScoredImprovement},
    selection::{
        TrainingRow,
        one_round::{CritiqueGroup, RoundRows, RoundSelection, pairs, select, sft},
    },
};
use avr::record::Message;
use serde_json::{Value, json};

use super::cases::{Compared, filled_in, list, number, parsed, text};

pub(crate) fn selected_for_sft(case: &Value) -> Compared {
    selected(case, |_| Vec::new())
}

pub(crate) fn selected_for_pairs(case: &Value) -> Compared {
    selected(case, |selection| {
        let best = ("best_judgement", judged_value(&selection.best_critique));
        vec![best, ("worst_judgement", judged_value(&selection.worst_critique))]
    })
}

fn selected(case: &Value, more: fn(&RoundSelection<'_>) -> Vec<(&'static str, Value)>) -> Compared {
    let (_, answer) = conversation(case);
    let Some(answer_reward) = case["rewards"][&answer].as_f64() else {
        return Compared { computed: json!({}), expected: case["expected"].clone() };
    };
    let scored = scored(case);
    let selection = select(&answer, answer_reward, &scored);
    let mut computed = json!({"scoring_detail": {
        "messages": case["messages"], "source_score": answer_reward,
        "refinements": scored.iter().map(scored_value).collect::<Vec<_>>(),
        "best_record": selection.as_ref().map(|selection| scored_value(&selection.best)),
    }});
    if let Some(selection) = &selection {
        computed["filtered_data"] = json!({
            "messages": case["messages"], "source_score": answer_reward,
            "refinement": scored_value(&selection.best),
        });
        for (name, value) in more(selection) {
            computed["filtered_data"][name] = value;
        }
    }
    Compared { computed, expected: case["expected"].clone() }
}

/// `x` and `y0`.
fn conversation(case: &Value) -> (Vec<Message>, String) {
    let mut messages: Vec<Message> = parsed(&case["messages"]);
    let answer = messages.pop().expect("a conversation ends with the answer");
    (messages, answer.content)
}

fn scored(case: &Value) -> Vec<ScoredImprovement<'_>> {
    let row = |(index, row)| {
        let text = text(row, "refined_response");
        Some(scored_from(index, text_of_critique(row), text, case["rewards"][text].as_f64()?))
    };
    list(case, "refinements").iter().enumerate().filter_map(row).collect()
}

fn text_of_critique(row: &Value) -> &str {
    text(row, "judgement")
}

fn scored_from<'a>(index: usize, critique: &'a str, text: &'a str, reward: f64) -> ScoredImprovement<'a> {
    ScoredImprovement { critique, text, reward, place: ImprovementPlace { critique: index, improvement: 0 } }
}

fn scored_value(scored: &ScoredImprovement<'_>) -> Value {
    json!({"judgement": scored.critique, "refined_response": scored.text, "score": scored.reward})
}

fn judged_value(judged: &CritiqueGroup<'_>) -> Value {
    let row = |row: &ScoredImprovement<'_>| json!({"refined_response": row.text, "score": row.reward});
    let rows: Vec<_> = judged.improvements.iter().map(row).collect();
    json!({"judgement": judged.text, "refinements": rows, "avg_score": judged.mean})
}

fn scored_in<'a>(value: &'a Value, critique: &'a str) -> ScoredImprovement<'a> {
    scored_from(0, critique, text(value, "refined_response"), number(value, "score"))
}

fn judged_in(value: &Value) -> CritiqueGroup<'_> {
    let critique = text(value, "judgement");
    let improvements = list(value, "refinements").iter().map(|row| scored_in(row, critique)).collect();
    CritiqueGroup { text: critique, improvements, mean: number(value, "avg_score") }
}

/// A selection as the cases write it; those for SFT leave the critiques out.
fn selection_in<'a>(selected: &'a Value, answer: &'a str) -> RoundSelection<'a> {
    let best = scored_in(&selected["refinement"], text(&selected["refinement"], "judgement"));
    let alone = || CritiqueGroup { text: best.critique, improvements: vec![best], mean: best.reward };
    let judged = |field: &str| selected.get(field).map_or_else(alone, judged_in);
    RoundSelection {
        answer,
        answer_reward: number(selected, "source_score"),
        best,
        best_critique: judged("best_judgement"),
        worst_critique: judged("worst_judgement"),
    }
}

pub(crate) fn sft_records(case: &Value) -> Compared {
    let templates = Templates::builtin();
    let row = |selected: &Value| {
        let (prompt, answer) = conversation(selected);
        let selection = selection_in(selected, &answer);
        sft(&selection).ok().map(|()| RoundRows { prompt: &prompt, templates: &templates }.sft(&selection))
    };
    let rows: Vec<TrainingRow> = list(case, "selected").iter().filter_map(row).collect();
    let source = list(case, "source").iter().map(|row| parsed(&row["chosen"])).collect();
    let mixed = finished_set::mix_with_source(&rows, source);
    let computed = mixed.iter().map(|messages| json!({"messages": messages})).collect();
    Compared { computed, expected: filled_in(&case["expected"], &templates) }
}

pub(crate) fn pair_records(case: &Value) -> Compared {
    let templates = Templates::builtin();
    let (prompt, answer) = conversation(&case["selected"]);
    let selection = selection_in(&case["selected"], &answer);
    let (pairs, rows) = (pairs(&selection), RoundRows { prompt: &prompt, templates: &templates });
    let made = [
        pairs.response.ok().map(|best| rows.response(&selection, best)),
        pairs.critique.ok().map(|sides| rows.critique(&selection, &sides)),
        pairs.improvement.ok().map(|sides| rows.improvement(&selection, &sides)),
    ];
    let set = finished_set::without_repeats(made.into_iter().flatten());
    let computed = set.iter().map(pair_value).collect();
    Compared { computed, expected: filled_in(&case["expected"], &templates) }
}

pub(crate) fn pair_value(row: &TrainingRow) -> Value {
    json!({"messages": row.prompt, "chosen": row.chosen[0], "rejected": row.rejected[0]})
}
