//! The network: the only module that names ONNX Runtime.

mod graph;
mod placement;
mod tensors;
mod tuning;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;
use thiserror::Error;

use crate::geometry::Size;
use crate::manifest::{Card, ManifestError};
use crate::place::DescriptorError;
use crate::settings::{ModelSettings, Precision, Provider};
use crate::threads::Threads;
use crate::timing::Stopwatch;

pub use graph::GraphError;
use graph::Shuffled;
use placement::Placement;
pub use tensors::{TensorView, Tensors};
pub use tuning::{Execution, default_threads};

/// Why a network cannot be loaded or run.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// ONNX Runtime's library is missing or unfit.
    #[error(
        "ONNX Runtime cannot be loaded from {path:?}: {reason}. Install it (pip install onnxruntime==1.32.0) and set ORT_DYLIB_PATH to its libonnxruntime.so"
    )]
    Runtime {
        /// What was tried.
        path: String,
        /// The loader's words.
        reason: String,
    },
    /// The model's files.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The ONNX file's structure.
    #[error("model {model}: {source}")]
    Graph {
        /// The model's name.
        model: String,
        /// What is wrong.
        source: GraphError,
    },
    /// ONNX Runtime refused the network, or failed to run it.
    #[error("model {model}: {reason}")]
    Session {
        /// The model's name.
        model: String,
        /// ONNX Runtime's words.
        reason: String,
    },
    /// An output is not of the shape that the manifest promises.
    #[error("model {model}: output {output:?} has shape {actual:?}, expected {expected}")]
    Shape {
        /// The model's name.
        model: String,
        /// The output's name.
        output: String,
        /// Its shape.
        actual: Vec<i64>,
        /// What the manifest says.
        expected: String,
    },
    /// The descriptors are not this network's.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// The known answer was not given.
    #[error(
        "model {model}: self test gave class {argmax} with logit {max:.3}, expected {expected_argmax} with {expected_max:.3}"
    )]
    SelfTest {
        /// The model's name.
        model: String,
        /// Index of the largest logit.
        argmax: usize,
        /// Its value.
        max: f32,
        /// What the manifest says.
        expected_argmax: usize,
        /// What the manifest says.
        expected_max: f32,
    },
}

/// Outputs that a run has to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Needs {
    /// The classification logits.
    pub classification: bool,
    /// The segmentation logits.
    pub segmentation: bool,
    /// The feature maps of the place descriptor.
    pub place: bool,
    /// The feature maps of the descriptor of taught labels.
    pub taught: bool,
}

/// A loaded model. Runs on the thread that calls it and on its own pool, which sleeps between
/// runs. Each combination of outputs that is asked for has a session over a graph cut down to it.
#[derive(Debug)]
pub struct Network {
    card: Arc<Card>,
    execution: Execution,
    /// Why it does not run as the settings ask.
    trouble: Option<String>,
    placement: Option<Placement>,
    onnx: Vec<u8>,
    /// The segmentation output before it is laid out as a grid, where that is all it still lacks.
    shuffled: Option<Shuffled>,
    sessions: Vec<(Needs, Session)>,
}

impl Network {
    /// Loads the model that `settings` ask for, as they ask, and runs it once at its nominal size.
    /// Of arithmetic that is left open the faster is kept; of providers the processor, and as many
    /// threads as it has, up to four.
    ///
    /// # Errors
    /// [`NetworkError`] that says which file, what was found and what is expected.
    pub fn load(card: &Arc<Card>, settings: &ModelSettings) -> Result<Self, NetworkError> {
        let threads = [default_threads()];
        let open = tuning::candidates(&card.manifest, settings, &[Provider::Cpu], &threads);
        tuning::fastest(card, &open, settings.pin_threads)
    }

