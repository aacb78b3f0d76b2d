//! The only place where topics meet stages: the whole flow in one table, with its bounds.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    engine::{CheckpointScope, StageSpec},
    method::{
        Recipe,
        routing::{NextStage, after_draft, after_improve, after_score},
    },
    record::Thread,
    stage::{
        Context, CritiqueStage, DraftStage, ImproveStage, MissingModel, Models, OnThreads, Role, ScoreStage,
        SelectStage, ThreadStage,
    },
    topic::{
        CRITIQUED, DEAD_LETTERS, DRAFTED, HANDLED, IMPROVED, PROMPTS, RECORDS, REJECTS, SCORED, Topic,
        TopicName,
    },
};

/// The exporter's name.
pub const EXPORT: &str = "export";

/// What the exporter reads; its checkpoint lies with the first.
const EXPORTED: [TopicName; 4] = [RECORDS.name, DEAD_LETTERS, REJECTS.name, HANDLED.name];

/// One stage of the flow: all that the rest of the program knows of it.
pub struct FlowStage {
    /// Its name: in configuration, metrics, consumer groups and dead letters.
    pub name: &'static str,
    /// The topics that it reads.
    pub reads: &'static [TopicName],
    /// The topics that it may write to.
    pub writes: &'static [TopicName],
    /// Steps at once, where the configuration says nothing.
    pub max_in_flight: usize,
    /// Whether it takes on no more while a stage behind it lags: where work is admitted to the loop, and before the end.
    /// Stages in the loop wait for nobody's topic, or the loop could lock itself.
    waits: bool,
    is_passed: fn(&Recipe) -> bool,
    asks: fn(&Recipe) -> Vec<Role>,
    assemble: fn(&Assembly<'_>, usize) -> Result<StageSpec, MissingModel>,
}

/// What stages are assembled from.
struct Assembly<'a> {
    context: &'a Context,
    models: &'a Models,
    scope: CheckpointScope,
}

/// A row of [`STAGES`] for a [`ThreadStage`]: its type, the topic of threads that it reads, those that it may write to and
/// which of them by recipe and result, steps at once, and whether it waits for those behind it.
macro_rules! on_threads {
    (
        $stage:ty: $input:ident => [$($topic:ident),+] by $onward:expr,
        max_in_flight: $max_in_flight:literal, waits: $waits:literal
    ) => {
        FlowStage {
            name: <$stage>::NAME,
            reads: {
                const INPUT: Topic<Thread> = $input;
                &[INPUT.name]
            },
            writes: &[$($topic.name),+],
            max_in_flight: $max_in_flight,
            waits: $waits,
            is_passed: <$stage>::is_passed,
            asks: <$stage>::asks,
            assemble: |Assembly { context, models, .. }, max_in_flight| {
                let stage = OnThreads::new(<$stage>::assemble(context, models)?, context, $onward);
                Ok(StageSpec::steps(<$stage>::NAME, $input.name, stage, max_in_flight))
            },
        }
    };
}

/// Every stage, in the order in which a thread passes them.
///
/// ```text
///   prompts ─▶ draft ─▶ drafted ─▶ critique ─▶ critiqued ─▶ improve ─▶ improved ─▶ score ─▶ scored ─▶ select ─▶ records
///                          ▲                                                          │
///                          └──────────────────── another round ◀──────────────────────┘
///   records, dead-letters, rejects, handled ─▶ export ─▶ files
/// ```
pub static STAGES: [FlowStage; 6] = [
    on_threads!(
        DraftStage: PROMPTS => [DRAFTED, IMPROVED, SCORED] by |recipe, _| topic_for(after_draft(recipe)),
        max_in_flight: 1024, waits: true
    ),
    on_threads!(
        CritiqueStage: DRAFTED => [CRITIQUED] by |_, _| CRITIQUED,
        max_in_flight: 1024, waits: false
    ),
    on_threads!(
        ImproveStage: CRITIQUED => [DRAFTED, IMPROVED, SCORED] by |recipe, thread| {
            topic_for(after_improve(recipe, thread))
        },
        max_in_flight: 1024, waits: false
    ),
    on_threads!(
        ScoreStage: IMPROVED => [DRAFTED, SCORED] by |recipe, thread| topic_for(after_score(recipe, thread)),
        max_in_flight: 1024, waits: false
    ),
    on_threads!(
        SelectStage: SCORED => [RECORDS] by |_, _| RECORDS,
        max_in_flight: 64, waits: true
    ),
    FlowStage {
        name: EXPORT,
        reads: &EXPORTED,
        writes: &[],
        max_in_flight: 512,
        waits: false,
        is_passed: |_| true,
        asks: |_| vec![],
        assemble: |assembly, max_in_flight| {
            Ok(StageSpec::sink(EXPORT, EXPORTED.to_vec(), max_in_flight, assembly.scope))
        },
    },
];

/// The names of all stages, in the order in which a thread passes them.
pub fn stage_names() -> impl Iterator<Item = &'static str> {
    STAGES.iter().map(|stage| stage.name)
}

/// The stages whose lag a stage waits for before it takes on more: all behind it, or none.
pub fn waits_for(stage: &str) -> &'static [FlowStage] {
    match STAGES.iter().position(|known| known.name == stage) {
        Some(place) if STAGES[place].waits => &STAGES[place + 1..],
        _ => &[],
    }
}

/// The stages that a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen(BTreeSet<&'static str>);

/// A name that no stage has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no stage {name:?}; the stages are {}", stage_names().collect::<Vec<_>>().join(", "))]
pub struct UnknownStage {
    /// What was asked for.
    pub name: String,
}

