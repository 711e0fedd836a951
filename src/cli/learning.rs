//! `squeezenet_node learning`: what was learnt by driving.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::Outcome;
use super::print::print_line;
use crate::install;
use crate::learning::State;

/// Arguments of `learning`.
#[derive(Debug, Args)]
pub struct LearningArgs {
    #[command(subcommand)]
    command: LearningCommand,
}

#[derive(Debug, Subcommand)]
enum LearningCommand {
    /// What a file of what was learnt holds
    Show {
        /// The file [default: squeezenet_learning.json in ROS_HOME, or ~/.ros]
        file: Option<PathBuf>,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: &LearningArgs) -> anyhow::Result<Outcome> {
    let LearningCommand::Show { file, json } = &args.command;
    let path = file.clone().unwrap_or_else(install::learning_file);
    let Some((state, model)) = State::read(&path, None)? else {
        bail!("there is no {}: nothing was learnt by driving, or elsewhere", path.display());
    };
    let size = std::fs::metadata(&path).with_context(|| path.display().to_string())?.len();
    // The last two are the shipped margin and 1.
    let features = state.statistics.size().saturating_sub(2);
    if *json {
        let record = serde_json::json!({
            "file": path, "bytes": size, "model": model, "features": features, "counts": state.counts,
        });
        print_line(&record.to_string())?;
    } else {
        print_line(&format!("{}, learnt with model {model}", path.display()))?;
        print_line(&format!("from {}", state.counts.summary()))?;
        print_line(&format!("sums over {features} features of the mask, {size} bytes"))?;
    }
    Ok(Outcome::Done)
}
