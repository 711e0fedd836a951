//! What a replay came to, for people and for other programs: page, figures, and a few lines.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::learn::Learnt;
use super::page::{self, SampleFrame};
use super::record::{Report, STAGES};
use crate::cli::print::{self, print_line};

/// Page and figures: in a folder, or the page under its own name and the figures beside.
pub fn report_files(path: &Path) -> [PathBuf; 2] {
    if path.extension().is_some_and(|extension| extension == "html") {
        [path.to_owned(), path.with_extension("json")]
    } else {
        [path.join("index.html"), path.join("report.json")]
    }
}

/// Writes page and figures into a folder, or the page under its own name and the figures beside.
pub fn write_report(
    path: &Path,
    report: &Report,
    samples: &[(&str, Vec<&SampleFrame>)],
) -> anyhow::Result<()> {
    let [page_path, json_path] = report_files(path);
    if let Some(folder) = page_path.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::write(&page_path, page::page(report, samples))
        .with_context(|| page_path.display().to_string())?;
    std::fs::write(&json_path, serde_json::to_string(report)?)
        .with_context(|| json_path.display().to_string())
}

/// Says how it went: on standard output, or beside it when that carries JSON.
pub fn tell(report: &Report, is_json: bool) -> anyhow::Result<()> {
    const SHOWN: usize = 20;
    let mut lines = vec![format!(
        "{} frames with {} in {:.1} s{}: {:.1} frames/s, {} failures{}",
        report.frames,
        report.model,
        report.seconds,
        report.at_once(),
        report.frames_per_s,
        report.failed,
        if report.stopped { ", stopped early" } else { "" }
    )];
    for stage in STAGES {
        if let Some(p) = report.stages_ms.get(stage) {
            lines.push(format!(
                "  {stage:<12} p50 {:>7.2}  p95 {:>7.2}  p99 {:>7.2}  max {:>7.2} ms",
                p.p50, p.p95, p.p99, p.max
            ));
        }
    }
    if !report.image_faults.is_empty() {
        let faults = report.image_faults.iter().map(|(fault, count)| format!("{count} {fault}"));
        let faults = faults.collect::<Vec<_>>().join(", ");
        lines.push(format!("  pictures     of {} frames no good: {faults}", report.frames));
    }
    for (reason, count) in &report.no_ground {
        lines.push(format!(
            "  ground       none or little in {count} of {} frames: {reason}",
            report.frames
        ));
    }
    lines.extend(report.learnt.iter().flat_map(Learnt::lines));
    if let Some((share, _)) = report.traversable {
        lines.push(format!("  traversable  {:.1} % of the picture", 100.0 * share));
    }
    if let Some(truth) = &report.truth {
        let share = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.4}"));
        lines.push(format!(
            "  truth        top-1 {} and top-5 {} of {} frames, mean IoU {} of {}",
            share(truth.top1_share()),
            share(truth.top5_share()),
            truth.labelled,
            share(truth.mean_iou()),
            truth.masked
        ));
    }
    if let Some(differences) = &report.golden {
        lines.push(format!(
            "  golden       {} differences in {} frames",
            differences.len(),
            report.golden_frames
        ));
        lines.extend(differences.iter().take(SHOWN).map(|text| format!("    {text}")));
        if differences.len() > SHOWN {
            lines.push(format!("    and {} more", differences.len() - SHOWN));
        }
    }
    lines.extend(report.over_budget.iter().map(|text| format!("  over budget  {text}")));
    for line in lines {
        if is_json {
            print::tell(&line);
        } else {
            print_line(&line)?;
        }
    }
    Ok(())
}
