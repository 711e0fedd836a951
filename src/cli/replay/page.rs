//! A report as one HTML page that needs nothing else: plots as inline SVG, pictures as JPEG.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::record::{Column, Report, STAGES};

/// Plot area in pixels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 160.0;
/// Room for the numbers at the left and below.
const LEFT: f64 = 48.0;
const BELOW: f64 = 22.0;

/// Told apart by people with any kind of colour vision (Okabe and Ito 2008).
const COLORS: [&str; 8] =
    ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8a8a00", "#000000"];

/// A picture with a caption.
pub struct SampleFrame {
    /// Under the picture.
    pub caption: String,
    /// JPEG file.
    pub jpeg: Vec<u8>,
}

/// The page. `samples` are groups of pictures with their titles.
pub fn page(report: &Report, samples: &[(&str, Vec<&SampleFrame>)]) -> String {
    let title = match report.bags.as_slice() {
        [bag] => format!("Replay of {bag}"),
        bags => format!("{} replays", bags.len()),
    };
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title>\n<style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n",
        escape(&title)
    );
    summary(&mut html, report);
    stage_table(&mut html, report);
    if !report.series.is_empty() {
        latency(&mut html, &report.series);
    }
    histogram(&mut html, report);
    labels(&mut html, report);
    timeline(&mut html, "Places over time", &report.series, |column| column.place.as_deref());
    traversable(&mut html, &report.series);
    truth(&mut html, report);
    for (title, pictures) in samples.iter().filter(|(_, pictures)| !pictures.is_empty()) {
        put(&mut html, &format!("<h2>{}</h2><div class=\"pictures\">", escape(title)));
        for picture in pictures {
            let (data, caption) = (base64(&picture.jpeg), escape(&picture.caption));
            put(
                &mut html,
                &format!(
                    "<figure><img alt=\"\" src=\"data:image/jpeg;base64,{data}\"><figcaption>{caption}</figcaption></figure>"
                ),
            );
        }
        put(&mut html, "</div>\n");
    }
    let no_differences = Vec::new();
    list(&mut html, "Over budget", &report.over_budget);
    list(
        &mut html,
        "Differences from the golden file",
        report.golden.as_ref().unwrap_or(&no_differences),
    );
    list(&mut html, "Not processed", &report.failures);
    html.push_str("</body></html>\n");
    html
}

const STYLE: &str = "body{font:14px system-ui,sans-serif;max-width:860px;margin:2em auto;padding:0 1em;color:#222}table{border-collapse:collapse}td,th{padding:2px 12px 2px 0;text-align:right}td:first-child,th:first-child{text-align:left}svg text{font:11px system-ui,sans-serif;fill:#555}.pictures{display:flex;flex-wrap:wrap;gap:8px}figure{margin:0}img{max-width:260px}figcaption{max-width:260px;font-size:12px}.bad{color:#b00020}.key{margin-right:1em}";

