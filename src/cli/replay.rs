//! `squeezenet_node replay BAG`: a recording through the node's own pipeline, every frame once,
//! as fast as it goes, with the same answers each time.

mod budget;
mod definitions;
mod golden;
mod ground;
mod learn;
mod output;
mod page;
mod parameters;
pub(super) mod record;
mod sample_frames;
mod source;
pub(super) mod summary;
mod truth;
mod workers;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use self::budget::Budget;
use self::golden::{Golden, GoldenFrame, GoldenWriter, Tolerance};
use self::ground::Ground;
use self::learn::Learning;
use self::output::OutputBag;
use self::record::{Recorder, Report};
use self::sample_frames::SampleFrames;
use self::source::{Camera, Choice, FrameFailure, QueuedFrame};
use self::summary::{tell, write_report};
use self::truth::Truth;
use self::workers::{Answered, Asked, Event, Processed};
use super::overwrite::{self, Target};
use super::print::{print_line, reader_has_gone, tell as tell_line};
use super::{ModelOptions, Outcome, places};
use crate::bag::writer::BagWriter;
use crate::bag::{Bag, Message, metadata, seconds};
use crate::image_health;
use crate::learning::CorrectionSlot;
use crate::output::Output;
use crate::pipeline::{Pipeline, PipelineError};
use crate::place::PlaceRecognizer;
use crate::result::{FrameResult, Wanted};
use crate::same_file::is_same;
use crate::session::{Network, default_threads};
use crate::settings::{HealthAction, MaskKind, Provider, Settings};
use crate::timing::{Stopwatch, milliseconds};
use crate::traversability::Traversability;

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A rosbag2: an .mcap or .db3 file, or a directory with metadata.yaml
    bag: PathBuf,
    /// Topic of pictures; all of them without. May be given several times
    #[arg(long = "topic", value_name = "T")]
    topics: Vec<String>,
    /// Write what the node would publish: an .mcap file, or else a bag directory
    #[arg(long, value_name = "BAG")]
    out: Option<PathBuf>,
    /// Outputs that go there
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "out",
        default_value = "labels,mask,confidence,label_info,vision_info,traversability,obstacles,timing"
    )]
    outputs: Vec<String>,
    /// Keep the bag's own topics beside them
    #[arg(long, requires = "out")]
    copy: bool,
    /// Write index.html and report.json here; a name that ends in .html is the page itself
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Compare labels and masks with a stored run
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// Store labels and masks of this run
    #[arg(long, value_name = "FILE")]
    write_golden: Option<PathBuf>,
    /// How much a label's score may differ from the stored one
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    score_tolerance: f32,
    /// Intersection over union that a mask must reach with the stored one
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    min_iou: f64,
    /// Latency that must not be exceeded: [STAGE.](p50|p95|p99|max)_ms=N
    #[arg(long = "budget", value_name = "p95_ms=N", value_delimiter = ',')]
    budgets: Vec<Budget>,
    /// Seconds from the start of the bag
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    from: f64,
    /// Seconds from the start of the bag
    #[arg(long, value_name = "S", default_value_t = f64::INFINITY)]
    to: f64,
    /// Take every N-th frame of each topic
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Stop after N frames
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
    /// True labels: vision_msgs/Classification or std_msgs/String in the same bag
    #[arg(long, value_name = "T")]
    labels_topic: Option<String>,
    /// True masks: sensor_msgs/Image mono8 of the same ids as --masks-kind says, 255 for unknown
    #[arg(long, value_name = "T")]
    masks_topic: Option<String>,
    /// What the ids of --masks-topic are: the model's classes, or 0 traversable, 1 caution, 2 obstacle, 3 background
    #[arg(long, value_enum, default_value = "semantic", requires = "masks_topic")]
    masks_kind: TrueMasks,
    /// Learn by driving along the bag, from its tf and camera_info; frames are taken one at a time
    #[arg(long, conflicts_with = "jobs")]
    learn: bool,
    /// Go on from what was learnt in this file, and write it at the end
    #[arg(long, value_name = "FILE", requires = "learn")]
    learning_file: Option<PathBuf>,
    /// Parameter file, taken as the node /squeezenet takes it; options of the command line hold over it.
    /// May be given several times
    #[arg(long, value_name = "FILE")]
    params_file: Vec<PathBuf>,
    /// Recognise the places and labels that were taught in this file
    #[arg(long, value_name = "FILE")]
    gallery: Option<PathBuf>,
    /// One JSON object a line and frame
    #[arg(long)]
    json: bool,
    /// Frames at once, each on its share of the threads; without, as many as threads, or one where a
    /// budget is set or the provider is not cpu: its times are those of the node. With mask.smoothing it is one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    #[command(flatten)]
    model: ModelOptions,
}

