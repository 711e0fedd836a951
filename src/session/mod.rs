//! The network: the only module that names ONNX Runtime.

mod graph;
mod placement;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionOutputs};
use ort::value::TensorRef;
use thiserror::Error;

use crate::geometry::Size;
use crate::manifest::{Card, ManifestError};
use crate::place::{DescriptorError, FeatureMap};
use crate::settings::{ModelSettings, Precision, Provider};
use crate::timing::Stopwatch;

pub use graph::GraphError;
use placement::Placement;

/// Threads that are taken when the settings leave it open: more brings little for a net this small.
const MOST_DEFAULT_THREADS: usize = 4;

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
    precision: Precision,
    provider: Provider,
    threads: usize,
    placement: Option<Placement>,
    onnx: Vec<u8>,
    sessions: Vec<(Needs, Session)>,
}

impl Network {
    /// Loads the model that `settings` ask for and runs it once at its nominal size.
    ///
    /// # Errors
    /// [`NetworkError`] that says which file, what was found and what is expected.
    pub fn load(card: &Arc<Card>, settings: &ModelSettings) -> Result<Self, NetworkError> {
        let threads = match settings.threads {
            0 => std::thread::available_parallelism()
                .map_or(1, |cores| cores.get().min(MOST_DEFAULT_THREADS)),
            threads => threads,
        };
        let placement = settings.pin_threads.then(|| Placement::new(threads)).flatten();
        let load = |precision| -> Result<Self, NetworkError> {
            let onnx = card.read_network(precision)?;
            let mut network = Self {
                card: card.clone(),
                precision,
                provider: settings.provider,
                threads,
                placement: placement.clone(),
                onnx,
                sessions: Vec::new(),
            };
            network.warm_up()?;
            Ok(network)
        };
        match settings.precision {
            Precision::Auto => {
                let has = |precision| card.manifest.file(precision).is_some();
                match (has(Precision::Fp32), has(Precision::Int8)) {
                    (true, true) => faster(load(Precision::Fp32)?, load(Precision::Int8)?),
                    (_, false) => load(Precision::Fp32),
                    (false, true) => load(Precision::Int8),
                }
            }
            precision => load(precision),
        }
    }

    /// The model's manifest and class names.
    pub fn card(&self) -> &Arc<Card> {
        &self.card
    }

    /// The arithmetic in use, never [`Precision::Auto`].
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The execution provider in use.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Inference threads, the calling one included.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Keeps the calling thread on the processors that the pool's threads leave to it, where
    /// [`ModelSettings::pin_threads`] asks for that. Threads that it starts later inherit this.
    pub fn place_caller(&self) {
        if let Some(Err(error)) = self.placement.as_ref().map(Placement::place_caller) {
            tracing::warn!("the inference thread cannot be pinned: {error}");
        }
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
        Ok(Tensors { model, outputs })
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
        if let (true, Some(spec)) = (needs.classification, &manifest.classification) {
            outputs.push(&spec.output);
        }
        if let (true, Some(spec)) = (needs.segmentation, &manifest.segmentation) {
            outputs.push(&spec.output);
        }
        if let Some(descriptors) = &self.card.descriptors {
            let place = descriptors.place.maps().filter(|_| needs.place);
            for map in place.chain(descriptors.label.maps().filter(|_| needs.taught)) {
                if !outputs.contains(&map) {
                    outputs.push(map);
                }
            }
        }
        let onnx = graph::prune(&self.onnx, &outputs)
            .map_err(|source| NetworkError::Graph { model: model(), source })?;
        let environment = environment()?;
        let build = || -> ort::Result<Session> {
            let mut builder = Session::builder(environment)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_threads(self.threads)?
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
            let logits = outputs.get(&spec.output)?;
            let classes = spec.classes.len() as i64;
            if logits.shape.len() != 4 || logits.shape[1] != classes {
                return Err(NetworkError::Shape {
                    model,
                    output: spec.output.clone(),
                    actual: logits.shape.clone(),
                    expected: format!("[1, {classes}, h, w]"),
                });
            }
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

/// Measures the two in turn and keeps the faster.
fn faster(mut a: Network, mut b: Network) -> Result<Network, NetworkError> {
    let mut times = Vec::new();
    for _ in 0..9 {
        times.push((a.measure()?, b.measure()?));
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let time_a = median(times.iter().map(|pair| pair.0).collect());
    let time_b = median(times.iter().map(|pair| pair.1).collect());
    tracing::info!(
        "precision: {:?} takes {time_a:.1?}, {:?} {time_b:.1?} on this processor",
        a.precision,
        b.precision
    );
    Ok(if time_b < time_a { b } else { a })
}

/// What one run gave.
#[derive(Debug)]
pub struct Tensors<'a> {
    model: String,
    outputs: SessionOutputs<'a>,
}

/// One output, row-major.
#[derive(Debug, Clone)]
pub struct TensorView<'a> {
    /// Its dimensions.
    pub shape: Vec<i64>,
    /// Its values.
    pub values: &'a [f32],
}

impl Tensors<'_> {
    /// An output by name.
    ///
    /// # Errors
    /// [`NetworkError::Session`] if the run did not give it, or not as float32.
    pub fn get(&self, name: &str) -> Result<TensorView<'_>, NetworkError> {
        let failed = |reason: String| NetworkError::Session { model: self.model.clone(), reason };
        let value = self.outputs.get(name).ok_or_else(|| failed(format!("no output {name:?}")))?;
        let (shape, values) =
            value.try_extract_tensor::<f32>().map_err(|error| failed(error.to_string()))?;
        Ok(TensorView { shape: shape.to_vec(), values })
    }

    /// A feature map `[1, channels, h, w]` by name.
    ///
    /// # Errors
    /// As [`Tensors::get`], or that it has another shape.
    pub fn feature_map(&self, name: &str) -> Result<FeatureMap<'_>, NetworkError> {
        let tensor = self.get(name)?;
        match tensor.shape[..] {
            [1, channels, height, width] => Ok(FeatureMap {
                channels: channels as usize,
                height: height as usize,
                width: width as usize,
                values: tensor.values,
            }),
            _ => Err(self.wrong_shape(name, &tensor)),
        }
    }

    /// What to say of an output whose shape is not the manifest's.
    pub fn wrong_shape(&self, name: &str, tensor: &TensorView<'_>) -> NetworkError {
        NetworkError::Shape {
            model: self.model.clone(),
            output: name.to_owned(),
            actual: tensor.shape.clone(),
            expected: "a grid of the manifest's classes".to_owned(),
        }
    }
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
