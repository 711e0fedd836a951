//! The manifest beside each model: what the network wants and what its outputs mean.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::descriptor::Descriptors;
use crate::execution::Precision;
use crate::geometry::{Fit, Size};
pub use crate::traversability::Traversability;

/// The manifest's format that this crate reads.
pub const SCHEMA: u32 = 1;

/// Name of the feature map that the mask's last layer reads.
const MASK_FEATURES: &str = "mask_features";

/// A model's manifest, as its YAML says and checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format of this file, [`SCHEMA`].
    pub schema: u32,
    /// The model's name, the file's stem.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// SPDX identifier, or words, of the weights' licence.
    pub licence: String,
    /// The network's files, one a precision.
    pub files: Vec<ModelFile>,
    /// What the network is fed.
    pub input: InputSpec,
    /// The classification head, if it has one.
    #[serde(default)]
    pub classification: Option<ClassificationSpec>,
    /// The segmentation head, if it has one.
    #[serde(default)]
    pub segmentation: Option<SegmentationSpec>,
    /// Feature maps that descriptors may pool.
    #[serde(default)]
    pub features: Vec<FeatureSpec>,
    /// What places and taught labels are known by; without it the model knows none.
    #[serde(default)]
    pub descriptors: Option<FileBeside>,
    /// What learning by driving must not unlearn.
    #[serde(default)]
    pub guard: Option<FileBeside>,
    /// Figures for the card.
    #[serde(default)]
    pub scores: serde_json::Value,
    /// A known answer to a picture made by rule.
    #[serde(default)]
    pub self_test: Option<SelfTest>,
}

/// One ONNX file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Its arithmetic.
    pub precision: Precision,
    /// Its path from the manifest's folder.
    pub path: PathBuf,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
}

/// A file that belongs to the model: the one that [`Descriptors`] are read from, or the guard set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileBeside {
    /// Its path from the manifest's folder.
    pub path: PathBuf,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
}

/// Order of the colour planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// The input tensor: float32 `[1, 3, height, width]`, `(pixel - mean) * scale`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Nominal width in pixels.
    pub width: u32,
    /// Nominal height in pixels.
    pub height: u32,
    /// How pictures of other shapes are fitted.
    pub fit: Fit,
    /// Short side before the centre crop, with `fit: crop` alone.
    #[serde(default)]
    pub resize_short_side: u32,
    /// The network takes sides that are multiples of this alone, in pixels; others are rounded.
    #[serde(default = "one")]
    pub multiple: u32,
    /// Order of the planes.
    pub channels: ChannelOrder,
    /// Subtracted, in the planes' order, 0..255.
    pub mean: [f32; 3],
    /// Multiplied after that.
    pub scale: [f32; 3],
}

fn one() -> u32 {
    1
}

impl InputSpec {
    /// A side of so many pixels as the network takes it: the nearest multiple.
    pub fn rounded(&self, side: u32) -> u32 {
        let multiple = self.multiple.max(1);
        ((side + multiple / 2) / multiple * multiple).max(multiple)
    }
}

/// The classification head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassificationSpec {
    /// Output `[1, classes]`, logits.
    pub output: String,
    /// Logits are divided by it before the softmax.
    pub temperature: f32,
    /// File of the class names, a line each.
    pub classes: PathBuf,
}

/// The segmentation head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentationSpec {
    /// Output `[1, classes, h, w]`, logits on a grid that covers the input.
    pub output: String,
    /// Logits are divided by it before the softmax.
    pub temperature: f32,
    /// The classes, by index.
    pub classes: Vec<SegmentationClass>,
}

/// One class of the segmentation head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentationClass {
    /// Readable name.
    pub name: String,
    /// Colour in overlays, red, green, blue.
    pub color: [u8; 3],
    /// What it means for a robot.
    pub traversability: Traversability,
    /// Cost in Nav2 units, 0 free to 254 lethal, 255 unknown.
    pub cost: u8,
}

/// A feature map `[1, channels, h, w]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSpec {
    /// The output's name.
    pub output: String,
    /// Its channels.
    pub channels: usize,
    /// Input pixels from one cell to the next.
    pub stride: u32,
}

/// A known answer to the test picture of [`crate::pipeline::test_picture`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfTest {
    /// Index of the largest logit.
    pub logits_argmax: usize,
    /// Its value, within 2 % in fp32.
    pub logits_max: f32,
}