/// What the ids of true masks are.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum TrueMasks {
    Semantic,
    Traversability,
}

/// One frame of `--json`.
#[derive(serde::Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    answer: &'a GoldenFrame,
    stamp: String,
    width: u32,
    height: u32,
    timing_ms: serde_json::Map<String, serde_json::Value>,
}

pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<Outcome> {
    let bag = Bag::open(&args.bag)?;
    args.refuse_to_overwrite(&bag)?;
    let truth: Vec<&str> = args.masks_topic.iter().map(String::as_str).collect();
    let cameras = source::cameras(&bag, &args.topics, &truth)?;
    let choice = choice(args, &bag)?;
    let mut settings = parameters::settings(&args.params_file)?;
    settings.cameras = parameters::of_cameras(&settings, &cameras);
    let model = match args.params_file.as_slice() {
        [] => args.model.clone(),
        _ => args.model.clone().or(&settings.model),
    };
    let is_smoothed = settings.cameras.values().any(|camera| camera.mask.smoothing > 0.0);
    let pipelines = pipelines(args, &model, is_smoothed)?;
    let stop = stop_on_interrupt()?;
    let mut replay = Replay::new(args, &bag, &cameras, &pipelines, &settings)?;
    for problem in bag.problems() {
        replay.fail(problem.to_string());
    }
    let others = replay.other_topics(args, &bag, &cameras);
    let expected = expected_frames(&bag, &cameras, args);
    let bar = ProgressBar::new(expected).with_style(ProgressStyle::with_template(
        "{bar:30} {pos}/{len} frames, {per_sec}, {eta} left",
    )?);
    let mut watch = Stopwatch::new();
    let mut is_stopped = false;
    // Frames that are under way when the replay is stopped are used all the same.
    let items = source::read(&bag, &cameras, &others, choice)?.into_iter().take_while(|_| {
        is_stopped = stop.load(Ordering::Relaxed) || (args.only_prints() && reader_has_gone());
        !is_stopped
    });
    for event in Processed::new(items, pipelines, &replay.asked) {
        let event = event?;
        bar.inc(u64::from(matches!(event, Event::Frame(_))));
        replay.take(event)?;
    }
    replay.report.stopped = is_stopped;
    replay.report.seconds = watch.lap().as_secs_f64();
    bar.finish_and_clear();
    replay.finish(args)
}

/// A replay under way.
struct Replay {
    recognizer: Option<PlaceRecognizer>,
    learning: Option<Learning>,
    masks_kind: MaskKind,
    classes: usize,
    asked: Asked,
    smoothing: f64,
    output: Option<OutputBag>,
    ground: Option<Ground>,
    golden: Option<Golden>,
    golden_writer: Option<GoldenWriter>,
    truth: Option<Truth>,
    samples: Option<SampleFrames>,
    recorder: Recorder,
    /// One a camera.
    watches: Vec<image_health::Watch>,
    report: Report,
    is_json: bool,
    /// Whether every picture of the bag is meant to come.
    is_whole: bool,
}

