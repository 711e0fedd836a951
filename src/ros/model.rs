//! Models come and go here: loaded and tried beside the one that runs, swapped between two frames.

use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::Context;
use arc_swap::ArcSwap;

use crate::caught::catch;
use crate::install;
use crate::lock::lock;
use crate::manifest::Model;
use crate::parameter::Refusal;
use crate::pipeline::Pipeline;
use crate::result::Wanted;
use crate::session::{self, Execution, Network, default_threads};
use crate::settings::{ModelSettings, Precision, Provider, Settings};

/// What diagnostics say of the model in force, key by key.
pub type Facts = Vec<(&'static str, String)>;

/// Between the one who changes parameters and the inference thread.
#[derive(Debug, Default)]
pub struct ModelSlot {
    /// Loaded for settings that are about to be in force.
    loaded: Mutex<Option<Pipeline>>,
    /// Of the settings in force, until the inference thread has it. Its lock is held while
    /// settings are put in force, so that nobody sees them without their model.
    next: Mutex<Option<Pipeline>>,
    wanted: Mutex<Wanted>,
    /// How the model in force runs; none while the node is not configured.
    execution: Mutex<Option<Execution>>,
    /// What the model in force was loaded for, or the one that is about to be, or is prepared beside it.
    asked: Mutex<Option<ModelSettings>>,
    facts: ArcSwap<Facts>,
    /// How many models have been in force.
    version: AtomicI32,
    /// Why it does not run as it should.
    warning: Mutex<Option<String>>,
}

impl ModelSlot {
    /// A pipeline runs from now on, until there is what is `asked` for where that is something else: who starts it
    /// prepares that beside it.
    ///
    /// # Errors
    /// The runtime has gone.
    pub fn start(&self, running: &Pipeline, asked: &ModelSettings) -> anyhow::Result<()> {
        self.facts.store(Arc::new(facts(running.network())?));
        *lock(&self.warning) = running.network().warning().map(str::to_owned);
        *lock(&self.execution) = Some(running.network().execution());
        *lock(&self.asked) = Some(asked.clone());
        self.version.fetch_add(1, Relaxed);
        Ok(())
    }

    /// No pipeline runs any more.
    pub fn stop(&self) {
        *lock(&self.execution) = None;
        *lock(&self.asked) = None;
        *lock(&self.loaded) = None;
        *lock(&self.next) = None;
        self.facts.store(Arc::default());
        *lock(&self.warning) = None;
    }

    /// Where settings that are to be in force ask for another model than runs: loads it, checks its
    /// files and its known answer, warms it up for what subscribers want now, and keeps it for
    /// [`put_in_force`](Self::put_in_force). A node that is not configured loads nothing: it will
    /// when it is.
    ///
    /// # Errors
    /// Why it cannot run; then nothing has changed.
    pub fn follow(&self, after: &ModelSettings) -> Result<(), Refusal> {
        let Some(before) = lock(&self.asked).clone().filter(|before| before != after) else {
            return Ok(());
        };
        // To measure takes seconds of a processor that frames need: only for who asks for it.
        let is_other_model = before.model != after.model;
        let fallback = if is_other_model { *lock(&self.execution) } else { None };
        // Who loads for a client of a service must not end with what a runtime does to it.
        let prepared = catch(|| self.prepare(after, fallback))
            .unwrap_or_else(|_| Err(anyhow::anyhow!("it cannot be loaded, see the log")));
        let pipeline = prepared.map_err(|error| {
            let name = first_difference(&before, after);
            let reason = format!("{error:#}; {} goes on", before.model);
            Refusal { name: name.to_owned(), reason }
        })?;
        *lock(&self.loaded) = Some(pipeline);
        Ok(())
    }

    /// A pipeline that is ready for what subscribers want now.
    ///
    /// # Errors
    /// Why it cannot run.
    pub fn prepare(
        &self,
        settings: &ModelSettings,
        fallback: Option<Execution>,
    ) -> anyhow::Result<Pipeline> {
        let mut pipeline = load(settings, fallback)?;
        // Not locked meanwhile: the inference thread notes there what each frame is answered with.
        let wanted = *lock(&self.wanted);
        pipeline.warm_up(wanted)?;
        Ok(pipeline)
    }

    /// Puts settings in force together with the pipeline that was loaded for them, if one was.
    pub fn put_in_force(&self, current: &ArcSwap<Settings>, settings: Arc<Settings>) {
        let mut next = lock(&self.next);
        if let Some(loaded) = lock(&self.loaded).take() {
            let mut asked = lock(&self.asked);
            // The node may have been cleaned up while it was loaded.
            if asked.is_some() {
                *next = Some(loaded);
                *asked = Some(settings.model.clone());
            }
        }
        current.store(settings);
    }

    /// Leaves a pipeline that was loaded for `asked` to the inference thread, unless the settings
    /// in force ask for something else by now.
    pub fn put(&self, pipeline: Pipeline, asked: &ModelSettings, current: &ArcSwap<Settings>) {
        let mut next = lock(&self.next);
        let mut running = lock(&self.asked);
        if running.is_some() && current.load().model == *asked {
            *next = Some(pipeline);
            *running = Some(asked.clone());
        }
    }

    /// The settings in force, and the pipeline that is to run from now on, if there is another.
    pub fn take(&self, current: &ArcSwap<Settings>) -> (Arc<Settings>, Option<Pipeline>) {
        let mut next = lock(&self.next);
        let (settings, next) = (current.load_full(), next.take());
        if let Some(next) = &next {
            self.version.fetch_add(1, Relaxed);
            *lock(&self.execution) = Some(next.network().execution());
            *lock(&self.warning) = next.network().warning().map(str::to_owned);
            match facts(next.network()) {
                Ok(facts) => self.facts.store(Arc::new(facts)),
                Err(error) => tracing::warn!("{error}"),
            }
        }
        (settings, next)
    }

    /// The model that was prepared for `asked` cannot run, and the one that runs goes on: that is a warning unless the
    /// settings in force ask for something else by now.
    pub fn tell_failure(&self, reason: String, asked: &ModelSettings, current: &ArcSwap<Settings>) {
        if lock(&self.asked).is_some() && current.load().model == *asked {
            *lock(&self.warning) = Some(reason);
        }
    }

    /// Remembers what the last frame was answered with.
    pub fn note_wanted(&self, wanted: Wanted) {
        *lock(&self.wanted) = wanted;
    }

    /// What of it a user should do something about.
    pub fn warning(&self) -> Option<String> {
        lock(&self.warning).clone()
    }

    /// How many models have been in force, the present one included: cleanup does not set it back.
    pub fn version(&self) -> i32 {
        self.version.load(Relaxed)
    }

    /// What runs, for diagnostics.
    pub fn facts(&self) -> Arc<Facts> {
        self.facts.load_full()
    }
}

/// The parameter that asks for another model.
fn first_difference(before: &ModelSettings, after: &ModelSettings) -> &'static str {
    if before.model != after.model {
        "model"
    } else if before.precision != after.precision {
        "precision"
    } else if before.provider != after.provider {
        "inference.provider"
    } else if before.threads != after.threads {
        "inference.threads"
    } else {
        "inference.pin_threads"
    }
}

