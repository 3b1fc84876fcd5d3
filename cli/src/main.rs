//! The command line of the crate `ddim`, and the first user of the library.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod check;
mod cli;
mod configure;
mod console;
mod demo;
mod devices;
mod encode;
mod evaluate;
mod experiments;
mod exports;
mod failure;
mod files;
mod latents;
mod lock;
mod measure;
mod paths;
mod plan;
mod plot;
mod presets;
mod profile;
mod progress;
mod report;
mod sample;
mod sampling;
mod train;
mod training;
mod trajectory;
mod verify;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let quiet = env_logger::Env::default().default_filter_or("ddim=warn");
    env_logger::Builder::from_env(quiet).format_timestamp(None).init();
    files::let_writes_fail();
    let result = match &cli.command {
        Command::Demo(arguments) => demo::run(&cli.device, arguments),
        Command::Train(arguments) => train::run(&cli.device, arguments),
        Command::Config(arguments) => configure::run(arguments),
        Command::Sample(arguments) => sample::run(&cli.device, arguments),
        Command::Interpolate(arguments) => encode::interpolate(&cli.device, arguments),
        Command::Encode(arguments) => encode::encode(&cli.device, arguments),
        Command::Reconstruct(arguments) => encode::reconstruct(&cli.device, arguments),
        Command::Experiments(arguments) => experiments::run(&cli.device, arguments),
        Command::Evaluate(arguments) => evaluate::run(&cli.device, arguments),
        Command::Devices => devices::run(&cli.device),
        Command::Plan(arguments) => plan::run(&cli.device, arguments),
        Command::Profile(arguments) => profile::run(&cli.device, arguments),
        Command::Measure(arguments) => measure::run(&cli.device, arguments),
        Command::Verify(arguments) => verify::run(&cli.device, arguments),
    };
    match result {
        Err(failure) => {
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