fn put(html: &mut String, text: &str) {
    html.push_str(text);
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn summary(html: &mut String, report: &Report) {
    let verdict = if report.is_bad() { "<b class=\"bad\">failed</b>" } else { "<b>passed</b>" };
    let stopped = if report.stopped { ", stopped early" } else { "" };
    put(
        html,
        &format!(
            "<p>{verdict}: {} frames of {} with {} in {:.1} s{}, {:.1} frames/s, {} not processed{stopped}</p>\n",
            report.frames,
            escape(&report.topics.join(", ")),
            escape(&report.model),
            report.seconds,
            report.at_once(),
            report.frames_per_s,
            report.failed
        ),
    );
}

fn stage_table(html: &mut String, report: &Report) {
    put(html, "<table><tr><th>stage, ms</th><th>p50</th><th>p95</th><th>p99</th><th>max</th></tr>");
    for stage in STAGES {
        if let Some(p) = report.stages_ms.get(stage) {
            put(
                html,
                &format!(
                    "<tr><td>{stage}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td></tr>",
                    p.p50, p.p95, p.p99, p.max
                ),
            );
        }
    }
    put(html, "</table>\n");
}

fn latency(html: &mut String, series: &[Column]) {
    let lines: Vec<(&str, Vec<(f64, f64)>)> = STAGES
        .iter()
        .enumerate()
        .map(|(index, stage)| {
            let points = series.iter().filter_map(|column| {
                column.stages_ms.get(index).map(|time| (column.time_s, *time))
            });
            (*stage, points.collect())
        })
        .collect();
    plot(html, "Latency over time, ms", &lines, None);
}

fn traversable(html: &mut String, series: &[Column]) {
    let points: Vec<(f64, f64)> = series
        .iter()
        .filter_map(|column| column.traversable.map(|share| (column.time_s, share)))
        .collect();
    if !points.is_empty() {
        plot(html, "Traversable share of the picture", &[("traversable", points)], Some(1.0));
    }
}

/// Lines over seconds.
fn plot(html: &mut String, title: &str, lines: &[(&str, Vec<(f64, f64)>)], top: Option<f64>) {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let end = points().map(|(x, _)| *x).fold(0.0, f64::max).max(1e-9);
    let top = top.unwrap_or_else(|| points().map(|(_, y)| *y).fold(0.0, f64::max).max(1e-9));
    let mut body = String::new();
    for ((_, points), color) in lines.iter().zip(COLORS.iter().cycle()) {
        let at = |(x, y): &(f64, f64)| {
            format!("{:.1},{:.1}", LEFT + x / end * WIDTH, HEIGHT - y / top * HEIGHT)
        };
        let path: Vec<String> = points.iter().map(at).collect();
        let _ = write!(
            body,
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"1.3\" points=\"{}\"/>",
            path.join(" ")
        );
    }
    frame(html, title, &body, &format!("{top:.3}"), &format!("{end:.1} s"));
    let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
    if names.len() > 1 {
        legend(html, &names);
    }
}

fn frame(html: &mut String, title: &str, body: &str, top: &str, right: &str) {
    let (all_width, all_height) = (LEFT + WIDTH + 4.0, HEIGHT + BELOW);
    put(
        html,
        &format!(
            "<h2>{}</h2><svg width=\"{all_width}\" height=\"{all_height}\" viewBox=\"0 -6 {all_width} {all_height}\"><path fill=\"none\" stroke=\"#bbb\" d=\"M{LEFT} 0V{HEIGHT}H{}\"/><text x=\"0\" y=\"8\">{top}</text><text x=\"0\" y=\"{HEIGHT}\">0</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{right}</text>{body}</svg>\n",
            escape(title),
            LEFT + WIDTH,
            LEFT + WIDTH,
            HEIGHT + 14.0
        ),
    );
}

fn legend(html: &mut String, names: &[&str]) {
    put(html, "<p>");
    for (name, color) in names.iter().zip(COLORS.iter().cycle()) {
        put(
            html,
            &format!(
                "<span class=\"key\"><b style=\"color:{color}\">&#9632;</b> {}</span>",
                escape(name)
            ),
        );
    }
    put(html, "</p>\n");
}

/// Bars of the total time, to the 99.5th percentile.
fn histogram(html: &mut String, report: &Report) {
    const BARS: usize = 60;
    let Some(times) = report.times_us.get("total").filter(|times| !times.is_empty()) else {
        return;
    };
    let last = report.stages_ms.get("total").map_or(0.0, |p| p.p99 * 1.2).max(1e-3);
    let mut bars = [0_u64; BARS];
    for (time, count) in times {
        let bar = (*time as f64 / 1e3 / last * BARS as f64) as usize;
        bars[bar.min(BARS - 1)] += count;
    }
    let most = bars.iter().copied().max().unwrap_or(1).max(1);
    let width = WIDTH / BARS as f64;
    let mut body = String::new();
    for (index, count) in bars.iter().enumerate() {
        let height = *count as f64 / most as f64 * HEIGHT;
        let _ = write!(
            body,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{}\"/>",
            LEFT + index as f64 * width,
            HEIGHT - height,
            width - 1.0,
            COLORS[0]
        );
    }
    let right = format!("{last:.2} ms and more");
    frame(html, "Frames by total time", &body, &most.to_string(), &right);
}

fn labels(html: &mut String, report: &Report) {
    if report.labels.is_empty() {
        return;
    }
    let mut counts: Vec<(&String, &u64)> = report.labels.iter().collect();
    counts.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), name.as_str()));
    put(html, "<h2>Best labels</h2><table>");
    for (name, count) in counts.iter().take(15) {
        put(html, &format!("<tr><td>{}</td><td>{count}</td></tr>", escape(name)));
    }
    put(html, "</table>\n");
    timeline(html, "Best label over time", &report.series, |column| column.label.as_deref());
}

