//! `squeezenet_node learning`: what was learnt by driving, and the same from pictures labelled by hand.

mod teach;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};

use super::Outcome;
use super::print::print_line;
use crate::install;
use crate::learning::{Footprint, Learner, State};
use crate::manifest::{Manifest, Model};
use crate::pipeline::Pipeline;

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
    /// Learn from pictures labelled by hand, as driving would teach it
    Teach(teach::TeachArgs),
}

/// What was learnt by driving, for commands that answer pictures.
#[derive(Debug, Clone, Args)]
pub struct LearningOptions {
    /// Answer with what was learnt by driving in this file
    #[arg(long, value_name = "FILE")]
    learning_file: Option<PathBuf>,
}

impl LearningOptions {
    /// Has the pipeline answer with what was learnt, if a file was named.
    ///
    /// # Errors
    /// The file cannot be read, or is of another model.
    pub(super) fn apply_to(&self, pipeline: &mut Pipeline) -> anyhow::Result<()> {
        let Some(path) = &self.learning_file else { return Ok(()) };
        let mut learner = new_learner(pipeline.network().model(), Footprint::default())?;
        ensure!(
            restore(&mut learner, pipeline.network().model(), path)?,
            "there is no {}",
            path.display()
        );
        pipeline.set_correction(learner.correction().cloned());
        Ok(())
    }
}

/// A learner of nothing yet; a guard set that is of no use is told.
///
/// # Errors
/// The model cannot learn.
pub(super) fn new_learner(model: &Model, footprint: Footprint) -> anyhow::Result<Learner> {
    let (learner, problem) = Learner::of(model, footprint).with_context(|| {
        format!(
            "model {} cannot learn by driving: it does not give the features that its mask is made from",
            model.manifest.name
        )
    })?;
    if let Some(problem) = problem {
        tracing::warn!("{problem}: what was learnt is not held against what the model knew");
    }
    Ok(learner)
}

/// Goes on from a file; `false` where there is none.
///
/// # Errors
/// It cannot be read, or is another model's.
pub(super) fn restore(learner: &mut Learner, model: &Model, path: &Path) -> anyhow::Result<bool> {
    let state = State::read(path, Some(&model.manifest.weights_sha256()))?;
    take(learner, state.map(|(state, _)| state), path)
}

/// As [`restore`], for who will write the file: what was set aside for this model comes back first.
///
/// # Errors
/// It cannot be read or brought back, or is another model's.
pub(super) fn restore_to_write(
    learner: &mut Learner,
    model: &Model,
    path: &Path,
) -> anyhow::Result<bool> {
    let Manifest { name, .. } = &model.manifest;
    let state = State::read_to_write(path, name, &model.manifest.weights_sha256())?;
    take(learner, state, path)
}

fn take(learner: &mut Learner, state: Option<State>, path: &Path) -> anyhow::Result<bool> {
    let Some(state) = state else { return Ok(false) };
    ensure!(learner.restore(state), "{} is of another mask", path.display());
    Ok(true)
}

pub(super) fn run(args: &LearningArgs) -> anyhow::Result<Outcome> {
    match &args.command {
        LearningCommand::Show { file, json } => show(file.as_deref(), *json),
        LearningCommand::Teach(args) => teach::run(args),
    }
}

fn show(file: Option<&Path>, json: bool) -> anyhow::Result<Outcome> {
    let path = file.map_or_else(install::learning_file, Path::to_owned);
    let Some((state, model)) = State::read(&path, None)? else {
        bail!("there is no {}: nothing was learnt by driving, or elsewhere", path.display());
    };
    let size = std::fs::metadata(&path).with_context(|| path.display().to_string())?.len();
    // The last two are the shipped margin and 1.
    let features = state.statistics.size().saturating_sub(2);
    if json {
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
