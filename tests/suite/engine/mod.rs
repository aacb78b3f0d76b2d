//! The engine under simulation over a log in memory.
//!
//! Confluent's Parallel Consumer does for Java what the engine does here, and its issues tell what goes wrong. Of each
//! kind, what would notice it:
//!
//! | what broke there | the test here |
//! |---|---|
//! | the highest offset *seen* was committed, not the highest *succeeded* (#826) | `single_worker::steps_that_outlast_the_grace_are_made_again`; `simulation`: nothing lost whenever the process dies |
//! | offsets were reset under frequent rebalances (#894) | `simulation::nothing_is_lost_or_doubled_however_partitions_move`; `log_suite::groups::every_record_is_copied_once_while_members_come_and_go`, over every log |
//! | nothing was consumed after a rebalance (#857) | the same: they wait for every record; `single_worker::a_paused_stage_starts_nothing_until_it_is_resumed` |
//! | a revoked partition was waited for longer than `max.poll.interval.ms` (#803) | `known_failures::a_revoked_partition_moves_although_steps_are_stuck`; `single_worker::a_paused_stage…`: polled while it waits |
//! | the set of completed offsets grew too long and consumption stalled (#647) | `single_worker::dispatch_waits_for_stuck_steps_before_the_progress_is_too_long`; `engine::progress_text`: how much it holds |
//! | metadata that somebody else wrote (#326) | `known_failures::progress_that_is_not_ours_…`; `engine::progress_text`: damage is seen, arbitrary text never panics |
//! | gaps from transaction markers and compaction (#329, #409) | `simulation` and `memory_log::fault_injection`: logs with gaps; `log_suite::progress::reading_goes_on_after_progress` over real markers in `kafka::log` |
//! | commits waited for all work in flight | `single_worker::dispatch_waits_for_stuck_steps_…`, `known_failures::a_revoked_partition_…`: committed beside steps that are stuck |
//!
//! Brokers that die, hang and come back are the subject of `kafka::outages`.

mod known_failures;
mod memory_bounds;
mod simulation;
mod single_worker;
mod stops;
