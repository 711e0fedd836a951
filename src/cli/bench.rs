//! `squeezenet_node bench`: what a frame costs on this machine, stage by stage.

use clap::Args;
use serde::Serialize;

use super::{ModelOptions, Outcome, print_line};
use crate::frame::{Frame, RawImage};
use crate::pipeline::Pipeline;
use crate::result::Wanted;
use crate::settings::CameraSettings;
use crate::timing::{Percentiles, StageStatistics};

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// One JSON object a line and configuration
    #[arg(long)]
    json: bool,
    /// Frames measured a configuration, after a tenth as many that are not
    #[arg(long, default_value_t = 100)]
    frames: usize,
    /// Width of the frames, pixels
    #[arg(long, default_value_t = 640)]
    width: u32,
    /// Height of the frames, pixels
    #[arg(long, default_value_t = 480)]
    height: u32,
    #[command(flatten)]
    model: ModelOptions,
}

#[derive(Debug, Serialize)]
struct Record {
    model: String,
    precision: crate::settings::Precision,
    threads: usize,
    outputs: &'static str,
    width: u32,
    height: u32,
    frames: usize,
    frames_per_s: f64,
    stages_ms: serde_json::Map<String, serde_json::Value>,
}

pub(super) fn run(args: &BenchArgs) -> anyhow::Result<Outcome> {
    anyhow::ensure!(args.frames > 0, "--frames must be at least 1");
    let mut pipeline = args.model.pipeline()?;
    let labels = Wanted { labels: true, ..Wanted::default() };
    let masks = Wanted { mask: true, cost: true, obstacles: true, ..Wanted::default() };
    let both = Wanted { labels: true, ..masks };
    let manifest = &pipeline.network().card().manifest;
    let (has_labels, has_masks) =
        (manifest.classification.is_some(), manifest.segmentation.is_some());
    let configurations = [
        ("labels", labels, has_labels),
        ("masks", masks, has_masks),
        ("labels and masks", both, has_labels && has_masks),
    ];
    for (outputs, wanted, is_possible) in configurations {
        if !is_possible {
            continue;
        }
        let statistics = measure(&mut pipeline, wanted, args)?;
        let percentiles = statistics.percentiles();
        let total =
            percentiles.iter().find(|(name, _)| *name == "total").map_or(0.0, |(_, p)| p.p50);
        let network = pipeline.network();
        let record = Record {
            model: network.card().manifest.name.clone(),
            precision: network.precision(),
            threads: network.threads(),
            outputs,
            width: args.width,
            height: args.height,
            frames: args.frames,
            frames_per_s: 1e3 / total,
            stages_ms: percentiles
                .iter()
                .map(|(name, p)| Ok(((*name).to_owned(), serde_json::to_value(p)?)))
                .collect::<serde_json::Result<_>>()?,
        };
        if args.json {
            print_line(&serde_json::to_string(&record)?)?;
        } else {
            print_table(&record, &percentiles)?;
        }
    }
    Ok(Outcome::Done)
}

fn measure(
    pipeline: &mut Pipeline,
    wanted: Wanted,
    args: &BenchArgs,
) -> anyhow::Result<StageStatistics> {
    let (width, height) = (args.width, args.height);
    crate::frame::check_size(width, height)?;
    let pixels: Vec<u8> = (0..3 * width as usize * height as usize)
        .map(|index| (index * 7 + index / (3 * width as usize) * 5) as u8)
        .collect();
    let image = RawImage::new("bgr8", width, height, 0, false, &pixels)?;
    let camera = CameraSettings::default();
    let mut statistics = StageStatistics::default();
    for _ in 0..args.frames.div_ceil(10) {
        pipeline.process(Frame::Raw(image), wanted, &camera)?;
    }
    for _ in 0..args.frames {
        let result = pipeline.process(Frame::Raw(image), wanted, &camera)?;
        statistics.record(&result.times, None);
    }
    Ok(statistics)
}

fn print_table(record: &Record, percentiles: &[(&'static str, Percentiles)]) -> anyhow::Result<()> {
    print_line(&format!(
        "{}, {:?}, {} threads, {}, {}x{} bgr8, {} frames: {:.1} frames/s",
        record.model,
        record.precision,
        record.threads,
        record.outputs,
        record.width,
        record.height,
        record.frames,
        record.frames_per_s
    ))?;
    print_line("  stage          p50      p95      p99      max  ms")?;
    let measured = percentiles.iter().filter(|(name, _)| !matches!(*name, "receive" | "publish"));
    for (name, p) in measured {
        print_line(&format!(
            "  {name:<12} {:>6.2} {:>8.2} {:>8.2} {:>8.2}",
            p.p50, p.p95, p.p99, p.max
        ))?;
    }
    Ok(())
}
