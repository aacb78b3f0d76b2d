//! The `avr` program: arguments in, text and an exit code out; everything else is in the library.

use std::{
    io::{self, Write as _},
    process,
    time::Duration,
};

use avr::{
    app::{HasExitCode, Shutdown},
    command::{
        Cli, Command, config, dead_letters,
        output::{CommandError, CommandOutput},
        replay, run, simulate, status, submit, topics,
    },
    config::{ConfigError, InForce, Settings, passed_over_variables},
    observe::{LogOptions, logging},
    terminal::Screen,
};
use clap::Parser as _;

/// Threads are built and dropped by the thousand, from several workers: half the cost of the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long OS threads are waited for that are still at work when a command has ended. One that waits for a silent
/// cluster must not keep the process.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// OS threads for the simulated model servers.
const SIMULATION_THREADS: usize = 2;

fn main() -> process::ExitCode {
    // The first provider that is installed stays; there is no other.
    drop(rustls::crypto::ring::default_provider().install_default());
    let ended = dispatch(Cli::parse().command);
    let CommandOutput { text, problems, code } = ended.unwrap_or_else(CommandOutput::from);
    // Where nobody reads any more, the exit code must do.
    let _ = io::stdout().write_all(text.as_bytes());
    for problem in problems {
        let _ = writeln!(io::stderr(), "avr: {problem}");
    }
    code.into()
}

fn dispatch(command: Command) -> Result<CommandOutput, CommandError> {
    match command {
        Command::Run(args) => with_settings(args.settings.load(), async |settings, screen, shutdown| {
            run::run(&args, settings, screen, shutdown).await
        }),
        Command::Replay(args) => with_settings(args.settings.load(), async |settings, screen, shutdown| {
            replay::run(&args, settings, screen, shutdown).await
        }),
        Command::Submit(args) => with_settings(args.settings.load(), async |settings, screen, shutdown| {
            submit::run(&args, &settings, screen, shutdown).await
        }),
        Command::Status(args) => with_settings(args.cluster.load(), async |settings, _, shutdown| {
            status::run(&args, &settings, shutdown).await
        }),
        Command::Topics(args) => with_settings(args.cluster().load(), async |settings, _, shutdown| {
            topics::run(&args, &settings, shutdown).await
        }),
        Command::DeadLetters(args) => with_settings(args.log().load(), async |settings, _, shutdown| {
            dead_letters::run(&args, &settings, shutdown).await
        }),
        Command::Simulate(args) => {
            begin_to_log(&LogOptions::default())?;
            run_to_end(SIMULATION_THREADS, async |shutdown| simulate::run(*args, shutdown).await)
        }
        Command::Config(args) => config::run(&args).map_err(CommandError::wrong_usage),
    }
}

/// Runs a command with its settings until it ends.
fn with_settings<E: HasExitCode>(
    loaded: Result<(Settings, Vec<InForce>), ConfigError>,
    command: impl AsyncFnOnce(Settings, &Screen, &Shutdown) -> Result<CommandOutput, E>,
) -> Result<CommandOutput, CommandError> {
    let (settings, _) = loaded.map_err(CommandError::wrong_usage)?;
    let screen = begin_to_log(&settings.observe.log)?;
    passed_over_variables().iter().for_each(|text| tracing::warn!("{text}"));
    run_to_end(settings.runtime.worker_threads, async |shutdown| command(settings, &screen, shutdown).await)
}

fn begin_to_log(options: &LogOptions) -> Result<Screen, CommandError> {
    let screen = Screen::stderr();
    logging::init(options, screen.clone(), screen.has_colour()).map_err(CommandError::wrong_usage)?;
    Ok(screen)
}

fn run_to_end<E: HasExitCode>(
    threads: usize,
    command: impl AsyncFnOnce(&Shutdown) -> Result<CommandOutput, E>,
) -> Result<CommandOutput, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.map_err(CommandError::failed)?;
    let ended = runtime.block_on(async { Ok(command(&Shutdown::listen()?).await?) });
    runtime.shutdown_timeout(LEFT_BEHIND);
    ended
}