/// What a node starts with where its provider takes long to get ready, some of them minutes: the
/// processor, which serves meanwhile.
pub fn to_start_with(settings: &ModelSettings) -> ModelSettings {
    match settings.provider {
        Provider::Auto | Provider::Cpu | Provider::Xnnpack => settings.clone(),
        _ => ModelSettings { provider: Provider::Cpu, ..settings.clone() },
    }
}

/// How a model is likely to run well where nothing was measured.
pub fn likely_execution() -> Execution {
    Execution { provider: Provider::Cpu, precision: Precision::Fp32, threads: default_threads() }
}

/// Loads a model as the settings ask, or as another runs where they leave it open and nothing was
/// measured yet, and sees that it gives its known answer.
///
/// # Errors
/// What is wrong with its files, the runtime or the answer.
pub fn load(settings: &ModelSettings, fallback: Option<Execution>) -> anyhow::Result<Pipeline> {
    let models_dir = install::models_dir();
    let started = Instant::now();
    tracing::info!("runtime: {}", session::runtime_info()?);
    tracing::info!("loading model {} from {}", settings.model, models_dir.display());
    let model = Arc::new(Model::load(&settings.model, &models_dir)?);
    let mut pipeline =
        Pipeline::new(Network::load_tuned(&model, settings, &install::tuning_file(), fallback)?);
    pipeline.self_test()?;
    let network = pipeline.network();
    tracing::info!(
        "model {} loaded, checked and warm in {:.0?}, ready: {}, input {}",
        model.manifest.name,
        started.elapsed(),
        network.execution(),
        model.manifest.input_size()
    );
    Ok(pipeline)
}

fn facts(network: &Network) -> anyhow::Result<Facts> {
    let manifest = &network.model().manifest;
    let execution = network.execution();
    let file = manifest.file(execution.precision);
    Ok(vec![
        ("model", manifest.name.clone()),
        ("model sha256", file.map(|file| file.sha256.clone()).unwrap_or_default()),
        ("precision", execution.precision.name().to_owned()),
        ("provider", execution.provider.name().to_owned()),
        ("threads", execution.threads.to_string()),
        ("runtime", session::runtime_info().context("the runtime has gone")?.to_owned()),
    ])
}
