//! The `avr` program: arguments, logging and exit codes; everything else is in the library.

use std::{io::Write as _, process::ExitCode};

use avr::{
    app::OpenError,
    cli::{self, Cli, Command, RunArgs, SettingsArgs},
    command::run::{self, RunError, RunOptions},
    command::{
        dead_letters::{self, Answer, DeadLettersArgs, DeadLettersError},
        replay::{self, ReplayArgs, ReplayError},
        status::{self, StatusArgs, StatusError},
        submit::{self, SubmitArgs, SubmitError},
        topics::{self, TopicsArgs, apply_command},
    },
    config::{self, InForce, Settings},
    engine::EngineError,
    export::ExportError,
    intake::IntakeError,
    log::{LogError, LogErrorKind},
    observe::{LogOptions, LoggingError, logging},
    provision::ProvisionError,
    simulate::{self, SimulateArgs},
    terminal::{Screen, Summary},
};
use clap::Parser as _;

/// Threads are built and dropped by the thousand, from several workers: half the cost of the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FAILED: u8 = 1;
/// Of `avr topics`: something is not as it should be.
const DIFFERS: u8 = 1;
const WRONG_CONFIGURATION: u8 = 2;
const STRICT: u8 = 3;
const IN_USE: u8 = 4;
/// The log did not take what a process that was told to stop had still done.
const NOT_TAKEN: u8 = 5;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    // The first provider that is installed stays; there is no other.
    drop(rustls::crypto::ring::default_provider().install_default());
    let code = match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Topics(args) => topics(&args),
        Command::Replay(args) => replay(&args),
        Command::Simulate(args) => simulate(*args),
        Command::DeadLetters(args) => dead_letters(&args),
        Command::Submit(args) => submit(&args),
        Command::Status(args) => status(&args),
        Command::Config(args) => show_config(&args),
    };
    ExitCode::from(code)
}

