use std::{sync::Arc, time::Duration};

use super::*;
use crate::model::{Backoff, schedule::EndpointFault};

const COOLDOWN: Duration = Duration::from_secs(4);

/// A pool of endpoints that nobody connects to, with its metrics.
fn pool(count: usize, limit: usize) -> (Pool, Metrics) {
    let mut options = ModelOptions::new("generator", &[], "m");
    options.urls = (1..=count).map(|port| format!("http://127.0.0.1:{port}")).collect();
    options.max_in_flight = limit;
    options.cooldown = Backoff { first: COOLDOWN, most: COOLDOWN };
    let endpoint = |url: &String| Endpoint::new(url, "/pooling", &options).expect("the URL is valid");
    let metrics = Metrics::new();
    (Pool::new(options.urls.iter().map(endpoint).collect(), &options, &metrics), metrics)
}

fn gauge(metrics: &Metrics, name: &str) -> String {
    let text = metrics.encode();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.rsplit(' ').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_slot_goes_to_the_most_urgent_call() {
    let (pool, metrics) = pool(1, 1);
    let first = pool.acquire(Priority(0)).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for priority in [1, 3, 2] {
        let (pool, order) = (pool.clone(), Arc::clone(&order));
        tasks.spawn(async move {
            let permit = pool.acquire(Priority(priority)).await;
            order.lock().expect("no task panics").push(priority);
            permit.finish(HealthSignal::Answered);
        });
    }
    while gauge(&metrics, "avr_model_waiting") != "3" {
        tokio::task::yield_now().await;
    }
    assert_eq!(gauge(&metrics, "avr_model_in_flight"), "1");
    first.finish(HealthSignal::Answered);
    tasks.join_all().await;
    assert_eq!(*order.lock().expect("no task panicked"), [3, 2, 1]);
    assert_eq!(gauge(&metrics, "avr_model_waiting"), "0");
    assert_eq!(gauge(&metrics, "avr_model_in_flight"), "0");
}

/// A call that waits and was polled.
async fn waiting(pool: &Pool) -> std::pin::Pin<Box<dyn Future<Output = Permit> + '_>> {
    let mut call: std::pin::Pin<Box<dyn Future<Output = Permit> + '_>> = Box::pin(pool.acquire(Priority(0)));
    tokio::select! {
        biased;
        _ = &mut call => panic!("no slot should be free"),
        () = std::future::ready(()) => call,
    }
}

#[tokio::test]
async fn a_waiting_call_that_is_dropped_loses_no_slot() {
    let (pool, metrics) = pool(1, 1);
    let permit = pool.acquire(Priority(0)).await;
    let dropped_while_waiting = waiting(&pool).await;
    let dropped_when_served = waiting(&pool).await;
    let last = waiting(&pool).await;
    drop(dropped_while_waiting);
    permit.finish(HealthSignal::Answered);
    drop(dropped_when_served);
    drop(last.await);
    drop(pool.acquire(Priority(0)).await);
    assert_eq!(gauge(&metrics, "avr_model_in_flight"), "0");
    assert_eq!(gauge(&metrics, "avr_model_waiting"), "0");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_cooldown_wakes_those_who_wait() {
    let (pool, metrics) = pool(1, 2);
    let start = Instant::now();
    pool.acquire(Priority(0)).await.finish(HealthSignal::Failed(EndpointFault::Unreachable));
    assert_eq!(gauge(&metrics, "avr_model_endpoint_up"), "0");
    let trial = pool.acquire(Priority(0)).await;
    assert!(start.elapsed() >= COOLDOWN / 2 && start.elapsed() <= COOLDOWN + Duration::from_millis(1));
    let follower = waiting(&pool).await;
    trial.finish(HealthSignal::Answered);
    drop(follower.await);
    assert_eq!(gauge(&metrics, "avr_model_endpoint_up"), "1");
}

#[tokio::test(start_paused = true)]
async fn a_time_to_wait_moves_calls_to_other_endpoints() {
    let (pool, _metrics) = pool(2, 8);
    let asked = Duration::from_secs(100);
    let start = Instant::now();
    pool.acquire(Priority(0)).await.finish(HealthSignal::Failed(EndpointFault::Busy(asked)));
    for _ in 0..4 {
        let permit = pool.acquire(Priority(0)).await;
        assert_eq!(permit.index(), 1);
        permit.finish(HealthSignal::Answered);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    pool.acquire(Priority(0)).await.finish(HealthSignal::Failed(EndpointFault::Busy(asked)));
    drop(pool.acquire(Priority(0)).await);
    assert!(start.elapsed() >= asked);
}
