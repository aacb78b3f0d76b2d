//! The only place where topics meet stages: the whole flow in one function, with its bounds.

use std::collections::BTreeSet;

use crate::{
    engine::{CheckpointScope, StageSpec},
    method::{
        Recipe,
        routing::{NextStage, after_draft, after_improve, after_score},
    },
    record::Thread,
    stage::{
        Context, CritiqueStage, DraftStage, ImproveStage, MissingModel, Models, OnThreads, Onward, Role,
        ScoreStage, SelectStage, ThreadStage,
    },
    topic::{
        CRITIQUED, DEAD_LETTERS, DRAFTED, HANDLED, IMPROVED, RECORDS, REJECTS, SCORED, Topic, TopicName,
    },
};

/// The exporter's name.
pub const EXPORT: &str = "export";

/// Every stage with the topics that it reads, in the order in which a thread passes them.
pub const STAGES: [(&str, &[TopicName]); 6] = [
    (DraftStage::NAME, &[DraftStage::INPUT.name]),
    (CritiqueStage::NAME, &[CritiqueStage::INPUT.name]),
    (ImproveStage::NAME, &[ImproveStage::INPUT.name]),
    (ScoreStage::NAME, &[ScoreStage::INPUT.name]),
    (SelectStage::NAME, &[SelectStage::INPUT.name]),
    (EXPORT, &EXPORTED),
];

/// What the exporter reads; its checkpoint lies with the first.
const EXPORTED: [TopicName; 4] = [RECORDS.name, DEAD_LETTERS, REJECTS.name, HANDLED.name];

/// The stages whose lag a stage waits for before it takes on more: where work is admitted to the loop, everything
/// behind it; before the end, the end. Stages in the loop wait for nobody's topic, or the loop could lock itself.
pub fn waits_for(stage: &str) -> &'static [&'static str] {
    match stage {
        DraftStage::NAME => {
            &[CritiqueStage::NAME, ImproveStage::NAME, ScoreStage::NAME, SelectStage::NAME, EXPORT]
        }
        SelectStage::NAME => &[EXPORT],
        _ => &[],
    }
}

/// The stages that a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen(BTreeSet<&'static str>);

/// A name that no stage has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no stage {name:?}; the stages are {}", STAGES.map(|(name, _)| name).join(", "))]
pub struct UnknownStage {
    /// What was asked for.
    pub name: String,
}

impl Chosen {
    /// The whole flow.
    pub fn all() -> Self {
        Self(STAGES.iter().map(|(name, _)| *name).collect())
    }

    /// The stages of these names; all where none is named.
    ///
    /// # Errors
    /// A name that no stage has.
    pub fn named(names: &[String]) -> Result<Self, UnknownStage> {
        if names.is_empty() {
            return Ok(Self::all());
        }
        let known = |name: &String| STAGES.iter().map(|(known, _)| *known).find(|known| known == name);
        let chosen = names.iter().map(|name| known(name).ok_or_else(|| UnknownStage { name: name.clone() }));
        chosen.collect::<Result<_, _>>().map(Self)
    }

    /// Whether a stage is among them.
    pub fn has(&self, stage: &str) -> bool {
        self.0.contains(stage)
    }

    /// Their names, in the order of the flow.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        STAGES.iter().map(|(name, _)| *name).filter(|name| self.has(name))
    }
}

/// Steps at once, for each stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageLimits {
    /// Threads that wait for their answer.
    pub draft: usize,
    /// Threads that wait for their critiques.
    pub critique: usize,
    /// Threads that wait for their improvements.
    pub improve: usize,
    /// Threads that wait for their rewards.
    pub score: usize,
    /// Threads that are selected from.
    pub select: usize,
    /// Harvests in one write to the files.
    pub export: usize,
}

impl Default for StageLimits {
    fn default() -> Self {
        Self { draft: 1024, critique: 1024, improve: 1024, score: 1024, select: 64, export: 512 }
    }
}

/// The models that the chosen stages ask for threads of a recipe.
pub fn asks(recipe: &Recipe, chosen: &Chosen) -> BTreeSet<Role> {
    fn of<S: ThreadStage>(recipe: &Recipe, chosen: &Chosen) -> Vec<Role> {
        if chosen.has(S::NAME) && S::is_passed(recipe) { S::asks(recipe) } else { vec![] }
    }
    let stages = [
        of::<DraftStage>(recipe, chosen),
        of::<CritiqueStage>(recipe, chosen),
        of::<ImproveStage>(recipe, chosen),
        of::<ScoreStage>(recipe, chosen),
        of::<SelectStage>(recipe, chosen),
    ];
    stages.into_iter().flatten().collect()
}

/// The stages that were chosen, those of them that threads of the recipe pass, in the order in which they do; each with
/// where its results go.
///
/// ```text
///   prompts ─▶ draft ─▶ drafted ─▶ critique ─▶ critiqued ─▶ improve ─▶ improved ─▶ score ─▶ scored ─▶ select ─▶ records
///                          ▲                                                          │
///                          └──────────────────── another round ◀──────────────────────┘
///   records, dead-letters, rejects, handled ─▶ export ─▶ files
/// ```
///
/// `scope` is that of the checkpoints of the sink that the exporter has.
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
    let mut flow = Flow { context, models, chosen, specs: vec![] };
    flow.add::<DraftStage>(limits.draft, |recipe, _| topic_for(after_draft(recipe)))?;
    flow.add::<CritiqueStage>(limits.critique, |_, _| CRITIQUED)?;
    flow.add::<ImproveStage>(limits.improve, |recipe, thread| topic_for(after_improve(recipe, thread)))?;
    flow.add::<ScoreStage>(limits.score, |recipe, thread| topic_for(after_score(recipe, thread)))?;
    flow.add::<SelectStage>(limits.select, |_, _| RECORDS)?;
    let mut specs = flow.specs;
    if chosen.has(EXPORT) {
        specs.push(StageSpec::sink(EXPORT, EXPORTED.to_vec(), limits.export, scope));
    }
    Ok(specs)
}

/// The topic in which a thread waits for what is to be done next.
fn topic_for(next: NextStage) -> Topic<Thread> {
    match next {
        NextStage::Critique => DRAFTED,
        NextStage::Score => IMPROVED,
        NextStage::Select => SCORED,
    }
}

/// The flow while it is put together.
struct Flow<'a> {
    context: &'a Context,
    models: &'a Models,
    chosen: &'a Chosen,
    specs: Vec<StageSpec>,
}

impl Flow<'_> {
    /// Adds a stage, if it was chosen and threads of the recipe pass it.
    fn add<S: ThreadStage>(
        &mut self,
        max_in_flight: usize,
        onward: Onward<S::Out>,
    ) -> Result<(), MissingModel> {
        if self.chosen.has(S::NAME) && S::is_passed(&self.context.recipe) {
            let stage = OnThreads::new(S::assemble(self.context, self.models)?, self.context, onward);
            self.specs.push(StageSpec::steps(S::NAME, S::INPUT.name, stage, max_in_flight));
        }
        Ok(())
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
    fn no_stage_waits_for_itself_or_in_a_circle() {
        let place = |name| STAGES.iter().position(|(known, _)| *known == name).expect("a stage");
        for (name, _) in STAGES {
            assert!(waits_for(name).iter().all(|later| place(*later) > place(name)), "{name}");
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