    /// The same, but all that the settings leave open is measured: arithmetic, number of threads,
    /// providers of the loaded runtime. The answer is remembered in `memory`, for this processor,
    /// runtime and model, and taken from there the next time. Where nothing is remembered and there
    /// is an `instead`, nothing is measured and that is taken. A provider that fails gives way to
    /// the processor, see [`Network::trouble`].
    ///
    /// # Errors
    /// As [`Network::load`].
    pub fn load_tuned(
        card: &Arc<Card>,
        settings: &ModelSettings,
        memory: &Path,
        instead: Option<Execution>,
    ) -> Result<Self, NetworkError> {
        let most = default_threads();
        let threads: Vec<usize> = [1, 2, 4].into_iter().filter(|count| *count <= most).collect();
        let open = tuning::candidates(&card.manifest, settings, &providers()?, &threads);
        let with = |execution| Self::with(card, execution, settings.pin_threads);
        let result = if open.len() < 2 {
            tuning::fastest(card, &open, settings.pin_threads)
        } else {
            let key = tuning::key(&card.manifest, &open, runtime_info()?);
            let known = tuning::recall(memory, &key).filter(|known| open.contains(known));
            let instead = instead.and_then(|instead| tuning::nearest(&open, instead));
            match known.or(instead).map(with) {
                Some(Ok(network)) => {
                    network.tell_trouble();
                    return Ok(network);
                }
                Some(Err(error)) => tracing::warn!("{error}"),
                None => tracing::info!(
                    "measuring which of {} ways to run {} is the fastest here",
                    open.len(),
                    card.manifest.name
                ),
            }
            let fastest = tuning::fastest(card, &open, settings.pin_threads);
            if let Ok(network) = &fastest {
                let path = memory.display();
                match tuning::remember(memory, &key, network.execution) {
                    Ok(()) => tracing::info!(
                        "{} is the fastest, remembered in {path} (delete it to measure again)",
                        network.execution
                    ),
                    Err(error) => tracing::warn!("{path}: {error}"),
                }
            }
            fastest
        };
        match result {
            Err(error) if !matches!(settings.provider, Provider::Auto | Provider::Cpu) => {
                let trouble = format!("{} fails: {error}", settings.provider.name());
                tracing::error!("{trouble}; the processor serves instead");
                let settings = ModelSettings { provider: Provider::Cpu, ..settings.clone() };
                let mut network = Self::load_tuned(card, &settings, memory, instead)?;
                network.trouble = Some(match network.trouble {
                    Some(more) => format!("{trouble}; {more}"),
                    None => trouble,
                });
                Ok(network)
            }
            result => result,
        }
    }

    /// Loads a network to run in one way.
    ///
    /// # Errors
    /// As [`Network::load`], or that the provider does not take it.
    pub fn with(
        card: &Arc<Card>,
        execution: Execution,
        pin_threads: bool,
    ) -> Result<Self, NetworkError> {
        let onnx = card.read_network(execution.precision)?;
        let is_own_pool = execution.provider == Provider::Cpu && pin_threads;
        let placement = is_own_pool.then(|| Placement::new(execution.threads)).flatten();
        let malformed = |source| NetworkError::Graph { model: card.manifest.name.clone(), source };
        let segmentation = card.manifest.segmentation.as_ref();
        let shuffled = segmentation.map(|spec| graph::shuffled(&onnx, &spec.output)).transpose();
        let shuffled = shuffled.map_err(malformed)?.flatten();
        let is_int8 = execution.precision == Precision::Int8 && execution.provider == Provider::Cpu;
        let is_wrong = is_int8
            && adds_products_in_16_bits()
            && graph::has_8_bit_weights(&onnx).map_err(malformed)?;
        let trouble = is_wrong.then(|| OVERFLOW.to_owned());
        let card = card.clone();
        let sessions = Vec::new();
        let mut network = Self { card, execution, trouble, placement, onnx, shuffled, sessions };
        network.warm_up()?;
        Ok(network)
    }

    /// The model's manifest and class names.
    pub fn card(&self) -> &Arc<Card> {
        &self.card
    }

    /// How it runs.
    pub fn execution(&self) -> Execution {
        self.execution
    }

