//! The command line of the crate `ddim`, and the first user of the library.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod average;
mod check;
mod cli;
mod configure;
mod console;
mod convert;
mod demo;
mod denoising;
mod devices;
mod encode;
mod evaluate;
mod experiments;
mod exports;
mod failure;
mod fid;
mod files;
mod generate;
mod latents;
mod lock;
mod measure;
mod memory;
#[cfg(feature = "packaging")]
mod packaging;
mod paths;
mod plan;
mod plot;
mod presets;
mod profile;
mod progress;
mod report;
mod sample;
mod sampling;
mod shell;
mod smoothing;
mod train;
mod train_classifier;
mod train_lora;
mod training;
mod trajectory;
mod tune;
mod verify;

use cli::{Cli, Command};
use log::Level;
use std::{env, io::Write, process::ExitCode};

/// Mesa's device-select layer complains on standard error wherever there is no desktop.
#[allow(unsafe_code, reason = "the environment is read by a driver")]
fn silence_mesa() {
    if env::var_os("NODEVICE_SELECT").is_none() {
        // SAFETY: no other thread runs yet.
        unsafe { env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// Warnings and errors of the library in the form of the command's own.
fn log_to_standard_error() {
    let quiet = env_logger::Env::default().default_filter_or("ddim=warn");
    let mut builder = env_logger::Builder::from_env(quiet);
    builder.format(|out, record| {
        let text = record.args().to_string();
        let text = console::printable(&text);
        match record.level() {
            Level::Error => writeln!(out, "error: {text}"),
            Level::Warn => writeln!(out, "warning: {text}"),
            _ => writeln!(out, "{}: {text}", record.target()),
        }
    });
    builder.init();
}

fn main() -> ExitCode {
    let mut cli = Cli::of_arguments();
    if cli.quiet && cli.command.writes_files() {
        console::be_quiet();
    }
    silence_mesa();
    log_to_standard_error();
    files::let_writes_fail();
    let result = match &mut cli.command {
        Command::Demo(arguments) => demo::run(&cli.device, arguments),
        Command::Train(arguments) => train::run(&cli.device, arguments),
        Command::TrainClassifier(arguments) => train_classifier::run(&cli.device, arguments),
        Command::TrainLora(arguments) => train_lora::run(&cli.device, arguments),
        Command::Average(arguments) => average::run(arguments),
        Command::Config(arguments) => configure::run(arguments),
        Command::Inspect(arguments) => convert::tell(arguments),
        Command::Convert(arguments) => convert::run(arguments),
        Command::Sample(arguments) => sample::run(&cli.device, arguments),
        Command::Generate(arguments) => generate::run(&cli.device, arguments),
        Command::Interpolate(arguments) => encode::interpolate(&cli.device, arguments),
        Command::Encode(arguments) => encode::encode(&cli.device, arguments),
        Command::Reconstruct(arguments) => encode::reconstruct(&cli.device, arguments),
        Command::Experiments(arguments) => experiments::run(&cli.device, arguments),
        Command::Evaluate(arguments) => evaluate::run(&cli.device, arguments),
        Command::Devices => devices::run(&cli.device),
        Command::Plan(arguments) => plan::run(&cli.device, arguments),
        Command::Profile(arguments) => profile::run(&cli.device, arguments),
        Command::Tune(arguments) => tune::run(&cli.device, arguments),
        Command::Measure(arguments) => measure::run(&cli.device, arguments),
        #[cfg(feature = "packaging")]
        Command::Packaging(arguments) => packaging::run(arguments),
        Command::Verify(arguments) => verify::run(&cli.device, arguments),
    };
    match result {
        Err(failure) => {
            progress::clear();
            console::complain(format_args!("error: {}", failure.line()));
            ExitCode::FAILURE
        }
        // Whoever reads the output has had enough of it: `ddim plan | head`.
        Ok(()) => match console::fault() {
            None => ExitCode::SUCCESS,
            Some(error) if cli.command.writes_files() => {
                console::complain(format_args!("warning: messages lost, files written: {error}"));
                ExitCode::SUCCESS
            }
            Some(error) => {
                console::complain(format_args!("error: standard output: {error}"));
                ExitCode::FAILURE
            }
        },
    }
}
