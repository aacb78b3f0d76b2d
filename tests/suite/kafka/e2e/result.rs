//! What came of a pipeline, beside what an undisturbed run makes.

use super::pipeline::Pipeline;
use crate::support::{
    Bench, Cluster,
    lines::{Lines, difference, lines_of_files, lines_of_shards},
};

impl Pipeline {
    /// What a run over the embedded log makes of the same prompts, with models of these options.
    pub(crate) fn undisturbed(&self, models: &[&str]) -> Lines {
        let bench = Bench::new();
        let prompts = std::fs::read(self.bench.path("prompts.jsonl")).expect("prompts");
        bench.write("prompts.jsonl", prompts);
        bench.write("avr.toml", format!("recipe = {:?}\n{}", self.setup.recipe, self.setup.sections));
        bench.run(&Cluster::start(models), &["prompts.jsonl"]).expect_code(0);
        lines_of_files(&bench.path("out"))
    }

    /// What is in the files is what is expected.
    #[track_caller]
    pub(crate) fn assert_lines(&self, expected: &Lines) {
        assert_eq!(difference(&lines_of_shards(&self.bench.path("out")), expected), None);
    }

    /// What is in the files is what an undisturbed run makes.
    #[track_caller]
    pub(crate) fn assert_as_undisturbed(&self) {
        self.assert_lines(&self.undisturbed(&[]));
    }
}
