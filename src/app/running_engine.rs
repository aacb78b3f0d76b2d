//! An engine at work, and how it is brought to its end.

use std::future::Future;

use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle},
};

use super::{ExitCode, HasExitCode};
use crate::{
    engine::{Engine, EngineError, Stop},
    log::Log,
    model,
};

/// A part of the process panicked.
#[derive(Debug, thiserror::Error)]
#[error("the {0} broke in a way that it did not foresee")]
pub struct Broken(pub &'static str);

/// Why an engine ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum EngineEnd {
    /// It failed.
    #[error(transparent)]
    Failed(#[from] EngineError),
    /// It panicked.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl HasExitCode for EngineEnd {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(error) => error.exit_code(),
            Self::Broken(_) => ExitCode::Failed,
        }
    }
}

/// An engine that runs. Whoever learns of its end does not have it any more, so nobody waits for it twice.
pub(crate) struct RunningEngine {
    task: JoinHandle<Result<(), EngineError>>,
    stop: watch::Sender<Stop>,
    /// Stops the calls to the models.
    calls: model::StopSignal,
}

/// What came first.
pub(crate) enum Until<E> {
    /// The event; the engine still runs.
    Event(RunningEngine, E),
    /// The engine's end.
    Ended(Result<(), EngineEnd>),
}

impl RunningEngine {
    /// Starts an engine whose stages make these `calls`.
    pub(crate) fn start<L: Log>(engine: Engine<L>, calls: model::StopSignal) -> Self {
        let (stop, stopped) = watch::channel(Stop::Run);
        Self { task: tokio::spawn(engine.run(stopped)), stop, calls }
    }

    /// Waits for an event, or for the end of the engine if that comes first.
    pub(crate) async fn until<E>(mut self, event: impl Future<Output = E>) -> Until<E> {
        tokio::select! {
            biased;
            ended = &mut self.task => Until::Ended(outcome(ended)),
            event = event => Until::Event(self, event),
        }
    }

    /// Lets nothing new begin, and waits until what runs is finished and committed. `last_words` are begun before the
    /// engine hears of it, so that it still takes what they submit; it does not wait for them to begin its stop.
    pub(crate) async fn drain(self, last_words: impl Future<Output = ()>) -> Result<(), EngineEnd> {
        let Self { task, stop, calls } = self;
        let ended = async {
            calls.drain();
            stop.send_replace(Stop::Drain);
            outcome(task.await)
        };
        let ((), ended) = tokio::join!(biased; last_words, ended);
        ended
    }
}

fn outcome(joined: Result<Result<(), EngineError>, JoinError>) -> Result<(), EngineEnd> {
    Ok(joined.map_err(|_| Broken("engine"))??)
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use tokio::sync::oneshot;

    use super::*;

    /// An engine that does `work` with what tells it to stop.
    fn running<F>(work: impl FnOnce(watch::Receiver<Stop>) -> F) -> RunningEngine
    where
        F: Future<Output = Result<(), EngineError>> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(Stop::Run);
        RunningEngine { task: tokio::spawn(work(stopped)), stop, calls: model::StopSignal::new() }
    }

    #[tokio::test]
    async fn an_engine_that_panics_is_waited_for_once() {
        let engine = running(async |_| panic!("a defect"));
        let Until::Ended(Err(error)) = engine.until(pending::<()>()).await else { panic!("it has ended") };
        assert_eq!(error.to_string(), "the engine broke in a way that it did not foresee");

        let engine = running(async |_| panic!("a defect"));
        let error = engine.drain(async {}).await.expect_err("it was to stop, and broke");
        assert!(matches!(error, EngineEnd::Broken(_)), "{error}");
    }

    #[tokio::test]
    async fn an_event_leaves_the_engine_running() {
        let engine = running(async |mut stopped| {
            stopped.wait_for(|stop| *stop == Stop::Drain).await.expect("it is told");
            Err(EngineError::NotTaken { steps: 3 })
        });
        let Until::Event(engine, 7) = engine.until(async { 7 }).await else { panic!("it runs") };
        assert!(!engine.calls.is_stopped() && !engine.stop.is_closed());
        let error = engine.drain(async {}).await.expect_err("what the engine says");
        assert!(matches!(error, EngineEnd::Failed(EngineError::NotTaken { steps: 3 })), "{error}");
    }

    /// Last words that the log takes only after the engine was told to stop.
    #[tokio::test(start_paused = true)]
    async fn the_stop_does_not_wait_for_the_last_words_and_comes_after_their_beginning() {
        let (begun, mut is_begun) = oneshot::channel();
        let (draining, is_draining) = oneshot::channel();
        let engine = running(async move |mut stopped| {
            stopped.wait_for(|stop| *stop == Stop::Drain).await.expect("it is told");
            is_begun.try_recv().expect("the last words were begun before");
            draining.send(()).expect("the last words wait for it");
            Ok(())
        });
        let last_words = async {
            begun.send(()).expect("the engine looks at it");
            is_draining.await.expect("the engine drains");
        };
        let ended = tokio::time::timeout(Duration::from_secs(1), engine.drain(last_words)).await;
        ended.expect("neither waits for the other").expect("it drains");
    }
}