impl Replay {
    fn new(
        args: &ReplayArgs,
        bag: &Bag,
        cameras: &[Camera],
        pipelines: &[Pipeline],
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let pipeline = &pipelines[0];
        let (model, execution) = (pipeline.network().model(), pipeline.network().execution());
        let (model, manifest) = (model.clone(), &model.manifest);
        let method = format!("{} ({})", manifest.name, execution.precision.name());
        let gallery = args.gallery.iter().map(|_| Output::Place.name());
        let names = args.outputs.iter().map(String::as_str).chain(gallery);
        let outputs = output::named(names.filter(|_| args.out.is_some()))?;
        let by_output = outputs.needs();
        let is_ground_wanted = by_output.ground || args.learn;
        let ground = is_ground_wanted.then(|| Ground::open(bag, cameras, settings)).transpose()?;
        let tolerance = Tolerance { score: args.score_tolerance, iou: args.min_iou };
        let golden = args.golden.as_ref().map(|path| Golden::open(path, &method, tolerance));
        let golden = golden.transpose()?;
        let golden_writer = args.write_golden.as_ref().map(|p| GoldenWriter::create(p, &method));
        let golden_writer = golden_writer.transpose()?;
        let is_truth_known = args.labels_topic.is_some() || args.masks_topic.is_some();
        let has_mask = manifest.segmentation.is_some();
        let classes = manifest.segmentation.iter().flat_map(|spec| &spec.classes);
        let (classes, masks_kind): (Vec<String>, _) = match args.masks_kind {
            TrueMasks::Semantic => {
                (classes.map(|class| class.name.clone()).collect(), MaskKind::Semantic)
            }
            TrueMasks::Traversability => {
                let names = Traversability::ALL.map(|kind| kind.name().to_owned());
                // Of a model without a mask nothing can be held against it.
                (names.into_iter().filter(|_| has_mask).collect(), MaskKind::Traversability)
            }
        };
        let correction = CorrectionSlot::default();
        let learning = args.learn.then(|| {
            let (slot, file) = (correction.clone(), args.learning_file.clone());
            let blocked = bag.topic(learn::BLOCKED_TOPIC).map(|topic| topic.ros_type.as_str());
            Learning::new(model.clone(), settings, slot, masks_kind, file, blocked)
        });
        let learning = learning.transpose()?;
        let most = settings.cameras.values().map(|camera| camera.labels.top_k).min();
        if args.labels_topic.is_some()
            && let Some(most) = most.filter(|most| *most < 5)
        {
            tracing::warn!("labels.top_k is {most}: only {most} labels are looked at for top-5");
        }
        let truth = is_truth_known.then(|| {
            let (labels, masks) = (args.labels_topic.as_deref(), args.masks_topic.as_deref());
            Truth::open(bag, labels, masks, classes)
        });
        let truth = truth.transpose()?;
        let recognizer =
            args.gallery.as_ref().map(|path| places::load(path, pipeline)).transpose()?;
        let wanted = Wanted {
            labels: manifest.classification.is_some(),
            mask: manifest.segmentation.is_some(),
            classes: args.masks_topic.is_some() && masks_kind == MaskKind::Semantic,
            embedding: by_output.embedding || recognizer.is_some(),
            taught: recognizer.is_some(),
            // A gallery's are recognised here.
            places: false,
            cells: learning.is_some(),
            ..by_output
        };
        let report = Report {
            schema: 1,
            bags: vec![args.bag.display().to_string()],
            topics: cameras.iter().map(|camera| camera.topic.clone()).collect(),
            model: method.clone(),
            jobs: pipelines.len() as u64,
            threads: execution.threads as u64,
            ..Report::default()
        };
        let asked = Asked {
            wanted,
            settings: cameras
                .iter()
                .map(|camera| settings.cameras.get(&camera.name).cloned().unwrap_or_default())
                .collect(),
            cameras: cameras.to_vec(),
            correction,
            withheld: cameras.iter().map(|_| AtomicBool::new(false)).collect(),
        };
        // Last: what stands there is replaced, which nothing that is wrong with other options should do.
        let output = args.out.as_ref().map(|path| {
            let copied = if args.copy { bag.topics() } else { &[] };
            OutputBag::create(path, cameras, outputs, copied, settings, (&model, &method))
        });
        let output = output.transpose()?;
        Ok(Self {
            recognizer,
            learning,
            masks_kind,
            classes: model.class_names.len(),
            asked,
            smoothing: settings.places.smoothing,
            output,
            ground,
            golden,
            golden_writer,
            truth,
            is_whole: args.from == 0.0
                && args.to.is_infinite()
                && args.every == 1
                && args.limit == u64::MAX,
            samples: args.report.is_some().then(SampleFrames::default),
            recorder: Recorder::default(),
            watches: vec![image_health::Watch::default(); cameras.len()],
            report,
            is_json: args.json,
        })
    }

