//! Models come and go here: loaded and tried beside the one that runs, swapped between two frames.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context;
use arc_swap::ArcSwap;

use crate::install;
use crate::manifest::Card;
use crate::parameter::Refusal;
use crate::pipeline::Pipeline;
use crate::result::Wanted;
use crate::session::{self, Network};
use crate::settings::{ModelSettings, Settings};

/// What diagnostics say of the model in force, key by key.
pub type Facts = Vec<(&'static str, String)>;

/// Between the one who changes parameters and the inference thread.
#[derive(Debug)]
pub struct ModelSlot {
    next: Mutex<Option<Pipeline>>,
    wanted: Mutex<Wanted>,
    facts: ArcSwap<Facts>,
}

impl ModelSlot {
    /// A slot beside a pipeline that runs.
    pub fn new(running: &Pipeline) -> anyhow::Result<Self> {
        Ok(Self {
            next: Mutex::default(),
            wanted: Mutex::default(),
            facts: ArcSwap::from_pointee(facts(running.network())?),
        })
    }

    /// Where the settings after a change ask for another model than those before: loads it, checks
    /// its files and its known answer, warms it up for what subscribers want now, and leaves it to
    /// the inference thread.
    ///
    /// # Errors
    /// Why it cannot run; then nothing has changed.
    pub fn follow(&self, before: &Settings, after: &Settings) -> Result<(), Refusal> {
        if before.model == after.model {
            return Ok(());
        }
        let load = || -> anyhow::Result<Pipeline> {
            let mut pipeline = load(&after.model)?;
            pipeline.warm_up(*lock(&self.wanted))?;
            Ok(pipeline)
        };
        let pipeline = load().map_err(|error| {
            let name = first_difference(&before.model, &after.model);
            let reason = format!("{error:#}; {} goes on", before.model.model);
            Refusal { name: name.to_owned(), reason }
        })?;
        *lock(&self.next) = Some(pipeline);
        Ok(())
    }

    /// The pipeline that is to run from now on, if there is another.
    pub fn take(&self) -> Option<Pipeline> {
        let next = lock(&self.next).take()?;
        match facts(next.network()) {
            Ok(facts) => self.facts.store(Arc::new(facts)),
            Err(error) => tracing::warn!("{error}"),
        }
        Some(next)
    }

    /// Remembers what the last frame was answered with.
    pub fn note_wanted(&self, wanted: Wanted) {
        *lock(&self.wanted) = wanted;
    }

    /// What runs, for diagnostics.
    pub fn facts(&self) -> Arc<Facts> {
        self.facts.load_full()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The parameter that asks for another model.
fn first_difference(before: &ModelSettings, after: &ModelSettings) -> &'static str {
    if before.model != after.model {
        "model"
    } else if before.precision != after.precision {
        "precision"
    } else {
        "inference.threads"
    }
}

/// Loads a model and sees that it gives its known answer.
///
/// # Errors
/// What is wrong with its files, the runtime or the answer.
pub fn load(settings: &ModelSettings) -> anyhow::Result<Pipeline> {
    let models_dir = install::models_dir();
    let started = Instant::now();
    tracing::info!("runtime: {}", session::runtime_info()?);
    tracing::info!("loading model {} from {}", settings.model, models_dir.display());
    let card = Arc::new(Card::load(&settings.model, &models_dir)?);
    let mut pipeline = Pipeline::new(Network::load(&card, settings)?);
    pipeline.self_test()?;
    let network = pipeline.network();
    tracing::info!(
        "model {} loaded, checked and warm in {:.0?}, ready: {:?}, {} threads, input {}",
        card.manifest.name,
        started.elapsed(),
        network.precision(),
        network.threads(),
        card.manifest.input_size()
    );
    Ok(pipeline)
}

fn facts(network: &Network) -> anyhow::Result<Facts> {
    let manifest = &network.card().manifest;
    let file = manifest.file(network.precision());
    Ok(vec![
        ("model", manifest.name.clone()),
        ("model sha256", file.map(|file| file.sha256.clone()).unwrap_or_default()),
        ("precision", format!("{:?}", network.precision()).to_lowercase()),
        ("provider", format!("{:?}", network.provider()).to_lowercase()),
        ("threads", network.threads().to_string()),
        ("runtime", session::runtime_info().context("the runtime has gone")?.to_owned()),
    ])
}