impl Chosen {
    /// The whole flow.
    pub fn all() -> Self {
        Self(stage_names().collect())
    }

    /// The stages of these names; all where none is named.
    ///
    /// # Errors
    /// A name that no stage has.
    pub fn named(names: &[String]) -> Result<Self, UnknownStage> {
        if names.is_empty() {
            return Ok(Self::all());
        }
        let known = |name: &String| stage_names().find(|known| known == name);
        let chosen = names.iter().map(|name| known(name).ok_or_else(|| UnknownStage { name: name.clone() }));
        chosen.collect::<Result<_, _>>().map(Self)
    }

    /// Whether a stage is among them.
    pub fn has(&self, stage: &str) -> bool {
        self.0.contains(stage)
    }

    /// Their names, in the order of the flow.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        stage_names().filter(|name| self.has(name))
    }
}

/// Steps at once, by the stage's name; a stage that is not named has what its row of [`STAGES`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageLimits(pub BTreeMap<&'static str, usize>);

/// The models that the chosen stages ask for threads of a recipe.
pub fn asks(recipe: &Recipe, chosen: &Chosen) -> BTreeSet<Role> {
    passed(recipe, chosen).flat_map(|stage| (stage.asks)(recipe)).collect()
}

/// The stages that were chosen, those of them that threads of the recipe pass, in the order in which they do; each with
/// where its results go. `scope` is that of the checkpoints of the sink that the exporter has.
///
/// # Errors
/// A stage asks a model that is not there.
pub fn stages(
    context: &Context,
    models: &Models,
    limits: &StageLimits,
    chosen: &Chosen,
    scope: CheckpointScope,
) -> Result<Vec<StageSpec>, MissingModel> {
    let assembly = Assembly { context, models, scope };
    let limit = |stage: &FlowStage| limits.0.get(stage.name).copied().unwrap_or(stage.max_in_flight);
    passed(&context.recipe, chosen).map(|stage| (stage.assemble)(&assembly, limit(stage))).collect()
}

fn passed(recipe: &Recipe, chosen: &Chosen) -> impl Iterator<Item = &'static FlowStage> {
    STAGES.iter().filter(|stage| chosen.has(stage.name) && (stage.is_passed)(recipe))
}

/// The topic in which a thread waits for what is to be done next.
fn topic_for(next: NextStage) -> Topic<Thread> {
    match next {
        NextStage::Critique => DRAFTED,
        NextStage::Score => IMPROVED,
        NextStage::Select => SCORED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Chosen {
        Chosen::named(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
            .expect("they are stages")
    }

    fn roles(recipe: &Recipe, names: &[&str]) -> Vec<Role> {
        asks(recipe, &chosen(names)).into_iter().collect()
    }

    #[test]
    fn a_process_needs_the_models_that_its_stages_ask() {
        let (stage1, stage2, evaluation) = (Recipe::stage1(), Recipe::stage2(), Recipe::evaluation());
        assert_eq!(roles(&stage1, &[]), [Role::Generator, Role::Reward]);
        assert_eq!(roles(&stage1, &["score"]), [Role::Reward]);
        assert_eq!(roles(&stage1, &["select", "export"]), []);
        assert_eq!(roles(&stage2, &["draft"]), [], "the answer comes with the prompt");
        assert_eq!(roles(&Recipe::long_pairs(), &[]), [Role::Long, Role::Reward]);
        assert_eq!(roles(&evaluation, &[]), [Role::Long]);
        assert_eq!(roles(&evaluation, &["score", "critique"]), [], "no thread comes there");
    }

    #[test]
    fn names_are_checked_and_kept_in_the_order_of_the_flow() {
        assert_eq!(chosen(&["export", "draft"]).names().collect::<Vec<_>>(), ["draft", "export"]);
        assert_eq!(chosen(&[]), Chosen::all());
        let error = Chosen::named(&["drafts".to_owned()]).expect_err("it is none").to_string();
        assert_eq!(
            error,
            "there is no stage \"drafts\"; the stages are draft, critique, improve, score, select, export"
        );
    }

    #[test]
    fn work_is_admitted_where_no_loop_can_lock_itself() {
        let names = |stage| waits_for(stage).iter().map(|later| later.name).collect::<Vec<_>>();
        assert_eq!(names("draft"), ["critique", "improve", "score", "select", "export"]);
        assert_eq!(names("select"), ["export"]);
        for stage in ["critique", "improve", "score", "export"] {
            assert_eq!(names(stage), [""; 0], "{stage}");
        }
    }

    /// A stage without its model does not come about.
    #[test]
    fn a_stage_without_its_model_cannot_be_assembled() {
        let recipe = Recipe::stage1();
        let templates = std::sync::Arc::new(crate::method::Templates::builtin());
        let reference = recipe.reference(&templates);
        let context = Context { recipe: recipe.into(), reference, templates };
        let (models, limits) = (Models::default(), StageLimits::default());
        let assembled =
            |names: &[&str]| stages(&context, &models, &limits, &chosen(names), CheckpointScope::WholeSink);
        let names: Vec<_> =
            assembled(&["select", "export"]).expect("they ask none").iter().map(|s| s.name).collect();
        assert_eq!(names, ["select", EXPORT]);
        for (stage, role) in
            [("draft", Role::Generator), ("improve", Role::Generator), ("score", Role::Reward)]
        {
            assert_eq!(assembled(&[stage]).expect_err("it asks one"), MissingModel { stage, role });
        }
    }
}
