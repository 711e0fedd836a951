//! The network: the only module that names ONNX Runtime.

mod affinity;
pub mod graph;
mod tensors;
mod tuning;

use std::ops::BitOr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;
use thiserror::Error;

use crate::descriptor::DescriptorError;
use crate::geometry::{Fit, Size};
use crate::install;
use crate::manifest::{ManifestError, Model};
use crate::settings::{ModelSettings, Precision, Provider};
use crate::threads::Threads;
use crate::timing::Stopwatch;

use affinity::ThreadAffinity;
pub use graph::GraphError;
use graph::Shuffled;
pub use tensors::{TensorView, Tensors};
pub use tuning::{Execution, default_threads};

/// Where a network that is loaded from memory has its external data.
const EXTERNAL_DATA_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// Why a network cannot be loaded or run.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// ONNX Runtime's library is missing or unfit.
    #[error(
        "ONNX Runtime cannot be loaded from {path:?}: {reason}. `make install` and colcon fetch it; another one (1.22 or newer) is named by ORT_DYLIB_PATH: its libonnxruntime.so"
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
    /// The network takes one size, the manifest gives it the shape of each picture.
    #[error(
        "model {model}: its network takes inputs of {size} alone, and with input.fit: aspect they have the picture's shape; set fit in its manifest to stretch, letterbox or crop, or export it with free height and width"
    )]
    OneSize {
        /// The model's name.
        model: String,
        /// What the network takes, `*` for a free side.
        size: String,
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
pub struct NetworkOutputs {
    /// The classification logits.
    pub classification: bool,
    /// The segmentation logits.
    pub segmentation: bool,
    /// The feature maps of the place descriptor.
    pub place: bool,
    /// The feature maps of the descriptor of taught labels.
    pub taught: bool,
    /// The feature map that the mask's last layer reads.
    pub mask_features: bool,
}

impl BitOr for NetworkOutputs {
    type Output = Self;

    /// What is needed for one or the other.
    fn bitor(self, other: Self) -> Self {
        Self {
            classification: self.classification || other.classification,
            segmentation: self.segmentation || other.segmentation,
            place: self.place || other.place,
            taught: self.taught || other.taught,
            mask_features: self.mask_features || other.mask_features,
        }
    }
}

/// Sessions that a network keeps, one for each combination of outputs that subscribers had lately.
const MOST_SESSIONS: usize = 6;

/// A loaded model. Runs on the thread that calls it and on its own pool, which sleeps between
/// runs. Each combination of outputs that is asked for has a session over a graph cut down to it.
#[derive(Debug)]
pub struct Network {
    model: Arc<Model>,
    execution: Execution,
    /// Why it does not run as the settings ask.
    warning: Option<String>,
    /// Whether it runs in a way that is likely rather than measured.
    is_guess: bool,
    affinity: Option<ThreadAffinity>,
    onnx: Vec<u8>,
    /// The segmentation output before it is laid out as a grid, where that is all it still lacks.
    shuffled: Option<Shuffled>,
    sessions: Vec<(NetworkOutputs, Session)>,
}

impl Network {
    /// Loads the model that `settings` ask for, as they ask, and runs it once at its nominal size.
    /// Of arithmetic that is left open the faster is kept; of providers the processor, and as many
    /// threads as it has, up to four.
    ///
    /// # Errors
    /// [`NetworkError`] that says which file, what was found and what is expected.
    pub fn load(model: &Arc<Model>, settings: &ModelSettings) -> Result<Self, NetworkError> {
        let threads = [default_threads()];
        let open = tuning::candidates(&model.manifest, settings, &[Provider::Cpu], &threads);
        tuning::fastest(model, &open, settings.pin_threads)
    }

    /// The same, but all that the settings leave open is measured: arithmetic, number of threads,
    /// providers of the loaded runtime. The answer is remembered in `memory`, for this processor,
    /// runtime and model, and taken from there the next time. Where nothing is remembered and there
    /// is an `fallback`, nothing is measured and that is taken. A provider that fails gives way to
    /// the processor, see [`Network::warning`].
    ///
    /// # Errors
    /// As [`Network::load`].
    pub fn load_tuned(
        model: &Arc<Model>,
        settings: &ModelSettings,
        memory: &Path,
        fallback: Option<Execution>,
    ) -> Result<Self, NetworkError> {
        let most = default_threads();
        let threads: Vec<usize> = [1, 2, 4].into_iter().filter(|count| *count <= most).collect();
        let open = tuning::candidates(&model.manifest, settings, &providers()?, &threads);
        let with = |execution| Self::with(model, execution, settings.pin_threads);
        let result = if open.len() < 2 {
            tuning::fastest(model, &open, settings.pin_threads)
        } else {
            let key = tuning::key(&model.manifest, &open, runtime_info()?);
            let known = tuning::recall(memory, &key).filter(|known| open.contains(known));
            let fallback = fallback.and_then(|fallback| tuning::nearest(&open, fallback));
            let is_guess = known.is_none();
            match known.or(fallback).map(with) {
                Some(Ok(network)) => {
                    // Arithmetic that may be wrong here is for who asks for it.
                    let safe = network.warning.as_ref().and_then(|_| {
                        let is_other =
                            |one: &Execution| one.precision != network.execution.precision;
                        let others: Vec<_> = open.iter().copied().filter(is_other).collect();
                        let other = tuning::nearest(&others, network.execution)?;
                        with(other).ok().filter(|other| other.warning.is_none())
                    });
                    let network = safe.unwrap_or(network);
                    network.log_warning();
                    return Ok(Self { is_guess, ..network });
                }
                Some(Err(error)) => tracing::warn!("{error}"),
                None => tracing::info!(
                    "measuring which of {} ways to run {} is the fastest here",
                    open.len(),
                    model.manifest.name
                ),
            }
            let fastest = tuning::fastest(model, &open, settings.pin_threads);
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
                let warning = format!("{} fails: {error}", settings.provider.name());
                tracing::error!("{warning}; the processor serves instead");
                let settings = ModelSettings { provider: Provider::Cpu, ..settings.clone() };
                let mut network = Self::load_tuned(model, &settings, memory, fallback)?;
                network.warning = Some(match network.warning {
                    Some(more) => format!("{warning}; {more}"),
                    None => warning,
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
        model: &Arc<Model>,
        execution: Execution,
        pin_threads: bool,
    ) -> Result<Self, NetworkError> {
        let onnx = model.read_network(execution.precision)?;
        let is_own_pool = execution.provider == Provider::Cpu && pin_threads;
        let affinity = is_own_pool.then(|| ThreadAffinity::new(execution.threads)).flatten();
        let malformed = |source| NetworkError::Graph { model: model.manifest.name.clone(), source };
        let segmentation = model.manifest.segmentation.as_ref();
        let shuffled = segmentation.map(|spec| graph::shuffled(&onnx, &spec.output)).transpose();
        let shuffled = shuffled.map_err(malformed)?.flatten();
        let is_int8 = execution.precision == Precision::Int8 && execution.provider == Provider::Cpu;
        let is_wrong = is_int8
            && adds_products_in_16_bits()
            && graph::has_8_bit_weights(&onnx).map_err(malformed)?;
        let warning = is_wrong.then(|| OVERFLOW.to_owned());
        let model = model.clone();
        let sessions = Vec::new();
        let mut network =
            Self { model, execution, warning, is_guess: false, affinity, onnx, shuffled, sessions };
        network.warm_up()?;
        Ok(network)
    }

    /// The model's manifest and class names.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// How it runs.
    pub fn execution(&self) -> Execution {
        self.execution
    }

    /// Why it does not run as the settings ask, if it does not.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Whether it runs in a way that is likely, and nothing was measured yet.
    pub fn is_guess(&self) -> bool {
        self.is_guess
    }

    fn log_warning(&self) {
        if let Some(warning) = &self.warning {
            tracing::warn!("model {}: {warning}", self.model.manifest.name);
        }
    }

    /// Keeps the calling thread on the processors that the pool's threads leave to it, where
    /// [`ModelSettings::pin_threads`] asks for that, and else on none. Threads that it starts later
    /// inherit this.
    pub fn pin_caller(&self) {
        if self.affinity.is_none()
            && let Err(error) = affinity::release_caller()
        {
            tracing::warn!("the calling thread keeps to some processors: {error}");
        }
        pin_caller(self.affinity.as_ref(), 0);
    }

    /// As many threads as the network runs on, for the work around it, placed as the network's are.
    pub fn pixel_threads(&self) -> Threads {
        let affinity = self.affinity.clone();
        Threads::new(self.execution.threads, move |index| pin_caller(affinity.as_ref(), index))
    }

    /// What of `needs` the model can give.
    pub fn possible(&self, needs: NetworkOutputs) -> NetworkOutputs {
        let manifest = &self.model.manifest;
        NetworkOutputs {
            classification: needs.classification && manifest.classification.is_some(),
            segmentation: needs.segmentation && manifest.segmentation.is_some(),
            place: needs.place && self.model.descriptors.is_some(),
            taught: needs.taught && self.model.descriptors.is_some(),
            mask_features: needs.mask_features && manifest.mask_features().is_some(),
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
        needs: NetworkOutputs,
        tensor: &[f32],
        size: Size,
    ) -> Result<Tensors<'_>, NetworkError> {
        let name = self.model.manifest.name.clone();
        let index = self.prepare(needs)?;
        let failed = |error: ort::Error| NetworkError::Session {
            model: name.clone(),
            reason: error.to_string(),
        };
        let shape = [1, 3, size.height as usize, size.width as usize];
        let input = TensorRef::from_array_view((shape, tensor)).map_err(failed)?;
        let outputs = self.sessions[index].1.run(ort::inputs![input]).map_err(failed)?;
        Ok(Tensors { model: name, outputs, shuffled: self.shuffled.as_ref() })
    }

    /// Makes the session for `needs` unless it is there; gives its index.
    ///
    /// # Errors
    /// As [`Network::infer`].
    pub fn prepare(&mut self, needs: NetworkOutputs) -> Result<usize, NetworkError> {
        let needs = self.possible(needs);
        // The one used last stands last.
        if let Some(index) = self.sessions.iter().position(|(has, _)| *has == needs) {
            self.sessions[index..].rotate_left(1);
            return Ok(self.sessions.len() - 1);
        }
        let session = self.session(needs)?;
        if self.sessions.len() >= MOST_SESSIONS {
            self.sessions.remove(0);
        }
        self.sessions.push((needs, session));
        Ok(self.sessions.len() - 1)
    }

    /// The network cut down to what gives `needs`.
    fn pruned(&self, needs: NetworkOutputs) -> Result<Vec<u8>, NetworkError> {
        let manifest = &self.model.manifest;
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
        if let Some(descriptors) = &self.model.descriptors {
            let place = descriptors.place.maps().filter(|_| needs.place);
            for map in place.chain(descriptors.label.maps().filter(|_| needs.taught)) {
                if !outputs.contains(&map) {
                    outputs.push(map);
                }
            }
        }
        if let (true, Some(spec)) = (needs.mask_features, manifest.mask_features())
            && !outputs.contains(&&spec.output[..])
        {
            outputs.push(&spec.output);
        }
        let malformed = |source| NetworkError::Graph { model: manifest.name.clone(), source };
        graph::prune(&self.onnx, &outputs, inner).map_err(malformed)
    }

    fn session(&self, needs: NetworkOutputs) -> Result<Session, NetworkError> {
        let name = || self.model.manifest.name.clone();
        let onnx = self.pruned(needs)?;
        let environment = environment()?;
        let Execution { provider, threads, .. } = self.execution;
        // Other providers have threads of their own.
        let pool = if provider == Provider::Cpu { threads } else { 1 };
        // The network comes from memory: without this its external data would be looked for in the
        // working directory.
        let folder = self.model.network_folder(self.execution.precision);
        let folder = folder.to_string_lossy();
        let build = || -> ort::Result<Session> {
            let mut builder = Session::builder(environment)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_threads(pool)?
                .with_inter_threads(1)?
                // Threads spin within a run, where the next piece of work is microseconds away,
                // and sleep between runs.
                .with_intra_op_spinning(true)?
                .with_config_entry("session.force_spinning_stop", "1")?
                .with_config_entry(EXTERNAL_DATA_FOLDER, &folder)?
                .with_flush_to_zero()?;
            if let Some(affinity) = &self.affinity {
                builder = builder
                    .with_config_entry("session.intra_op_thread_affinities", affinity.pool())?;
            }
            if let Some(provider) = dispatch(provider, threads) {
                builder = builder.with_execution_providers([provider.error_on_failure()])?;
            }
            builder.commit_from_memory(&onnx)
        };
        build().map_err(|error| NetworkError::Session { model: name(), reason: error.to_string() })
    }

    fn warm_up(&mut self) -> Result<(), NetworkError> {
        let size = self.model.manifest.input_size();
        let tensor = vec![0.0; 3 * size.area()];
        let needs = NetworkOutputs {
            classification: true,
            segmentation: true,
            ..NetworkOutputs::default()
        };
        let model = self.model.clone();
        // What subscribers may want later has to be there, too.
        let all = NetworkOutputs { place: true, taught: true, mask_features: true, ..needs };
        self.pruned(self.possible(all))?;
        let index = self.prepare(needs)?;
        let input = self.sessions[index].1.inputs().first();
        if let Some([_, _, height, width]) =
            input.and_then(|input| input.dtype().tensor_shape()).map(|shape| &shape[..])
            && model.manifest.input.fit == Fit::Aspect
            && (*height > 0 || *width > 0)
        {
            let side = |side: i64| if side > 0 { side.to_string() } else { "*".to_owned() };
            let size = format!("{}x{}", side(*width), side(*height));
            return Err(NetworkError::OneSize { model: model.manifest.name.clone(), size });
        }
        let outputs = self.infer(needs, &tensor, size)?;
        if let Some(spec) = &model.manifest.classification {
            outputs.labels(spec, model.class_names.len())?;
        }
        if let Some(spec) = &model.manifest.segmentation {
            outputs.grid(spec)?;
        }
        Ok(())
    }

    /// Median time of a run with both heads at the nominal size.
    fn measure(&mut self) -> Result<Duration, NetworkError> {
        let size = self.model.manifest.input_size();
        let tensor = vec![0.0; 3 * size.area()];
        let needs = NetworkOutputs {
            classification: true,
            segmentation: true,
            ..NetworkOutputs::default()
        };
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
fn pin_caller(affinity: Option<&ThreadAffinity>, group: usize) {
    if let Some(Err(error)) = affinity.map(|affinity| affinity.pin_caller(group)) {
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

/// ONNX Runtime, loaded once a process from where [`install::runtime_library`] finds it.
fn environment() -> Result<&'static Environment, NetworkError> {
    static ENVIRONMENT: OnceLock<Result<Environment, (String, String)>> = OnceLock::new();
    let loaded = ENVIRONMENT.get_or_init(|| {
        let path = install::runtime_library();
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

/// Version and build of the loaded runtime, for diagnostics.
///
/// # Errors
/// [`NetworkError::Runtime`] if there is none.
pub fn runtime_info() -> Result<&'static str, NetworkError> {
    environment().map(|_| ort::info())
}