/// A row of coloured stretches a name; the seven most frequent names have their own row.
fn timeline<'a>(
    html: &mut String,
    title: &str,
    series: &'a [Column],
    name_of: impl Fn(&'a Column) -> Option<&'a str>,
) {
    let mut counts = BTreeMap::<&str, usize>::new();
    for name in series.iter().filter_map(&name_of) {
        *counts.entry(name).or_default() += 1;
    }
    if counts.is_empty() {
        return;
    }
    let mut names: Vec<&str> = counts.keys().copied().collect();
    names.sort_by_key(|name| (std::cmp::Reverse(counts[name]), *name));
    let has_more = names.len() > 8;
    names.truncate(if has_more { 7 } else { 8 });
    let rows = names.len() + usize::from(has_more);
    let row_height = HEIGHT / rows as f64;
    let width = WIDTH / series.len() as f64;
    let mut body = String::new();
    for (index, name) in series.iter().enumerate().filter_map(|(i, c)| Some((i, name_of(c)?))) {
        let row = names.iter().position(|known| *known == name).unwrap_or(names.len());
        let _ = write!(
            body,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
            LEFT + index as f64 * width,
            row as f64 * row_height,
            width.max(1.0) + 0.2,
            (row_height - 2.0).max(1.0),
            COLORS[row % COLORS.len()]
        );
    }
    let end = series.last().map_or(0.0, |column| column.time_s);
    frame(html, title, &body, "", &format!("{end:.1} s"));
    if has_more {
        names.push("others");
    }
    legend(html, &names);
}

fn truth(html: &mut String, report: &Report) {
    let Some(score) = &report.truth else { return };
    put(html, "<h2>Against the truth</h2><table>");
    let mut row = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            put(html, &format!("<tr><td>{}</td><td>{value:.4}</td></tr>", escape(name)));
        }
    };
    row("top-1", score.top1_share());
    row("top-5", score.top5_share());
    row("mean IoU", score.mean_iou());
    for (class, (both, either)) in &score.overlap {
        row(class, (*either > 0).then(|| *both as f64 / *either as f64));
    }
    put(html, "</table>\n");
}

fn list(html: &mut String, title: &str, lines: &[String]) {
    const SHOWN: usize = 100;
    if lines.is_empty() {
        return;
    }
    put(html, &format!("<h2 class=\"bad\">{} ({})</h2><ul>", escape(title), lines.len()));
    for line in lines.iter().take(SHOWN) {
        put(html, &format!("<li>{}</li>", escape(line)));
    }
    put(html, "</ul>\n");
}

/// RFC 4648.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if digit <= three.len() { ALPHABET[value as usize].into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        let check = |text: &str, expected| assert_eq!(base64(text.as_bytes()), expected);
        check("", "");
        check("f", "Zg==");
        check("fo", "Zm8=");
        check("foo", "Zm9v");
        check("foobar", "Zm9vYmFy");
    }

    #[test]
    fn the_page_stands_alone_and_escapes_what_the_bag_says() {
        let column = Column {
            stages_ms: vec![1.0; STAGES.len()],
            label: Some("<script>".to_owned()),
            traversable: Some(0.5),
            ..Column::default()
        };
        let report = Report {
            bags: vec!["a&b".to_owned()],
            labels: [("<script>".to_owned(), 1)].into(),
            times_us: [("total".to_owned(), [(1000, 1)].into())].into(),
            series: vec![column.clone(), Column { time_s: 1.0, ..column }],
            failures: vec!["<b>".to_owned()],
            failed: 1,
            ..Report::default()
        };
        let picture = SampleFrame { caption: "<i>".to_owned(), jpeg: vec![1, 2, 3] };
        let html = page(&report, &[("Least certain", vec![&picture])]);
        for wrong in ["<script", "<i>", "<b>\"", "http", "NaN"] {
            assert!(!html.contains(wrong), "{wrong}");
        }
        for wanted in
            ["a&amp;b", "<polyline", "Best label over time", "data:image/jpeg;base64,AQID"]
        {
            assert!(html.contains(wanted), "{wanted}");
        }
    }
}