fn run(args: &RunArgs) -> u8 {
    let (settings, screen) = match begin(&args.settings) {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    let options = RunOptions {
        files: args.files.clone(),
        stages: args.stage.clone(),
        simulate: args.simulate,
        resume: cli::command_line(std::env::args_os()),
        mend: apply_command(&(&args.settings).into()),
    };
    let ended = match runtime(settings.runtime.worker_threads) {
        Ok(runtime) => runtime.block_on(run::run(settings, options, &screen)),
        Err(error) => return fail(FAILED, &error),
    };
    match ended {
        Ok(ended) => {
            print(&if args.json { ended.report.json() } else { ended.report.text() });
            if ended.interrupted { INTERRUPTED } else { 0 }
        }
        Err(error) => fail(code_of(&error), &error),
    }
}

fn replay(args: &ReplayArgs) -> u8 {
    let (settings, screen) = match begin(&args.settings) {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    let replayed = match runtime(settings.runtime.worker_threads) {
        Ok(runtime) => runtime.block_on(replay::run(settings, args.from.clone(), &screen)),
        Err(error) => return fail(FAILED, &error),
    };
    match replayed {
        Ok(replayed) => conclude(&replayed.summary, args.json, replayed.interrupted),
        Err(error) => fail(code_of_replay(&error), &error),
    }
}

/// Reads the settings and begins to log.
fn begin(args: &SettingsArgs) -> Result<(Settings, Screen), u8> {
    let (settings, _) = load(args)?;
    let screen = Screen::stderr();
    logging::init(&settings.observe.log, screen.clone(), screen.has_colour())
        .map_err(|error| fail(WRONG_CONFIGURATION, &error))?;
    for passed_over in config::passed_over_variables() {
        tracing::warn!("{passed_over}");
    }
    Ok((settings, screen))
}

/// Begins to log where nothing but lines is shown.
fn log_to_stderr(options: &LogOptions) -> Result<(), LoggingError> {
    let screen = Screen::stderr();
    let colour = screen.has_colour();
    logging::init(options, screen, colour)
}

fn conclude(summary: &Summary, as_json: bool, interrupted: bool) -> u8 {
    print(&if as_json { summary.json() } else { summary.text() });
    if interrupted { INTERRUPTED } else { 0 }
}

fn code_of_replay(error: &ReplayError) -> u8 {
    match error {
        ReplayError::Log(LogError { cause: LogErrorKind::Locked, .. }) => IN_USE,
        ReplayError::Run(error) => code_of(error),
        ReplayError::Export(ExportError::OtherFormats { .. } | ExportError::Foreign(_)) => {
            WRONG_CONFIGURATION
        }
        ReplayError::Log(_) | ReplayError::Export(_) | ReplayError::Marker { .. } | ReplayError::Broken => {
            FAILED
        }
        _ => WRONG_CONFIGURATION,
    }
}

fn code_of(error: &RunError) -> u8 {
    match error {
        RunError::Intake(IntakeError::Strict { .. }) => STRICT,
        RunError::Log(LogError { cause: LogErrorKind::Locked, .. }) => IN_USE,
        RunError::Engine(EngineError::NotTaken { .. }) => NOT_TAKEN,
        RunError::NoModel { .. }
        | RunError::Model { .. }
        | RunError::Sources(_)
        | RunError::Nothing
        | RunError::StagesWithoutCluster
        | RunError::FilesForWorker
        | RunError::UnknownStage(_)
        | RunError::NoStage { .. }
        | RunError::RecipeChanged(_)
        | RunError::Open(OpenError::Topics(ProvisionError::NotReady { .. }))
        | RunError::Intake(IntakeError::RecipeChanged(_) | IntakeError::OtherModels(_)) => {
            WRONG_CONFIGURATION
        }
        _ => FAILED,
    }
}

fn submit(args: &SubmitArgs) -> u8 {
    let (settings, _) = match load(&args.settings) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let screen = Screen::stderr();
    if let Err(error) = logging::init(&settings.observe.log, screen.clone(), screen.has_colour()) {
        return fail(WRONG_CONFIGURATION, &error);
    }
    let mend = apply_command(&(&args.settings).into());
    let ended = match runtime(settings.runtime.worker_threads) {
        Ok(runtime) => runtime.block_on(submit::run(&settings, &args.files, &mend, &screen)),
        Err(error) => return fail(FAILED, &error),
    };
    match ended {
        Ok(summary) => {
            print(&if args.json { summary.json() } else { summary.text() });
            if summary.interrupted { INTERRUPTED } else { 0 }
        }
        Err(error) => fail(code_of_submit(&error), &error),
    }
}

fn code_of_submit(error: &SubmitError) -> u8 {
    match error {
        SubmitError::Intake(IntakeError::Strict { .. }) => STRICT,
        SubmitError::NoCluster
        | SubmitError::Sources(_)
        | SubmitError::Open(OpenError::Topics(ProvisionError::NotReady { .. }))
        | SubmitError::Intake(IntakeError::RecipeChanged(_)) => WRONG_CONFIGURATION,
        _ => FAILED,
    }
}

fn status(args: &StatusArgs) -> u8 {
    let (settings, _) = match load(&args.cluster.clone().into()) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    if let Err(error) = log_to_stderr(&settings.observe.log) {
        return fail(WRONG_CONFIGURATION, &error);
    }
    match runtime(2)
        .map(|runtime| runtime.block_on(status::run(args, &settings, &apply_command(&args.cluster))))
    {
        Ok(Ok(())) => 0,
        Ok(Err(
            error @ (StatusError::NoCluster
            | StatusError::Open(OpenError::Topics(ProvisionError::NotReady { .. }))),
        )) => fail(WRONG_CONFIGURATION, &error),
        Ok(Err(error)) => fail(FAILED, &error),
        Err(error) => fail(FAILED, &error),
    }
}

fn topics(args: &TopicsArgs) -> u8 {
    let settings = match load(&args.cluster().into()) {
        Ok((settings, _)) => settings,
        Err(code) => return code,
    };
    if let Err(error) = log_to_stderr(&settings.observe.log) {
        return fail(WRONG_CONFIGURATION, &error);
    }
    match runtime(2).map(|runtime| runtime.block_on(topics::run(args, &settings))) {
        Ok(Ok(told)) => {
            print(&told.text);
            if told.is_fit { 0 } else { DIFFERS }
        }
        Ok(Err(error)) => fail(WRONG_CONFIGURATION, &error),
        Err(error) => fail(WRONG_CONFIGURATION, &error),
    }
}

fn simulate(args: SimulateArgs) -> u8 {
    if let Err(error) = log_to_stderr(&LogOptions::default()) {
        return fail(WRONG_CONFIGURATION, &error);
    }
    match runtime(2).map(|runtime| runtime.block_on(simulate::run(args))) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => fail(FAILED, &error),
        Err(error) => fail(FAILED, &error),
    }
}

fn dead_letters(args: &DeadLettersArgs) -> u8 {
    let (settings, _) = match load(&args.settings()) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    if let Err(error) = log_to_stderr(&settings.observe.log) {
        return fail(WRONG_CONFIGURATION, &error);
    }
    match runtime(2).map(|runtime| runtime.block_on(dead_letters::dead_letters(args, &settings))) {
        Ok(Ok(Answer { text, problems })) => {
            print(&text);
            problems.iter().fold(0, |_, problem| fail(FAILED, problem))
        }
        Ok(Err(error)) => fail(code_of_letters(&error), &error),
        Err(error) => fail(FAILED, &error),
    }
}

fn code_of_letters(error: &DeadLettersError) -> u8 {
    match error {
        DeadLettersError::Log(LogError { cause: LogErrorKind::Locked, .. }) => IN_USE,
        DeadLettersError::NoLog(_) | DeadLettersError::Everything => WRONG_CONFIGURATION,
        _ => FAILED,
    }
}

fn show_config(args: &SettingsArgs) -> u8 {
    match load(args) {
        Ok((_, in_force)) => {
            config::passed_over_variables().iter().for_each(|text| warn(text));
            print(&in_force.iter().map(line).collect::<String>());
            0
        }
        Err(code) => code,
    }
}

fn line(entry: &InForce) -> String {
    format!("{} = {}  # {}\n", entry.key, entry.value, entry.origin)
}

fn load(args: &SettingsArgs) -> Result<(Settings, Vec<InForce>), u8> {
    let overrides = args.overrides().map_err(|error| fail(WRONG_CONFIGURATION, &error))?;
    config::load(args.config.as_deref(), overrides).map_err(|error| fail(WRONG_CONFIGURATION, &error))
}

fn runtime(worker_threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(worker_threads).enable_all().build()
}

/// Says what went wrong, and gives the exit code back.
fn fail(code: u8, error: &dyn std::fmt::Display) -> u8 {
    // Where standard error is gone, the exit code must do.
    let _ = writeln!(std::io::stderr(), "avr: {error}");
    code
}

/// Says what may be a mistake.
fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "avr: {text}");
}

/// Prints to standard output; a reader that went away is no failure.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
