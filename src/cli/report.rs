//! `squeezenet_node report DIR...`: the reports of many replays as one.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::Outcome;
use super::overwrite::{self, Target};
use super::print::{print_line, tell as tell_line};
use super::replay::record::Report;
use super::replay::summary::{report_files, tell, write_report};

/// Reports larger than this are refused.
const MAX_BYTES: u64 = 256 << 20;

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folders or pages that `replay --report` wrote, or their report.json
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Write index.html and report.json of the whole here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The merged report.json on standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ReportArgs) -> anyhow::Result<Outcome> {
    if let Some(out) = &args.out {
        let inputs: Vec<PathBuf> = args.folders.iter().map(|folder| file_of(folder)).collect();
        overwrite::refuse(&inputs, &Target::all("--out", report_files(out)))?;
    }
    let mut merged = Report::default();
    let mut read = 0;
    for folder in &args.folders {
        match open(folder) {
            Ok(report) => {
                merged.merge(&report);
                read += 1;
                if !args.json {
                    print_line(&row(&report))?;
                }
            }
            Err(error) => {
                tell_line(&format!("{error:#}"));
                merged.fail(format!("{error:#}"));
            }
        }
    }
    anyhow::ensure!(read > 0, "none of the reports can be read");
    if let Some(folder) = &args.out {
        write_report(folder, &merged, &[])?;
    }
    if args.json {
        print_line(&serde_json::to_string(&merged)?)?;
    } else {
        tell(&merged, false)?;
    }
    Ok(if merged.is_bad() { Outcome::SomeFailed } else { Outcome::Done })
}

/// The report of a folder, that beside a page, or the file itself.
fn file_of(folder: &Path) -> PathBuf {
    let [page, json] = report_files(folder);
    if folder.is_dir() || folder == page { json } else { folder.to_owned() }
}

fn open(folder: &Path) -> anyhow::Result<Report> {
    let path = file_of(folder);
    let context = || path.display().to_string();
    let bytes = std::fs::metadata(&path).with_context(context)?.len();
    anyhow::ensure!(bytes <= MAX_BYTES, "{}: {bytes} bytes are too many", path.display());
    let text = std::fs::read_to_string(&path).with_context(context)?;
    let report: Report = serde_json::from_str(&text).with_context(context)?;
    anyhow::ensure!(
        report.schema == 1,
        "{}: schema {} where 1 is read",
        path.display(),
        report.schema
    );
    Ok(report)
}

fn row(report: &Report) -> String {
    let p95 = report.stages_ms.get("total").map_or(0.0, |p| p.p95);
    format!(
        "{} {}: {} frames, {:.1} frames/s, total p95 {p95:.2} ms, {} failures",
        if report.is_bad() { "failed" } else { "passed" },
        report.bags.join(", "),
        report.frames,
        report.frames_per_s,
        report.failed
    )
}
