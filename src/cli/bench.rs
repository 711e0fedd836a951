//! `squeezenet_node bench`: what a frame costs on this machine, stage by stage, for each arithmetic
//! and number of threads. The contenders take turns, so that what else the machine does meets all.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::{Outcome, models_dir, precisions, print_line, providers};
use crate::frame::{Frame, RawImage};
use crate::manifest::Model;
use crate::pipeline::Pipeline;
use crate::result::Wanted;
use crate::session::{Execution, Network, default_threads};
use crate::settings::{CameraSettings, ModelSettings, Precision, Provider};
use crate::timing::{Percentiles, StageStatistics};

/// Turns that each contender gets.
const ROUNDS: usize = 5;

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// One JSON object a line and configuration
    #[arg(long)]
    json: bool,
    /// Frames measured a configuration, in five turns, after a fifth as many that are not
    #[arg(long, default_value_t = 100)]
    frames: usize,
    /// Width of the frames, pixels
    #[arg(long, default_value_t = 640)]
    width: u32,
    /// Height of the frames, pixels
    #[arg(long, default_value_t = 480)]
    height: u32,
    /// Model name, or path of a manifest
    #[arg(long, default_value_t = ModelSettings::default().model)]
    model: String,
    /// Arithmetic; all that the model has without. Several with commas
    #[arg(long, value_delimiter = ',', value_parser = precisions())]
    precision: Vec<Precision>,
    /// Inference threads; 1, and as many as there are processors, up to four, without. Several with
    /// commas
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: Vec<u16>,
    /// Execution provider of ONNX Runtime. Several with commas
    #[arg(long, value_delimiter = ',', default_value = "cpu", value_parser = providers())]
    provider: Vec<Provider>,
    /// Write a bar of stages for each configuration here, as SVG
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Record {
    model: String,
    #[serde(flatten)]
    execution: Execution,
    outputs: &'static str,
    width: u32,
    height: u32,
    frames: usize,
    frames_per_s: f64,
    stages_ms: serde_json::Map<String, serde_json::Value>,
    #[serde(skip)]
    percentiles: Vec<(&'static str, Percentiles)>,
}

/// A network that runs in one way, and what is asked of it.
struct Contender {
    pipeline: Pipeline,
    asked: Vec<Asked>,
}

struct Asked {
    outputs: &'static str,
    wanted: Wanted,
    statistics: StageStatistics,
}

pub(super) fn run(args: &BenchArgs) -> anyhow::Result<Outcome> {
    anyhow::ensure!(args.frames > 0, "--frames must be at least 1");
    let mut contenders = contenders(args)?;
    let (width, height) = (args.width, args.height);
    crate::frame::check_size(width, height)?;
    let pixels: Vec<u8> = (0..3 * width as usize * height as usize)
        .map(|index| (index * 7 + index / (3 * width as usize) * 5) as u8)
        .collect();
    let image = RawImage::new("bgr8", width, height, 0, false, &pixels)?;
    let camera = CameraSettings::default();
    for round in 0..ROUNDS {
        let frames = args.frames / ROUNDS + usize::from(round < args.frames % ROUNDS);
        for Contender { pipeline, asked } in &mut contenders {
            for Asked { wanted, statistics, .. } in asked {
                for _ in 0..frames.div_ceil(5) {
                    pipeline.process(Frame::Raw(image), *wanted, &camera)?;
                }
                for _ in 0..frames {
                    let result = pipeline.process(Frame::Raw(image), *wanted, &camera)?;
                    statistics.record(&result.times, None);
                }
            }
        }
    }
    let records = contenders.iter().flat_map(|Contender { pipeline, asked }| {
        asked.iter().map(move |asked| record(pipeline, asked, args))
    });
    let records = records.collect::<serde_json::Result<Vec<_>>>()?;
    if args.json {
        for record in &records {
            print_line(&serde_json::to_string(record)?)?;
        }
    } else {
        print_table(&records, args)?;
    }
    if let Some(path) = &args.plot {
        std::fs::write(path, plot(&records)).with_context(|| path.display().to_string())?;
    }
    Ok(Outcome::Done)
}

/// Every combination of what was asked for that the model can give, loaded.
fn contenders(args: &BenchArgs) -> anyhow::Result<Vec<Contender>> {
    let model = Arc::new(Model::load(&args.model, &models_dir())?);
    let manifest = &model.manifest;
    let labels = Wanted { labels: true, ..Wanted::default() };
    let masks = Wanted { mask: true, cost: true, obstacles: true, ..Wanted::default() };
    let (has_labels, has_masks) =
        (manifest.classification.is_some(), manifest.segmentation.is_some());
    let kinds = [
        ("labels", labels, has_labels),
        ("masks", masks, has_masks),
        ("labels and masks", Wanted { labels: true, ..masks }, has_labels && has_masks),
    ];
    let asked = || -> Vec<Asked> {
        let possible = kinds.iter().filter(|(.., is_possible)| *is_possible);
        possible
            .map(|&(outputs, wanted, _)| Asked {
                outputs,
                wanted,
                statistics: StageStatistics::default(),
            })
            .collect()
    };
    let precisions = if args.precision.is_empty() {
        let has = |precision: &Precision| manifest.file(*precision).is_some();
        [Precision::Fp32, Precision::Int8].into_iter().filter(has).collect()
    } else {
        args.precision.clone()
    };
    let mut threads: Vec<usize> = args.threads.iter().map(|count| usize::from(*count)).collect();
    if threads.is_empty() {
        threads = vec![1, default_threads()];
        threads.dedup();
    }
    let mut contenders = Vec::new();
    for &provider in &args.provider {
        for &precision in &precisions {
            for &threads in &threads {
                // Run after run the threads stay awake: they need no places of their own.
                let settings = ModelSettings {
                    model: args.model.clone(),
                    precision,
                    provider,
                    threads,
                    pin_threads: false,
                };
                let network = Network::load(&model, &settings)
                    .with_context(|| Execution { provider, precision, threads }.to_string())?;
                contenders.push(Contender { pipeline: Pipeline::new(network), asked: asked() });
            }
        }
    }
    Ok(contenders)
}

fn record(pipeline: &Pipeline, asked: &Asked, args: &BenchArgs) -> serde_json::Result<Record> {
    let percentiles = asked.statistics.percentiles();
    let total = percentiles.iter().find(|(name, _)| *name == "total").map_or(0.0, |(_, p)| p.p50);
    let network = pipeline.network();
    Ok(Record {
        model: network.model().manifest.name.clone(),
        execution: network.execution(),
        outputs: asked.outputs,
        width: args.width,
        height: args.height,
        frames: args.frames,
        frames_per_s: 1e3 / total,
        stages_ms: percentiles
            .iter()
            .map(|(name, p)| Ok(((*name).to_owned(), serde_json::to_value(p)?)))
            .collect::<serde_json::Result<_>>()?,
        percentiles,
    })
}

impl Record {
    fn p50(&self, stage: &str) -> f64 {
        self.percentiles.iter().find(|(name, _)| *name == stage).map_or(0.0, |(_, p)| p.p50)
    }
}

fn print_table(records: &[Record], args: &BenchArgs) -> anyhow::Result<()> {
    for record in records {
        print_line(&format!(
            "{}, {}, {}, {}x{} bgr8, {} frames: {:.1} frames/s",
            record.model,
            record.execution,
            record.outputs,
            record.width,
            record.height,
            record.frames,
            record.frames_per_s
        ))?;
        print_line("  stage          p50      p95      p99      max  ms")?;
        let measured =
            record.percentiles.iter().filter(|(name, _)| !matches!(*name, "receive" | "publish"));
        for (name, p) in measured {
            print_line(&format!(
                "  {name:<12} {:>6.2} {:>8.2} {:>8.2} {:>8.2}",
                p.p50, p.p95, p.p99, p.max
            ))?;
        }
    }
    print_line(&format!("medians of {} frames, contenders in turn:", args.frames))?;
    print_line(
        "outputs            execution                     total ms  inference  around it  of the slowest",
    )?;
    for record in records {
        let same = records.iter().filter(|other| other.outputs == record.outputs);
        let slowest = same.map(|other| other.p50("total")).fold(0.0, f64::max);
        let (total, inference) = (record.p50("total"), record.p50("inference"));
        print_line(&format!(
            "{:<18} {:<28} {total:>9.2} {inference:>10.2} {:>8.0} % {:>14.2}",
            record.outputs,
            record.execution.to_string(),
            100.0 * (total - inference) / inference,
            total / slowest.max(f64::MIN_POSITIVE)
        ))?;
    }
    Ok(())
}

/// A bar for each configuration: the medians of its stages, one behind the other.
fn plot(records: &[Record]) -> String {
    const STAGES: [(&str, &str); 4] = [
        ("decode", "#8ac926"),
        ("preprocess", "#ffca3a"),
        ("inference", "#1982c4"),
        ("postprocess", "#ff595e"),
    ];
    let longest = records.iter().map(|record| record.p50("total")).fold(1e-3, f64::max);
    let (left, width, row) = (320.0, 480.0, 22.0);
    let height = 50.0 + row * records.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 {height}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"900\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (index, (stage, color)) in STAGES.iter().enumerate() {
        let x = left + 110.0 * index as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"12\" width=\"12\" height=\"12\" fill=\"{color}\"/><text x=\"{}\" y=\"22\">{stage}</text>",
            x + 17.0
        );
    }
    for (index, record) in records.iter().enumerate() {
        let y = 36.0 + row * index as f64;
        let name = format!("{}, {}", record.outputs, record.execution);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>",
            left - 8.0,
            y + 13.0
        );
        let mut x = left;
        for (stage, color) in STAGES {
            let length = record.p50(stage) / longest * width;
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{length:.1}\" height=\"16\" fill=\"{color}\"/>"
            );
            x += length;
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\">{:.1} ms</text>",
            x + 6.0,
            y + 13.0,
            record.p50("total")
        );
    }
    svg.push_str("</svg>\n");
    svg
}
