//! `squeezenet_node places`: what was taught, from picture files instead of a robot.

mod evaluate;
mod sheet;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::picture_file::PictureFile;
use super::print::{print_line, tell};
use super::{ModelOptions, Outcome};
use crate::file_lock::Lock;
use crate::install;
use crate::overlay;
use crate::pipeline::Pipeline;
use crate::place::{self, Gallery, Kind, Memory, Motion, PlaceRecognizer, View};
use crate::result::{FrameResult, Wanted};
use crate::settings::{CameraSettings, PlaceSettings};

/// Arguments of `places`.
#[derive(Debug, Args)]
pub struct PlacesArgs {
    #[command(subcommand)]
    command: PlacesCommand,
}

#[derive(Debug, Subcommand)]
enum PlacesCommand {
    /// Add pictures as views of a place
    Learn {
        /// The place, or with --label the user's own label
        name: String,
        /// Picture files, JPEG or PNG
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Teach a label instead of a place
        #[arg(long)]
        label: bool,
        #[command(flatten)]
        gallery: GalleryOptions,
        #[command(flatten)]
        model: ModelOptions,
    },
    /// Which places pictures show, each on its own
    Query {
        /// Picture files, JPEG or PNG
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// One JSON object a line and file
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        gallery: GalleryOptions,
        #[command(flatten)]
        model: ModelOptions,
    },
    /// What was taught
    List {
        /// One JSON object
        #[arg(long)]
        json: bool,
        /// Write a contact sheet of the kept thumbnails here, as PNG
        #[arg(long, value_name = "PNG")]
        sheet: Option<PathBuf>,
        #[command(flatten)]
        gallery: GalleryOptions,
    },
    /// How well pictures of one walk are found among those of another along the same way
    Evaluate(evaluate::EvaluateArgs),
}

/// Where what was taught is kept.
#[derive(Debug, Clone, Args)]
pub struct GalleryOptions {
    /// File of what was taught [default: squeezenet_places.bin in ROS_HOME, or ~/.ros]
    #[arg(long, value_name = "FILE")]
    gallery: Option<PathBuf>,
}

impl GalleryOptions {
    fn path(&self) -> PathBuf {
        self.gallery.clone().unwrap_or_else(install::places_file)
    }

    /// What was taught to the pipeline's model; `None` if nothing was. Where the file is only that
    /// by default, one that cannot be taken is told and passed over.
    pub(super) fn recognizer(
        &self,
        pipeline: &Pipeline,
    ) -> anyhow::Result<Option<PlaceRecognizer>> {
        let path = self.path();
        let is_chosen = self.gallery.is_some();
        if !is_chosen && (!path.exists() || pipeline.network().model().descriptors.is_none()) {
            return Ok(None);
        }
        match load(&path, pipeline) {
            Ok(recognizer) => Ok(Some(recognizer)),
            Err(error) if is_chosen => Err(error),
            Err(error) => {
                tell(&format!("{error:#}; places and taught labels are left out"));
                Ok(None)
            }
        }
    }
}

pub(super) fn run(args: &PlacesArgs) -> anyhow::Result<Outcome> {
    match &args.command {
        PlacesCommand::Learn { name, files, label, gallery, model } => {
            learn(name, files, *label, &gallery.path(), model)
        }
        PlacesCommand::Query { files, json, gallery, model } => {
            query(files, *json, &gallery.path(), model)
        }
        PlacesCommand::List { json, sheet, gallery } => {
            list(*json, sheet.as_deref(), &gallery.path())
        }
        PlacesCommand::Evaluate(args) => evaluate::run(args),
    }
}

/// An empty memory for what a pipeline's descriptors can tell apart.
///
/// # Errors
/// The model has no descriptors.
fn empty_memory(pipeline: &Pipeline) -> anyhow::Result<Memory> {
    let model = pipeline.network().model();
    Memory::for_model(model).with_context(|| {
        format!(
            "model {} has no descriptors, so it knows no places: make them with `descriptors` of models/training",
            model.manifest.name
        )
    })
}

/// What was taught to the pipeline's model; nothing is renamed or written.
///
/// # Errors
/// The file is damaged, or another model's.
fn load_memory(path: &Path, pipeline: &Pipeline) -> anyhow::Result<Memory> {
    let empty = empty_memory(pipeline)?;
    Ok(Memory::load(path, &empty.owner)?.unwrap_or(empty))
}

/// What recognises that which was taught to the pipeline's model.
///
/// # Errors
/// As [`load_memory`], or that there is no such file.
pub(super) fn load(path: &Path, pipeline: &Pipeline) -> anyhow::Result<PlaceRecognizer> {
    anyhow::ensure!(path.exists(), "{}: there is no such file", path.display());
    Ok(PlaceRecognizer::new(load_memory(path, pipeline)?, Motion::Anywhere))
}

/// Gives the descriptors of each picture file to `take`; those that fail are named and the others
/// done.
///
/// # Errors
/// Those of `take`.
fn describe_each(
    files: &[PathBuf],
    pipeline: &mut Pipeline,
    wanted: Wanted,
    mut take: impl FnMut(&Path, FrameResult) -> anyhow::Result<()>,
) -> anyhow::Result<Outcome> {
    let mut describe = |file: &Path| -> anyhow::Result<FrameResult> {
        let picture = PictureFile::read(file)?;
        Ok(pipeline.process(picture.frame()?, wanted, &CameraSettings::default())?)
    };
    let mut outcome = Outcome::Done;
    for file in files {
        match describe(file) {
            Ok(result) => take(file, result)?,
            Err(error) => {
                tell(&format!("{}: {error:#}", file.display()));
                outcome = Outcome::SomeFailed;
            }
        }
    }
    Ok(outcome)
}