/// Why a model cannot be used.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// No manifest by that name.
    #[error("no model {name:?}: there is neither such a file nor {name}.yaml in {}; known are {known}", searched.display())]
    Unknown {
        /// The name asked for.
        name: String,
        /// The models folder.
        searched: PathBuf,
        /// What is there instead.
        known: String,
    },
    /// A file cannot be read.
    #[error("{}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The YAML is not a manifest.
    #[error("{}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What and where.
        reason: String,
    },
    /// The file is not the one that the manifest describes.
    #[error("{}: its SHA-256 is {actual}, the manifest says {expected}: fetch the model again or export it anew", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// What was computed.
        actual: String,
        /// What the manifest says.
        expected: String,
    },
}

/// A manifest with what it refers to.
#[derive(Debug, Clone)]
pub struct Model {
    /// The manifest.
    pub manifest: Manifest,
    /// Where it stands.
    pub path: PathBuf,
    /// Names of the classification's classes by index; empty without that head.
    pub class_names: Vec<String>,
    /// What its views are known by.
    pub descriptors: Option<Arc<Descriptors>>,
}

impl Model {
    /// Finds a model by name in `models_dir`, or by the path of its manifest.
    ///
    /// # Errors
    /// [`ManifestError`] naming file and reason.
    pub fn load(model: &str, models_dir: &Path) -> Result<Self, ManifestError> {
        let path = if model.ends_with(".yaml") || model.contains('/') {
            PathBuf::from(model)
        } else {
            models_dir.join(format!("{model}.yaml"))
        };
        if !path.is_file() {
            return Err(ManifestError::Unknown {
                name: model.to_owned(),
                searched: models_dir.to_owned(),
                known: list(models_dir).join(", "),
            });
        }
        let text = read_text(&path)?;
        let parse_error = |reason: String| ManifestError::Parse { path: path.clone(), reason };
        let manifest = Manifest::parse(&text).map_err(parse_error)?;
        let class_names = match &manifest.classification {
            None => Vec::new(),
            Some(spec) => {
                let names_path = folder(&path).join(&spec.classes);
                read_text(&names_path)?.lines().map(str::to_owned).collect()
            }
        };
        let descriptors = match &manifest.descriptors {
            None => None,
            Some(file) => {
                let file_path = folder(&path).join(&file.path);
                let bytes = read_checked(&file_path, &file.sha256)?;
                let descriptors = Descriptors::read(&bytes).map_err(|error| {
                    ManifestError::Parse { path: file_path.clone(), reason: error.to_string() }
                })?;
                let is_known = |map: &str| manifest.features.iter().any(|spec| spec.output == map);
                let unknown = {
                    let maps = descriptors.place.maps().chain(descriptors.label.maps());
                    maps.map(str::to_owned).find(|map| !is_known(map))
                };
                if let Some(map) = unknown {
                    let owner = path.display();
                    let reason = format!("it reads {map}, which is no feature of {owner}");
                    return Err(ManifestError::Parse { path: file_path, reason });
                }
                Some(Arc::new(descriptors))
            }
        };
        Ok(Self { manifest, path, class_names, descriptors })
    }

    /// The bytes of the network of `precision`, their hash checked.
    ///
    /// # Errors
    /// [`ManifestError`] when there is none, or it is not the one described.
    pub fn read_network(&self, precision: Precision) -> Result<Vec<u8>, ManifestError> {
        let file = self.manifest.file(precision).ok_or_else(|| ManifestError::Parse {
            path: self.path.clone(),
            reason: format!("files: none has precision {precision:?}"),
        })?;
        read_checked(&folder(&self.path).join(&file.path), &file.sha256)
    }

    /// The bytes of a file beside the manifest, their hash checked.
    ///
    /// # Errors
    /// [`ManifestError`] when there is none, or it is not the one described.
    pub fn read_beside(&self, file: &FileBeside) -> Result<Vec<u8>, ManifestError> {
        read_checked(&folder(&self.path).join(&file.path), &file.sha256)
    }

