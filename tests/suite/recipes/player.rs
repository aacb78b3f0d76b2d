//! Plays a recipe by hand: one thread after the other, one call after the other, with the pure rules alone.

use avr::{
    method::{
        AnswerSource, Base, CallSite, ChatTurn, Recipe, Templates, ask,
        final_answer::final_answer,
        pairwise::verdict,
        rating::rating,
        recursion::{RoundDecision, next_step},
    },
    model::{ChatModel, ChatRequest, Priority, RewardModel, RewardRequest},
    record::{
        Answer, Comparison, Critique, Extra, Fusion, Improvement, LongSample, ModelCall, Round, Thread,
    },
};

/// Who plays, and by which rules.
pub(crate) struct Player<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) templates: &'a Templates,
    pub(crate) chat: &'a ChatModel,
    pub(crate) long: &'a ChatModel,
    pub(crate) reward: &'a RewardModel,
}

impl Player<'_> {
    /// Takes a thread as it came in and gives it back finished.
    pub(crate) async fn play(&self, mut thread: Thread) -> Thread {
        thread.reward_model = self.recipe.is_scored().then(|| self.reward.model().to_owned());
        if self.recipe.base != Base::Evaluation || self.recipe.long_answers == 0 {
            thread.answer = Some(self.answer(&thread).await);
        }
        thread.long_answers = self.samples(&thread).await;
        match self.recipe.base {
            Base::Evaluation => self.refine_blindly(&mut thread).await,
            Base::LongPairs => self.score_answer(&mut thread).await,
            Base::Fusion => self.fuse(&mut thread).await,
            Base::Stage1 | Base::Stage2 => {
                self.score_answer(&mut thread).await;
                self.refine(&mut thread).await;
            }
        }
        thread
    }

    async fn answer(&self, thread: &Thread) -> Answer {
        if self.recipe.answer == AnswerSource::Given {
            let text = thread.given_answer.clone().expect("the prompt has an answer");
            return Answer { text, reward: None, call: None, extra: Extra::new() };
        }
        self.draft(thread, 0).await
    }

    async fn draft(&self, thread: &Thread, index: u32) -> Answer {
        let site = site(thread, "draft", 0, index);
        let turns = ask::draft(&thread.prompt);
        let (text, call) =
            self.ask(self.chat, site, self.recipe.draft_temperature, &turns, 1, |_| true).await;
        Answer { text: text.expect("a draft"), reward: None, call: Some(call), extra: Extra::new() }
    }

    /// The long answers; where several are asked for at once, what came in one request and what had to be asked again.
    async fn samples(&self, thread: &Thread) -> Vec<LongSample> {
        let (count, together) = (self.recipe.long_answers, self.long.samples_per_request());
        let mut samples = Vec::new();
        for first in (0..count).step_by(together as usize) {
            let size = together.min(count - first);
            let given = if size > 1 { self.several(thread, first / together, size).await } else { vec![] };
            for nth in 0..size {
                let sample = match given.get(nth as usize) {
                    Some(Some(sample)) => sample.clone(),
                    Some(None) => self.sample(thread, first + nth, 1).await,
                    None => self.sample(thread, first + nth, 0).await,
                };
                samples.push(sample);
            }
        }
        samples
    }

    /// Of one request the choices that came, each with a final answer or as nothing.
    async fn several(&self, thread: &Thread, group: u32, size: u32) -> Vec<Option<LongSample>> {
        let site = site(thread, "draft", 0, 2 + self.recipe.long_answers + group);
        let (turns, temperature) = (ask::long_answer(&thread.prompt), self.recipe.draft_temperature);
        let request = ChatRequest {
            id: &site.request_id(),
            seed: site.seed(),
            temperature,
            top_p: self.recipe.top_p,
            messages: &*turns,
            stage: site.stage,
            priority: Priority(0),
        };
        let answers = self.long.chat_several(&request, size).await.expect("the simulated models answer");
        let mut samples = Vec::new();
        for (choice, answer) in answers.into_iter().flatten().enumerate() {
            let call = ModelCall {
                choice: choice as u32,
                finish_reason: answer.finish_reason,
                ..call_of(self.long, &site, temperature)
            };
            let reward = match final_answer(&answer.text) {
                Some(text) => Some(self.score(thread, text).await),
                None => None,
            };
            samples.push(reward.map(|reward| LongSample {
                text: Some(answer.text),
                reward: Some(reward),
                call,
                extra: Extra::new(),
            }));
        }
        samples
    }

    async fn sample(&self, thread: &Thread, nth: u32, used: u32) -> LongSample {
        let (turns, tries) = (ask::long_answer(&thread.prompt), self.recipe.long_answer_tries);
        let site = CallSite { earlier_tries: used, ..site(thread, "draft", 0, nth + 2) };
        let temperature = self.recipe.draft_temperature;
        let is_long = |text: &str| final_answer(text).is_some();
        let (text, call) = self.ask(self.long, site, temperature, &turns, tries, is_long).await;
        let scored = text.as_deref().and_then(final_answer).filter(|_| self.recipe.base == Base::LongPairs);
        let reward = match scored {
            Some(text) => Some(self.score(thread, text).await),
            None => None,
        };
        LongSample { text, reward, call, extra: Extra::new() }
    }

    /// Two drafts, both comparisons, and where these agree the fusion and all rewards.
    async fn fuse(&self, thread: &mut Thread) {
        let answer = thread.answer.clone().expect("an answer");
        let mut other = self.draft(thread, 1).await;
        let one = self.compare(thread, 0, &answer.text, &other.text).await;
        let two = self.compare(thread, 1, &other.text, &answer.text).await;
        let agree = one.preferred.is_some_and(|one| two.preferred == Some(one.swapped()));
        let mut fused = None;
        if agree {
            let verdict = one.text.as_deref().expect("a text");
            let turns = ask::fusion(self.templates, &thread.prompt, &answer.text, &other.text, verdict);
            let (turns, site) = (turns.expect("renders"), site(thread, "improve", 0, 0));
            let (text, call) =
                self.ask(self.chat, site, self.recipe.temperatures[0], &turns, 1, |_| true).await;
            let reward = Some(self.score(thread, text.as_deref().expect("a text")).await);
            other.reward = Some(self.score(thread, &other.text).await);
            self.score_answer(thread).await;
            fused = Some(Improvement { text, reward, call, extra: Extra::new() });
        } else {
            thread.reward_model = None;
        }
        thread.fusion = Some(Fusion { other, comparisons: vec![one, two], fused, extra: Extra::new() });
    }

    async fn compare(&self, thread: &Thread, index: u32, first: &str, second: &str) -> Comparison {
        let turns = ask::pairwise(self.templates, &thread.prompt, first, second).expect("renders");
        let (site, tries) = (site(thread, "critique", 0, index), self.recipe.critique_tries);
        let (text, call) = self
            .ask(self.chat, site, self.recipe.temperatures[0], &turns, tries, |text| verdict(text).is_some())
            .await;
        let preferred = text.as_deref().and_then(verdict);
        Comparison { text, preferred, call, extra: Extra::new() }
    }

    async fn score_answer(&self, thread: &mut Thread) {
        let text = thread.answer.as_ref().expect("an answer").text.clone();
        let reward = self.score(thread, &text).await;
        thread.answer.as_mut().expect("an answer").reward = Some(reward);
    }

    async fn refine(&self, thread: &mut Thread) {
        let start = thread.answer.clone().expect("an answer");
        let reward = start.reward.expect("a reward");
        while let RoundDecision::Refine { answer, .. } =
            next_step(&start.text, reward, &thread.rounds, self.recipe.rounds)
        {
            let answer = answer.to_owned();
            let mut round = self.round(thread, &answer).await;
            let critiques = round.critiques.iter_mut();
            for improvement in critiques.flat_map(|critique| &mut critique.improvements) {
                improvement.reward =
                    Some(self.score(thread, improvement.text.as_deref().expect("a text")).await);
            }
            thread.rounds.push(round);
        }
    }

    async fn refine_blindly(&self, thread: &mut Thread) {
        let mut answer = thread.answer.as_ref().map(|answer| answer.text.clone()).unwrap_or_default();
        for _ in 0..self.recipe.rounds {
            let round = self.round(thread, &answer).await;
            let improved = round.critiques[0].improvements.first().and_then(|one| one.text.clone());
            thread.rounds.push(round);
            let Some(improved) = improved else { break };
            answer = improved;
        }
    }

    async fn round(&self, thread: &Thread, answer: &str) -> Round {
        let mut round = Round::default();
        let (number, shape) = (thread.rounds.len() as u32, self.recipe.shape);
        for (index, temperature) in self.recipe.temperatures.iter().enumerate() {
            let turns = ask::critique(self.templates, shape, &thread.prompt, answer).expect("renders");
            let (site, tries) = (site(thread, "critique", number, index as u32), self.recipe.critique_tries);
            let is_rated = |text: &str| rating(text).is_some();
            let (text, call) = self.ask(self.chat, site, *temperature, &turns, tries, is_rated).await;
            let improvements = match &text {
                Some(text) => self.improvements(thread, answer, text, index).await,
                None => vec![],
            };
            let rating = text.as_deref().and_then(rating);
            round.critiques.push(Critique { text, rating, call, improvements, extra: Extra::new() });
        }
        round
    }

    async fn improvements(
        &self,
        thread: &Thread,
        answer: &str,
        critique: &str,
        nth: usize,
    ) -> Vec<Improvement> {
        let mut improvements = Vec::new();
        let turns = ask::improve(self.templates, self.recipe.shape, &thread.prompt, answer, critique);
        let turns = turns.expect("renders");
        for (index, temperature) in self.recipe.temperatures.iter().enumerate() {
            let index = nth * self.recipe.temperatures.len() + index;
            let site = site(thread, "improve", thread.rounds.len() as u32, index as u32);
            let (text, call) = self.ask(self.chat, site, *temperature, &turns, 1, |_| true).await;
            improvements.push(Improvement { text, reward: None, call, extra: Extra::new() });
        }
        improvements
    }

    /// Asks until an answer is good, and gives it with what is known of the last call.
    async fn ask(
        &self,
        model: &ChatModel,
        site: CallSite<'_>,
        temperature: f64,
        turns: &[ChatTurn<'_>],
        tries: u32,
        is_good: impl Fn(&str) -> bool,
    ) -> (Option<String>, ModelCall) {
        let mut call = None;
        for earlier_tries in site.earlier_tries..tries {
            let site = CallSite { earlier_tries, ..site };
            let request = ChatRequest {
                id: &site.request_id(),
                seed: site.seed(),
                temperature,
                top_p: self.recipe.top_p,
                messages: turns,
                stage: site.stage,
                priority: Priority(0),
            };
            let answer = model.chat(&request).await.expect("the simulated models answer");
            let good = is_good(&answer.text);
            let last = ModelCall {
                finish_reason: answer.finish_reason.filter(|_| good),
                ..call_of(model, &site, temperature)
            };
            if good {
                return (Some(answer.text), last);
            }
            call = Some(last);
        }
        (None, call.expect("at least one try"))
    }

    async fn score(&self, thread: &Thread, text: &str) -> f64 {
        let messages = ask::reward(&thread.prompt, text);
        let request =
            RewardRequest { id: "by-hand", messages: &*messages, stage: "score", priority: Priority(0) };
        self.reward.reward(&request).await.expect("the simulated models answer").reward
    }
}

fn site<'a>(thread: &'a Thread, stage: &'static str, round: u32, index: u32) -> CallSite<'a> {
    CallSite { thread: &thread.id, stage, round, index, earlier_tries: 0 }
}

fn call_of(model: &ChatModel, site: &CallSite<'_>, temperature: f64) -> ModelCall {
    ModelCall {
        model: model.model().to_owned(),
        seed: site.seed(),
        choice: 0,
        temperature,
        tries: site.earlier_tries + 1,
        finish_reason: None,
        prompt_tokens: 0,
        completion_tokens: 0,
        failure: None,
        extra: Extra::new(),
    }
}