fn learn(
    name: &str,
    files: &[PathBuf],
    is_label: bool,
    path: &Path,
    model: &ModelOptions,
) -> anyhow::Result<Outcome> {
    let name = name.trim();
    if name.is_empty() {
        bail!("the name is empty");
    }
    let mut pipeline = model.pipeline()?;
    // From before it is read until it is written: a node would write over it.
    let _lock = Lock::take(path, "places.file (or --gallery)", "squeezenet_node places learn")?;
    let empty = empty_memory(&pipeline)?;
    let memory = Memory::load_to_write(path, &empty.owner)?.unwrap_or(empty);
    let kind = if is_label { Kind::Label } else { Kind::Place };
    // A node that was told to keep more has them for good.
    let most_views = PlaceSettings::default().max_views.max(memory.gallery(kind).count(name));
    let mut recognizer = PlaceRecognizer::new(memory, Motion::Anywhere);
    let wanted =
        Wanted { embedding: !is_label, taught: is_label, picture: true, ..Wanted::default() };
    let mut taught = 0;
    let outcome = describe_each(files, &mut pipeline, wanted, |file, result| {
        let thumbnail = result.picture.as_ref().map(overlay::thumbnail).transpose()?;
        let view =
            View { taught_s: now_s(), thumbnail: thumbnail.unwrap_or_default(), ..View::default() };
        let vector = if is_label { &result.taught_embedding } else { &result.embedding };
        let Some(vector) = vector else { return Ok(()) };
        let outcome = recognizer.teach(kind, name, vector, view, most_views);
        taught += 1;
        print_line(&format!("{}: {outcome}", file.display()))
    })?;
    if taught == 0 {
        bail!("none of the pictures taught anything: {} is as it was", path.display());
    }
    place::write(path, &recognizer.memory().to_bytes()?)?;
    let gallery = recognizer.memory().gallery(kind);
    print_line(&format!("{name}: {} views in {}", gallery.count(name), path.display()))?;
    Ok(outcome)
}

/// Seconds since 1970.
fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[derive(Debug, Serialize)]
struct QueryRecord<'a> {
    file: &'a Path,
    place: Vec<NameRecord>,
    nearest: Option<NearestRecord<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct NameRecord {
    pub class_id: String,
    pub index: usize,
    pub score: f32,
}

#[derive(Debug, Serialize)]
struct NearestRecord<'a> {
    name: &'a str,
    similarity: f32,
}

fn query(
    files: &[PathBuf],
    is_json: bool,
    path: &Path,
    model: &ModelOptions,
) -> anyhow::Result<Outcome> {
    let mut pipeline = model.pipeline()?;
    let memory = load_memory(path, &pipeline)?;
    if memory.places.is_empty() {
        tell(&format!("{}: nothing was taught yet", path.display()));
    }
    let mut recognizer = PlaceRecognizer::new(memory, Motion::Anywhere);
    let wanted = Wanted { embedding: true, ..Wanted::default() };
    describe_each(files, &mut pipeline, wanted, |file, result| {
        let Some(vector) = result.embedding else { return Ok(()) };
        let matches = recognizer.place((0, Duration::ZERO), &vector, 0.0);
        let nearest = matches.iter().max_by(|a, b| a.similarity.total_cmp(&b.similarity));
        let names = recognizer.memory().places.names();
        let nearest =
            nearest.map(|m| NearestRecord { name: &names[m.name], similarity: m.similarity });
        let place: Vec<NameRecord> =
            recognizer.names(&matches).into_iter().map(NameRecord::from).collect();
        if is_json {
            return print_line(&serde_json::to_string(&QueryRecord { file, place, nearest })?);
        }
        let found: Vec<String> =
            place.iter().map(|p| format!("{} {:.0} %", p.class_id, 100.0 * p.score)).collect();
        let found = if found.is_empty() { "nowhere known".to_owned() } else { found.join(", ") };
        let nearest = nearest.map(|n| format!(" (most like {}, {:.2})", n.name, n.similarity));
        print_line(&format!("{}: {found}{}", file.display(), nearest.unwrap_or_default()))
    })
}

impl From<crate::result::Label> for NameRecord {
    fn from(label: crate::result::Label) -> Self {
        Self { class_id: label.name, index: label.index, score: label.score }
    }
}

fn list(is_json: bool, sheet: Option<&Path>, path: &Path) -> anyhow::Result<Outcome> {
    if !path.exists() {
        anyhow::bail!("there is no {}: nothing was taught, or elsewhere", path.display());
    }
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let memory = Memory::from_bytes(&bytes)
        .map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display()))?;
    let counts = |gallery: &Gallery| -> serde_json::Map<String, serde_json::Value> {
        gallery.names().iter().map(|name| (name.clone(), gallery.count(name).into())).collect()
    };
    if is_json {
        let record = serde_json::json!({
            "file": path,
            "model": memory.owner.model,
            "places": counts(&memory.places),
            "labels": counts(&memory.labels),
        });
        print_line(&record.to_string())?;
    } else {
        print_line(&format!("{}, taught with model {}", path.display(), memory.owner.model))?;
        for (kind, gallery) in [("places", &memory.places), ("labels", &memory.labels)] {
            print_line(&format!(
                "{kind}: {}, {} views",
                gallery.names().len(),
                gallery.views().len()
            ))?;
            for name in gallery.names() {
                print_line(&format!("  {name}: {} views", gallery.count(name)))?;
            }
        }
    }
    if let Some(sheet_path) = sheet {
        let count = sheet::write(&memory, sheet_path)?;
        if !is_json {
            print_line(&format!("{count} thumbnails in {}", sheet_path.display()))?;
        }
    }
    Ok(Outcome::Done)
}