    /// The folder of the network's file, where it keeps its tensors if they are in files of their
    /// own (ONNX external data).
    pub fn network_folder(&self, precision: Precision) -> PathBuf {
        let path = self.manifest.file(precision).map(|file| file.path.clone());
        let whole = folder(&self.path).join(path.unwrap_or_default());
        let parent = whole.parent().unwrap_or(Path::new("."));
        std::fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned())
    }
}

impl Manifest {
    /// The file of a precision.
    pub fn file(&self, precision: Precision) -> Option<&ModelFile> {
        self.files.iter().find(|file| file.precision == precision)
    }

    /// The feature map that the mask's last layer reads, if the network gives it.
    pub fn mask_features(&self) -> Option<&FeatureSpec> {
        let has_mask = self.segmentation.is_some();
        self.features.iter().find(|spec| has_mask && spec.output == MASK_FEATURES)
    }

    /// SHA-256 of the first of the network's files, in lower case: its other precisions are the same network.
    pub fn weights_sha256(&self) -> String {
        self.files.first().map(|file| file.sha256.to_ascii_lowercase()).unwrap_or_default()
    }

    /// Nominal input size.
    pub fn input_size(&self) -> Size {
        Size::new(self.input.rounded(self.input.width), self.input.rounded(self.input.height))
    }

    /// From the text of its file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let ensure = |ok: bool, reason: &str| if ok { Ok(()) } else { Err(reason.to_owned()) };
        ensure(self.schema == SCHEMA, &format!("schema: {} where {SCHEMA} is read", self.schema))?;
        ensure(!self.files.is_empty(), "files: at least one is needed")?;
        ensure(
            self.files.iter().all(|file| file.precision != Precision::Auto),
            "files: precision must be fp32 or int8",
        )?;
        let sides = 64..=4096;
        ensure(self.input.multiple <= *sides.end(), "input: multiple must be 1 to 4096")?;
        ensure(
            [self.input.width, self.input.height]
                .iter()
                .all(|side| sides.contains(side) && sides.contains(&self.input.rounded(*side))),
            "input: width and height must be 64 to 4096, as multiples of `multiple` too",
        )?;
        ensure(
            self.input.fit != Fit::Crop
                || (self.input.width.max(self.input.height)..=8192)
                    .contains(&self.input.resize_short_side),
            "input: resize_short_side must be at least width and height, and at most 8192",
        )?;
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        ensure(
            finite(&self.input.mean) && finite(&self.input.scale),
            "input: mean and scale must be finite",
        )?;
        let temperature = |value: f32| value.is_finite() && value > 0.0;
        if let Some(spec) = &self.classification {
            ensure(temperature(spec.temperature), "classification: temperature must be over 0")?;
        }
        if let Some(spec) = &self.segmentation {
            ensure(temperature(spec.temperature), "segmentation: temperature must be over 0")?;
            ensure(
                (2..=254).contains(&spec.classes.len()),
                "segmentation: 2 to 254 classes are possible",
            )?;
        }
        Ok(())
    }
}

/// Names of the classes of a model's mask, none for one without; `None` if the model cannot be read.
pub fn mask_classes(model: &str, models_dir: &Path) -> Option<Vec<String>> {
    let manifest = &Model::load(model, models_dir).ok()?.manifest;
    let classes = manifest.segmentation.iter().flat_map(|spec| &spec.classes);
    Some(classes.map(|class| class.name.clone()).collect())
}

/// Names of the models in a folder, sorted.
pub fn list(models_dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(models_dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let is_manifest = path.extension().is_some_and(|extension| extension == "yaml");
            is_manifest.then(|| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))?
        })
        .collect();
    names.sort();
    names
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// The bytes of a file whose SHA-256 is known.
fn read_checked(path: &Path, expected: &str) -> Result<Vec<u8>, ManifestError> {
    let bytes = std::fs::read(path)
        .map_err(|reason| ManifestError::Read { path: path.to_owned(), reason })?;
    let actual = hexadecimal(&Sha256::digest(&bytes));
    if actual.eq_ignore_ascii_case(expected) {
        Ok(bytes)
    } else {
        let (path, expected) = (path.to_owned(), expected.to_owned());
        Err(ManifestError::Hash { path, actual, expected })
    }
}

fn read_text(path: &Path) -> Result<String, ManifestError> {
    std::fs::read_to_string(path)
        .map_err(|reason| ManifestError::Read { path: path.to_owned(), reason })
}

/// Bytes as lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