    /// Topics that are read beside the pictures.
    fn other_topics(&self, args: &ReplayArgs, bag: &Bag, cameras: &[Camera]) -> Vec<String> {
        let is_camera = |name: &str| cameras.iter().any(|camera| camera.topic == name);
        let wanted = bag.topics().iter().filter(|topic| {
            let is_blocked = learn::is_blocked_topic(&topic.name, &topic.ros_type);
            !is_camera(&topic.name) && (args.copy || args.learn && is_blocked)
        });
        wanted.map(|topic| topic.name.clone()).collect()
    }

    fn fail(&mut self, reason: String) {
        tell_line(&reason);
        self.report.fail(reason);
    }

    fn take(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Problem(problem) => {
                self.fail(problem.to_string());
                Ok(())
            }
            Event::Other(message) => self.use_message(&message),
            Event::Frame(answered) => self.use_answer(*answered),
        }
    }

    fn use_message(&mut self, message: &Message) -> anyhow::Result<()> {
        if let Some(learning) = &mut self.learning
            && &*message.topic == learn::BLOCKED_TOPIC
        {
            learning.take_blocked(message.log_time, &message.payload);
        }
        if let Some(output) = &mut self.output {
            output.copy(message)?;
        }
        Ok(())
    }

    fn use_answer(&mut self, answered: Answered) -> anyhow::Result<()> {
        let Answered { queued, result } = answered;
        // What cannot be processed is copied too: the copy is of the bag, not of the run.
        if let Some(output) = &mut self.output {
            output.copy(&queued.message)?;
        }
        match result {
            Ok(result) => self.use_result(&queued, result),
            Err(FrameFailure::Pipeline(PipelineError::Network(error))) => Err(error.into()),
            Err(error) => {
                let bag = self.report.bags.join(", ");
                let message = &queued.message;
                let (topic, time) = (&message.topic, seconds(message.log_time));
                self.fail(format!("{bag}: {topic} at {time}: {error}"));
                Ok(())
            }
        }
    }

    fn use_result(&mut self, queued: &QueuedFrame, mut result: FrameResult) -> anyhow::Result<()> {
        if let Some(recognizer) = &mut self.recognizer {
            let labels = &self.asked.settings[queued.camera].labels;
            let look = (queued.camera, Duration::from_nanos(queued.message.log_time));
            recognizer.add_to(&mut result, look, self.smoothing, labels, self.classes);
        }
        let is_compressed = self.asked.cameras[queued.camera].is_compressed;
        let header = queued.header(is_compressed)?;
        let message = &queued.message;
        let watch = &mut self.watches[queued.camera];
        let at = Duration::from_nanos(message.log_time);
        let verdict = result
            .image
            .as_ref()
            .and_then(|image| watch.judge(image, at, &self.asked.settings[queued.camera].health));
        let fault = verdict.map(|verdict| verdict.fault);
        if let Some(fault) = fault {
            *self.report.image_faults.entry(fault.name().to_owned()).or_default() += 1;
            if self.asked.settings[queued.camera].health.action == HealthAction::Unknown {
                image_health::withhold(&mut result);
                self.asked.withheld[queued.camera].store(true, Ordering::Relaxed);
            }
        }
        let certainty = self.recorder.record(message.log_time, &result);
        if let (Some(samples), Some(certainty)) = (&mut self.samples, certainty) {
            samples.offer(queued, is_compressed, certainty, &result);
        }
        let mut true_mask = None;
        if let Some(truth) = &mut self.truth {
            let stamp = source::key(header.stamp);
            let labels = result.labels.as_deref();
            let mask = result.maps.as_ref().map(|maps| maps.ids(self.masks_kind));
            true_mask = truth.answer((stamp, header.frame_id), message.log_time, labels, mask);
        }
        if let Some(ground) = &mut self.ground {
            for problem in ground.follow(message.log_time) {
                tell_line(&problem);
                self.report.fail(problem);
            }
            if let Some(learning) = &mut self.learning
                && let Some(cells) = result.cells.take()
            {
                let camera = queued.camera;
                let own = &self.asked.settings[camera];
                // Cells are places of the picture.
                let of_picture = |truth: &&Vec<u8>| truth.len() == result.image_size.area();
                if let Some(truth) = true_mask.as_ref().filter(of_picture) {
                    let truth = (&truth[..], result.image_size.width);
                    learning.score(message.log_time, &cells, truth, own);
                }
                match ground.taken(camera, header, &result, learning.odom_frame()) {
                    Ok(taken) => {
                        let times = (header.stamp.nanoseconds(), message.log_time);
                        learning.take(camera, times, &taken, cells, fault.is_none());
                    }
                    Err(reason) => learning.note_unplaced(&reason.to_string()),
                }
            }
        }
        if self.golden.is_some() || self.golden_writer.is_some() || self.is_json {
            let answer = GoldenFrame::new(&message.topic, message.log_time, &result);
            if let Some(golden) = &mut self.golden {
                golden.compare(&answer);
            }
            if let Some(writer) = &mut self.golden_writer {
                writer.write(&answer)?;
            }
            if self.is_json {
                let stages =
                    result.times.stages().into_iter().chain([("total", result.times.total())]);
                let record = Record {
                    answer: &answer,
                    stamp: header.stamp.to_string(),
                    width: result.image_size.width,
                    height: result.image_size.height,
                    timing_ms: stages
                        .map(|(n, t)| (n.to_owned(), milliseconds(t).into()))
                        .collect(),
                };
                print_line(&serde_json::to_string(&record)?)?;
            }
        }
        if let Some(output) = &mut self.output {
            let (camera, mut made) = (queued.camera, output.begin());
            if let Some(ground) = &mut self.ground {
                ground.make(camera, header, message.log_time, &result, &mut made);
            }
            output.write(camera, header, message.log_time, &mut result, fault, made)?;
        }
        Ok(())
    }

    fn finish(mut self, args: &ReplayArgs) -> anyhow::Result<Outcome> {
        if let Some(output) = self.output.take() {
            output.finish()?;
        }
        if let Some(writer) = self.golden_writer.take() {
            writer.finish(self.report.stopped)?;
        }
        if let Some(ground) = self.ground.take() {
            self.report.no_ground = ground.missing;
        }
        if let Some(learning) = self.learning.take() {
            self.report.learnt = Some(learning.finish(self.report.stopped)?);
        }
        self.recorder.fill(&mut self.report);
        if let Some(golden) = self.golden.take() {
            let (count, differences) =
                golden.finish(self.is_whole && !self.report.stopped, &args.topics);
            self.report.golden_frames = count;
            self.report.golden = Some(differences);
        }
        if let Some(truth) = self.truth.take() {
            let (score, problems) = truth.finish();
            problems.into_iter().for_each(|problem| self.fail(problem));
            self.report.truth = Some(score);
        }
        if self.report.frames == 0 && self.report.failed == 0 && !self.report.stopped {
            self.fail(
                "no frame was replayed: --from, --to, --every and --limit leave none".to_owned(),
            );
        }
        self.report.over_budget =
            args.budgets.iter().filter_map(|budget| budget.check(&self.report)).collect();
        if let Some(path) = &args.report {
            let samples = self.samples.take().unwrap_or_default();
            write_report(path, &self.report, &samples.groups())?;
        }
        tell(&self.report, args.json)?;
        Ok(if self.report.is_bad() { Outcome::SomeFailed } else { Outcome::Done })
    }
}

