//! The node and its command line; see `squeezenet_node --help`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use squeezenet_node::cli::{self, Cli};
use squeezenet_node::log;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let Some(command) = Cli::parse_from(own_arguments()).command else {
        return run_node();
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .fmt_fields(log::fields())
        // Where standard error has gone there is nobody to tell so.
        .log_internal_errors(false)
        .init();
    match cli::run(command, SURVEY) {
        Ok(outcome) => outcome.into(),
        Err(error) => failed(&error),
    }
}

#[cfg(feature = "ros")]
const SURVEY: Option<cli::doctor::Survey> = Some(squeezenet_node::ros::survey);
#[cfg(not(feature = "ros"))]
const SURVEY: Option<cli::doctor::Survey> = None;

#[cfg(feature = "ros")]
fn run_node() -> ExitCode {
    match squeezenet_node::ros::run() {
        Ok(status) => status,
        Err(error) => failed(&error),
    }
}

#[cfg(not(feature = "ros"))]
fn run_node() -> ExitCode {
    failed(&anyhow::anyhow!("this build has no ROS; see --help for what it can do"))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // Where standard error has gone there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "squeezenet_node: {}", log::escaped(&format!("{error:#}")));
    ExitCode::from(2)
}

/// The arguments without those between `--ros-args` and `--`, which are rcl's.
fn own_arguments() -> Vec<std::ffi::OsString> {
    let mut is_ros = false;
    std::env::args_os()
        .filter(|argument| {
            if argument == "--ros-args" {
                is_ros = true;
            }
            let keep = !is_ros;
            if argument == "--" {
                is_ros = false;
            }
            keep
        })
        .collect()
}