    /// Why it does not run as the settings ask, if it does not.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn tell_trouble(&self) {
        if let Some(trouble) = &self.trouble {
            tracing::warn!("model {}: {trouble}", self.card.manifest.name);
        }
    }

    /// Keeps the calling thread on the processors that the pool's threads leave to it, where
    /// [`ModelSettings::pin_threads`] asks for that. Threads that it starts later inherit this.
    pub fn place_caller(&self) {
        place_caller(self.placement.as_ref(), 0);
    }

    /// As many threads as the network runs on, for the work around it, placed as the network's are.
    pub fn pixel_threads(&self) -> Threads {
        let placement = self.placement.clone();
        Threads::new(self.execution.threads, move |index| place_caller(placement.as_ref(), index))
    }

    /// What of `needs` the model can give.
    pub fn possible(&self, needs: Needs) -> Needs {
        let manifest = &self.card.manifest;
        Needs {
            classification: needs.classification && manifest.classification.is_some(),
            segmentation: needs.segmentation && manifest.segmentation.is_some(),
            place: needs.place && self.card.descriptors.is_some(),
            taught: needs.taught && self.card.descriptors.is_some(),
        }
    }

    /// Runs the network on a tensor `[1, 3, H, W]`, row-major.
    ///
    /// The first run of a new combination of `needs` prepares its session, which takes some tens
    /// of milliseconds.
    ///
    /// # Errors
    /// [`NetworkError::Session`] with ONNX Runtime's reason.
    pub fn infer(
        &mut self,
        needs: Needs,
        tensor: &[f32],
        size: Size,
    ) -> Result<Tensors<'_>, NetworkError> {
        let model = self.card.manifest.name.clone();
        let index = self.prepare(needs)?;
        let failed = |error: ort::Error| NetworkError::Session {
            model: model.clone(),
            reason: error.to_string(),
        };
        let shape = [1, 3, size.height as usize, size.width as usize];
        let input = TensorRef::from_array_view((shape, tensor)).map_err(failed)?;
        let outputs = self.sessions[index].1.run(ort::inputs![input]).map_err(failed)?;
        Ok(Tensors { model, outputs, shuffled: self.shuffled.as_ref() })
    }

    /// Makes the session for `needs` unless it is there; gives its index.
    ///
    /// # Errors
    /// As [`Network::infer`].
    pub fn prepare(&mut self, needs: Needs) -> Result<usize, NetworkError> {
        let needs = self.possible(needs);
        if let Some(index) = self.sessions.iter().position(|(has, _)| *has == needs) {
            return Ok(index);
        }
        let session = self.session(needs)?;
        self.sessions.push((needs, session));
        Ok(self.sessions.len() - 1)
    }

    fn session(&self, needs: Needs) -> Result<Session, NetworkError> {
        let manifest = &self.card.manifest;
        let model = || manifest.name.clone();
        let mut outputs: Vec<&str> = Vec::new();
        let mut inner = None;
        if let (true, Some(spec)) = (needs.classification, &manifest.classification) {
            outputs.push(&spec.output);
        }
        if let (true, Some(spec)) = (needs.segmentation, &manifest.segmentation) {
            match &self.shuffled {
                Some(shuffled) => inner = Some(&shuffled.source[..]),
                None => outputs.push(&spec.output),
            }
        }
        if let Some(descriptors) = &self.card.descriptors {
            let place = descriptors.place.maps().filter(|_| needs.place);
            for map in place.chain(descriptors.label.maps().filter(|_| needs.taught)) {
                if !outputs.contains(&map) {
                    outputs.push(map);
                }
            }
        }
        let onnx = graph::prune(&self.onnx, &outputs, inner)
            .map_err(|source| NetworkError::Graph { model: model(), source })?;
        let environment = environment()?;
        let Execution { provider, threads, .. } = self.execution;
        // Other providers have threads of their own.
        let pool = if provider == Provider::Cpu { threads } else { 1 };
        let build = || -> ort::Result<Session> {
            let mut builder = Session::builder(environment)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_threads(pool)?
                .with_inter_threads(1)?
                // Threads spin within a run, where the next piece of work is microseconds away,
                // and sleep between runs.
                .with_intra_op_spinning(true)?
                .with_config_entry("session.force_spinning_stop", "1")?
                .with_flush_to_zero()?;
            if let Some(placement) = &self.placement {
                builder = builder
                    .with_config_entry("session.intra_op_thread_affinities", placement.pool())?;
            }
            if let Some(provider) = dispatch(provider, threads) {
                builder = builder.with_execution_providers([provider.error_on_failure()])?;
            }
            builder.commit_from_memory(&onnx)
        };
        build().map_err(|error| NetworkError::Session { model: model(), reason: error.to_string() })
    }

    fn warm_up(&mut self) -> Result<(), NetworkError> {
        let size = self.card.manifest.input_size();
        let tensor = vec![0.0; 3 * size.area()];
        let needs = Needs { classification: true, segmentation: true, ..Needs::default() };
        let model = self.card.manifest.name.clone();
        let card = self.card.clone();
        let outputs = self.infer(needs, &tensor, size)?;
        if let Some(spec) = &card.manifest.classification {
            let logits = outputs.get(&spec.output)?;
            if logits.values.len() != card.class_names.len() {
                return Err(NetworkError::Shape {
                    model,
                    output: spec.output.clone(),
                    actual: logits.shape.clone(),
                    expected: format!("[1, {}], a name a class", card.class_names.len()),
                });
            }
        }
        if let Some(spec) = &card.manifest.segmentation {
            outputs.grid(spec)?;
        }
        Ok(())
    }

    /// Median time of a run with both heads at the nominal size.
    fn measure(&mut self) -> Result<Duration, NetworkError> {
        let size = self.card.manifest.input_size();
        let tensor = vec![0.0; 3 * size.area()];
        let needs = Needs { classification: true, segmentation: true, ..Needs::default() };
        let mut watch = Stopwatch::new();
        self.infer(needs, &tensor, size)?;
        Ok(watch.lap())
    }
}