impl ReplayArgs {
    /// Sees to it that nothing is written over the recording, or over another thing that is read.
    fn refuse_to_overwrite(&self, bag: &Bag) -> anyhow::Result<()> {
        let read = [&self.golden, &self.gallery, &self.learning_file].into_iter().flatten();
        let read = read.chain(&self.params_file);
        let mut inputs: Vec<PathBuf> =
            bag.paths().iter().chain([&self.bag]).chain(read).cloned().collect();
        if !self.bag.is_dir() {
            // Part of a recording, whose other parts nobody wants to lose either.
            inputs.extend(metadata::parts_beside(&self.bag));
        }
        let out = self.out.iter().flat_map(|path| BagWriter::files(path));
        let report = self.report.iter().flat_map(|path| summary::report_files(path));
        let targets = [
            Target::all("--out", out),
            Target::all("--report", report),
            Target::all("--write-golden", self.write_golden.clone()),
        ];
        let targets = targets.concat();
        // A golden file may be made anew: the one that is read is read whole before.
        let is_renewed = |target: &Target| {
            let golden = self.golden.as_ref();
            target.option == "--write-golden"
                && golden.is_some_and(|path| is_same(path, &target.path))
        };
        let (renewed, others): (Vec<Target>, _) = targets.into_iter().partition(is_renewed);
        overwrite::refuse(&inputs, &others)?;
        overwrite::refuse(bag.paths(), &[others, renewed].concat())?;
        if let Some(out) = &self.out
            && self.bag.is_dir()
            && BagWriter::files(out).iter().any(|file| overwrite::is_in(file, &self.bag))
        {
            let (out, bag) = (out.display(), self.bag.display());
            anyhow::bail!("--out {out} would add a file to the recording {bag}, which is read");
        }
        if let Some(found) = self.out.as_deref().and_then(BagWriter::replaces) {
            let found = found.display();
            anyhow::bail!(
                "--out would replace {found}, which replay did not make: name another, or move it away"
            );
        }
        Ok(())
    }

