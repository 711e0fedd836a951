//! `places evaluate`: two walks along one way, as place recognition is measured.
//!
//! Every reference picture is a place, in the order of the file names; query number i shows the
//! place of reference number i. An answer within `--tolerance` places is right.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;

use super::super::labelled::is_picture;
use super::super::picture_file::PictureFile;
use super::super::print::tell;
use super::super::{ModelOptions, Outcome, print_line};
use super::empty_memory;
use crate::decode::Decoder;
use crate::frame::{Frame, RawImage};
use crate::pipeline::Pipeline;
use crate::place::{Match, Motion, PlaceRecognizer, View};
use crate::result::{Picture, Wanted};
use crate::settings::{CameraSettings, PlaceSettings};

mod change;

/// Arguments of `places evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Pictures of the way, in the order of their names
    reference: PathBuf,
    /// Pictures of another walk, number for number at the same places
    query: PathBuf,
    /// Answers so many places off are right
    #[arg(long, default_value_t = 2)]
    tolerance: usize,
    /// 0 takes each frame on its own for the filtered figures too
    #[arg(long, default_value_t = PlaceSettings::default().smoothing)]
    smoothing: f64,
    /// Evaluate under changes of light, sharpness and viewpoint too
    #[arg(long)]
    changes: bool,
    /// Write the precision-recall curves here, as SVG
    #[arg(long, value_name = "SVG")]
    curve: Option<PathBuf>,
    /// One JSON object a line and query, and one of the figures at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelOptions,
}

/// One query's answer, single frame or filtered.
#[derive(Debug, Clone, Serialize)]
struct Answer {
    best: usize,
    /// The probability of the best place and those within the tolerance, given that it is any: every
    /// query shows a place of the way.
    confidence: f32,
    is_right: bool,
    /// Position of the first right place, from 1; none if there is none.
    rank: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    query: &'a Path,
    expected: &'a Path,
    found: &'a Path,
    similarity: f32,
    single: &'a Answer,
    filtered: &'a Answer,
}

#[derive(Debug, Clone, Serialize)]
struct Figures {
    change: String,
    queries: usize,
    recall_at_1: f64,
    recall_at_5: f64,
    recall_at_10: f64,
    recall_at_full_precision: f64,
    filtered_recall_at_1: f64,
    filtered_recall_at_full_precision: f64,
}