/// What is wrong with an int8 file whose weights have 8 bits where [`adds_products_in_16_bits`].
const OVERFLOW: &str = "the weights of its int8 file have 8 bits, with which sums overflow on processors without VNNI such as this: labels and masks may be wrong; quantise it again with 7 bits (`quantize` of models/training, or reduce_range of ONNX Runtime's tools), or set precision to fp32";

/// Whether ONNX Runtime adds products of unsigned and signed bytes in pairs of 16 bits, as it does
/// on x86 without VNNI.
fn adds_products_in_16_bits() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has_vnni = std::arch::is_x86_feature_detected!("avx512vnni")
        || std::arch::is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    let has_vnni = true;
    !has_vnni
}

/// Keeps the calling thread on its group, where threads are placed.
fn place_caller(placement: Option<&Placement>, group: usize) {
    if let Some(Err(error)) = placement.map(|placement| placement.place_caller(group)) {
        let thread = std::thread::current();
        tracing::warn!("thread {} cannot be pinned: {error}", thread.name().unwrap_or("?"));
    }
}

/// How a provider is asked for; the processor needs no asking.
fn dispatch(provider: Provider, threads: usize) -> Option<ExecutionProviderDispatch> {
    let count = std::num::NonZeroUsize::new(threads).unwrap_or(std::num::NonZeroUsize::MIN);
    match provider {
        Provider::Auto | Provider::Cpu => None,
        Provider::Openvino => {
            Some(ep::OpenVINO::default().with_device_type("CPU").with_num_threads(threads).build())
        }
        Provider::Xnnpack => Some(ep::XNNPACK::default().with_intra_op_num_threads(count).build()),
        Provider::Cuda => Some(ep::CUDA::default().build()),
        Provider::Tensorrt => Some(ep::TensorRT::default().build()),
    }
}

/// The providers that the loaded runtime was built with, the processor first.
///
/// # Errors
/// [`NetworkError::Runtime`] if there is no runtime.
pub fn providers() -> Result<Vec<Provider>, NetworkError> {
    environment()?;
    let is_offered = |provider: &Provider| match provider {
        Provider::Auto => false,
        Provider::Cpu => true,
        Provider::Openvino => ep::OpenVINO::is_available().unwrap_or(false),
        Provider::Xnnpack => ep::XNNPACK::is_available().unwrap_or(false),
        Provider::Cuda => ep::CUDA::is_available().unwrap_or(false),
        Provider::Tensorrt => ep::TensorRT::is_available().unwrap_or(false),
    };
    Ok(Provider::ALL.into_iter().filter(is_offered).collect())
}

/// Processors that this process may use.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// ONNX Runtime, loaded once a process from `ORT_DYLIB_PATH`, or by the loader's search.
fn environment() -> Result<&'static Environment, NetworkError> {
    static ENVIRONMENT: OnceLock<Result<Environment, (String, String)>> = OnceLock::new();
    let loaded = ENVIRONMENT.get_or_init(|| {
        let path = runtime_library();
        let shown = path.display().to_string();
        let builder = ort::init_from(&path).map_err(|error| (shown.clone(), error.to_string()))?;
        builder
            .with_name("squeezenet_node")
            .with_telemetry(false)
            .build()
            .map_err(|error| (shown, error.to_string()))
    });
    loaded.as_ref().map_err(|(path, reason)| NetworkError::Runtime {
        path: path.clone(),
        reason: reason.clone(),
    })
}

fn runtime_library() -> PathBuf {
    std::env::var_os("ORT_DYLIB_PATH")
        .filter(|path| !path.is_empty())
        .map_or_else(|| PathBuf::from("libonnxruntime.so"), PathBuf::from)
}

/// Version and build of the loaded runtime, for diagnostics.
///
/// # Errors
/// [`NetworkError::Runtime`] if there is none.
pub fn runtime_info() -> Result<&'static str, NetworkError> {
    environment().map(|_| ort::info())
}