    /// Whether nothing is left to do once nobody reads standard output.
    fn only_prints(&self) -> bool {
        self.json
            && self.out.is_none()
            && self.report.is_none()
            && self.golden.is_none()
            && self.write_golden.is_none()
            && self.learning_file.is_none()
            && self.budgets.is_empty()
            && self.labels_topic.is_none()
            && self.masks_topic.is_none()
    }
}

/// A pipeline for each frame that is under way at once, all run in the same way; one where a frame's answer hangs on the
/// one before.
fn pipelines(
    args: &ReplayArgs,
    model: &ModelOptions,
    is_smoothed: bool,
) -> anyhow::Result<Vec<Pipeline>> {
    let threads = match model.threads {
        None | Some(0) => default_threads(),
        Some(threads) => threads,
    };
    let is_one = is_smoothed
        || !args.budgets.is_empty()
        || args.learn
        || model.settings().provider != Provider::Cpu;
    let jobs = match args.jobs.map(usize::from) {
        Some(jobs) if is_smoothed && jobs > 1 => {
            tell_line(
                "--jobs: one frame at a time, as with mask.smoothing a frame's answer hangs on the one before",
            );
            1
        }
        Some(jobs) => jobs,
        None if is_one => 1,
        None => threads,
    };
    let options = ModelOptions { threads: Some((threads / jobs).max(1)), ..model.clone() };
    let first = options.pipeline()?;
    let (model, execution) = (first.network().model().clone(), first.network().execution());
    let mut all = vec![first];
    while all.len() < jobs {
        all.push(Pipeline::new(Network::with(&model, execution, false)?));
    }
    Ok(all)
}

fn choice(args: &ReplayArgs, bag: &Bag) -> anyhow::Result<Choice> {
    anyhow::ensure!(args.from >= 0.0 && args.to >= args.from, "--from and --to are no stretch");
    let start = bag.span().map_or(0, |(start, _)| start);
    // A number of seconds that is too large for the clock means the end.
    let at = |seconds: f64| start.saturating_add((seconds * 1e9) as u64);
    Ok(Choice {
        from: at(args.from),
        to: at(args.to),
        every: args.every,
        limit: args.limit,
        is_copied: args.copy,
    })
}

/// For the progress bar; a stretch of time is taken to hold its share.
fn expected_frames(bag: &Bag, cameras: &[Camera], args: &ReplayArgs) -> u64 {
    let topics = cameras.iter().filter_map(|camera| bag.topic(&camera.topic));
    let all: u64 = topics.map(|topic| topic.count / args.every).sum();
    let length = bag.span().map_or(0.0, |(start, end)| (end - start) as f64 / 1e9).max(1e-9);
    let share = ((args.to.min(length) - args.from) / length).clamp(0.0, 1.0);
    ((all as f64 * share) as u64).min(args.limit)
}

/// Set by Ctrl-C, or by the system's wish to end it; the replay then closes its files. A second one ends it at once.
fn stop_on_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: what the first one sets, the second one finds.
        flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()))
            .with_context(|| format!("signal {signal}"))?;
    }
    Ok(stop)
}