pub(super) fn run(args: &EvaluateArgs) -> anyhow::Result<Outcome> {
    let references = pictures(&args.reference)?;
    let queries = pictures(&args.query)?;
    if queries.len() != references.len() {
        bail!(
            "{} has {} pictures and {} has {}: they must show the same places, number for number",
            args.reference.display(),
            references.len(),
            args.query.display(),
            queries.len()
        );
    }
    let mut pipeline = args.model.pipeline()?;
    let mut memory = empty_memory(&pipeline)?;
    // A place of which one picture cannot be read is left out, with both of them.
    let (mut pairs, mut outcome) = (Vec::new(), Outcome::Done);
    for (reference, query) in references.into_iter().zip(queries) {
        match load(&reference).and_then(|picture| Ok((picture, load(&query)?))) {
            Ok((taught, asked)) => {
                let vector = embedding(&taught, &mut pipeline)?;
                memory.places.teach(&format!("{}", pairs.len()), &vector, View::default(), 1);
                pairs.push((reference, query, asked));
            }
            Err(error) => {
                tell(&format!("{error:#}; the place is left out"));
                outcome = Outcome::SomeFailed;
            }
        }
    }
    if pairs.is_empty() {
        bail!("no place is left");
    }
    let mut all = Vec::new();
    let mut curves = None;
    let changes = if args.changes { &change::ALL[..] } else { &change::ALL[..1] };
    for (name, change) in changes {
        let vectors = pairs
            .iter()
            .map(|(_, file, picture)| {
                embedding(&change(picture), &mut pipeline)
                    .with_context(|| file.display().to_string())
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut single_recognizer = PlaceRecognizer::new(memory.clone(), Motion::Along);
        let mut filtered_recognizer = single_recognizer.clone();
        let (mut single, mut filtered) = (Vec::new(), Vec::new());
        for (truth, vector) in vectors.iter().enumerate() {
            let matches = single_recognizer.place((0, Duration::ZERO), vector, 0.0);
            single.push(answer(&matches, truth, args.tolerance));
            let after = filtered_recognizer.place((0, Duration::ZERO), vector, args.smoothing);
            filtered.push(answer(&after, truth, args.tolerance));
            if args.json && *name == "none" {
                let row = Row {
                    query: &pairs[truth].1,
                    expected: &pairs[truth].0,
                    found: &pairs[matches[0].name].0,
                    similarity: matches[0].similarity,
                    single: &single[truth],
                    filtered: &filtered[truth],
                };
                print_line(&serde_json::to_string(&row)?)?;
            }
        }
        all.push(figures(name, &single, &filtered));
        curves.get_or_insert((single, filtered));
    }
    if let (Some(path), Some((single, filtered))) = (&args.curve, &curves) {
        let svg = curve_picture(&[
            ("single frames", "#888888", single),
            ("filtered", "#1f6feb", filtered),
        ]);
        std::fs::write(path, svg).with_context(|| path.display().to_string())?;
    }
    if args.json {
        print_line(&serde_json::json!({ "figures": all }).to_string())?;
        return Ok(outcome);
    }
    print_line(
        "change      recall@1     @5    @10  @100 % precision   filtered@1  @100 % precision",
    )?;
    for f in &all {
        print_line(&format!(
            "{:<10} {:>9.3} {:>6.3} {:>6.3} {:>17.3} {:>12.3} {:>17.3}",
            f.change,
            f.recall_at_1,
            f.recall_at_5,
            f.recall_at_10,
            f.recall_at_full_precision,
            f.filtered_recall_at_1,
            f.filtered_recall_at_full_precision
        ))?;
    }
    print_line(&format!(
        "{} queries among {} places, {} places off are right",
        pairs.len(),
        pairs.len(),
        args.tolerance
    ))?;
    Ok(outcome)
}

fn pictures(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_picture(path)).collect();
    files.sort();
    if files.is_empty() {
        bail!("{}: there are no pictures", folder.display());
    }
    Ok(files)
}

fn load(file: &Path) -> anyhow::Result<Picture> {
    let name = || file.display().to_string();
    match PictureFile::read(file).with_context(name)? {
        PictureFile::Turned(picture) => Ok(picture),
        PictureFile::AsStored(bytes) => {
            let mut decoder = Decoder::default();
            let pixels = decoder.decode(Frame::file(&bytes)).with_context(name)?;
            Ok(pixels.to_picture())
        }
    }
}

fn embedding(picture: &Picture, pipeline: &mut Pipeline) -> anyhow::Result<Vec<f32>> {
    let (width, height) = (picture.size.width, picture.size.height);
    let image = RawImage::new("rgb8", width, height, 0, false, &picture.rgb)?;
    let wanted = Wanted { embedding: true, ..Wanted::default() };
    let result = pipeline.process(Frame::Raw(image), wanted, &CameraSettings::default())?;
    result.embedding.context("the model gives no descriptor")
}

fn answer(matches: &[Match], truth: usize, tolerance: usize) -> Answer {
    let best = matches[0].name;
    let near = |a: usize, b: usize| a.abs_diff(b) <= tolerance;
    let all: f32 = matches.iter().map(|m| m.probability).sum();
    let around: f32 = matches.iter().filter(|m| near(m.name, best)).map(|m| m.probability).sum();
    let confidence = around / all.max(f32::MIN_POSITIVE);
    let rank = matches.iter().position(|m| near(m.name, truth)).map(|position| position + 1);
    Answer { best, confidence, is_right: near(best, truth), rank }
}

/// The answers by falling confidence, and after each the recall and the precision so far.
fn curve(answers: &[Answer]) -> Vec<(f64, f64)> {
    let mut sorted: Vec<&Answer> = answers.iter().collect();
    sorted.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let mut right = 0.0;
    let points = sorted.iter().enumerate().map(|(index, answer)| {
        right += f64::from(u8::from(answer.is_right));
        (right / answers.len() as f64, right / (index + 1) as f64)
    });
    points.collect()
}

fn recall_at_full_precision(answers: &[Answer]) -> f64 {
    let points = curve(answers);
    points.iter().take_while(|(_, precision)| *precision >= 1.0).last().map_or(0.0, |point| point.0)
}

fn recall(answers: &[Answer], most: usize) -> f64 {
    let found = answers.iter().filter(|a| a.rank.is_some_and(|rank| rank <= most)).count();
    found as f64 / answers.len() as f64
}

fn figures(change: &str, single: &[Answer], filtered: &[Answer]) -> Figures {
    Figures {
        change: change.to_owned(),
        queries: single.len(),
        recall_at_1: recall(single, 1),
        recall_at_5: recall(single, 5),
        recall_at_10: recall(single, 10),
        recall_at_full_precision: recall_at_full_precision(single),
        filtered_recall_at_1: recall(filtered, 1),
        filtered_recall_at_full_precision: recall_at_full_precision(filtered),
    }
}

/// Precision over recall, 480x360.
fn curve_picture(curves: &[(&str, &str, &Vec<Answer>)]) -> String {
    let mut svg = String::from(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 480 360" font-family="sans-serif" font-size="12">
<rect width="480" height="360" fill="#ffffff"/>
"##,
    );
    let (x, y) = (|recall: f64| 50.0 + 410.0 * recall, |precision: f64| 320.0 - 290.0 * precision);
    for step in 0..=5 {
        let value = f64::from(step) / 5.0;
        let (at_x, at_y) = (x(value), y(value));
        let _ = writeln!(
            svg,
            r##"<path d="M{at_x:.1} 30V320M50 {at_y:.1}H460" stroke="#dddddd"/>
<text x="{at_x:.1}" y="336" text-anchor="middle">{value:.1}</text><text x="44" y="{:.1}" text-anchor="end">{value:.1}</text>"##,
            at_y + 4.0
        );
    }
    svg.push_str("<text x=\"255\" y=\"354\" text-anchor=\"middle\">recall</text><text x=\"14\" y=\"175\" transform=\"rotate(-90 14 175)\" text-anchor=\"middle\">precision</text>\n");
    for (index, (name, color, answers)) in curves.iter().enumerate() {
        let points: Vec<String> = curve(answers)
            .into_iter()
            .map(|(recall, precision)| format!("{:.1},{:.1}", x(recall), y(precision)))
            .collect();
        let _ = writeln!(
            svg,
            r##"<polyline fill="none" stroke="{color}" stroke-width="2" points="{}"/>
<text x="60" y="{}" fill="{color}">{name}: recall {:.2} at full precision</text>"##,
            points.join(" "),
            290 + 16 * index,
            recall_at_full_precision(answers)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(rights: &[(f32, bool)]) -> Vec<Answer> {
        let answer = |(confidence, is_right): &(f32, bool)| Answer {
            best: 0,
            confidence: *confidence,
            is_right: *is_right,
            rank: is_right.then_some(1),
        };
        rights.iter().map(answer).collect()
    }

    #[test]
    fn full_precision_ends_at_the_first_mistake() {
        let found = answers(&[(0.9, true), (0.2, true), (0.8, true), (0.5, false)]);
        assert_eq!(recall_at_full_precision(&found), 0.5);
        assert_eq!(recall(&found, 1), 0.75);
        assert_eq!(curve(&found).last(), Some(&(0.75, 0.75)));
        assert_eq!(recall_at_full_precision(&answers(&[(0.9, false), (0.1, true)])), 0.0);
    }

    #[test]
    fn an_answer_counts_what_is_near() {
        let found = |name, probability| Match { name, probability, view: name, similarity: 0.0 };
        let matches = [found(7, 0.5), found(30, 0.3), found(8, 0.2)];
        let near = answer(&matches, 9, 2);
        assert!(near.is_right && (near.confidence - 0.7).abs() < 1e-6);
        assert_eq!(answer(&matches, 29, 2).rank, Some(2));
        assert_eq!(answer(&matches, 50, 2).rank, None);
    }
}
