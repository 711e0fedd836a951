//! What happens to each camera's frames, counted and said: `/diagnostics`, once a second.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use r2r::diagnostic_msgs::msg::DiagnosticStatus;

use super::output::key_value;
use crate::settings::{CameraSettings, Settings};
use crate::timing::{StageStatistics, StageTimes};

/// The state of a camera's subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Subscribed.
    Good,
    /// Nothing to subscribe to yet.
    Waiting(String),
    /// Frames cannot come.
    Failing(String),
}

/// Counters of one camera; written by its drain task and the inference thread.
#[derive(Debug)]
pub struct CameraState {
    /// Its number, which no other camera of this run ever has.
    pub id: usize,
    /// The camera's name, empty for a single one.
    pub name: String,
    settings: Arc<ArcSwap<Settings>>,
    received: AtomicU64,
    processed: AtomicU64,
    replaced: AtomicU64,
    too_old: AtomicU64,
    rejected: AtomicU64,
    unheard: AtomicU64,
    rest: Mutex<Rest>,
}

#[derive(Debug)]
struct Rest {
    health: Health,
    statistics: StageStatistics,
    last_error: Option<String>,
    last_logged: Option<Instant>,
    last_frame: Option<Instant>,
    window_start: Instant,
    /// Received, processed, replaced, too old, rejected at the last report.
    reported: [u64; 5],
    rate_hz: Option<f64>,
}

impl CameraState {
    /// No frames yet.
    pub fn new(id: usize, name: &str, settings: Arc<ArcSwap<Settings>>) -> Self {
        Self {
            id,
            name: name.to_owned(),
            settings,
            received: AtomicU64::new(0),
            processed: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
            too_old: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            unheard: AtomicU64::new(0),
            rest: Mutex::new(Rest {
                health: Health::Waiting("starting".to_owned()),
                statistics: StageStatistics::default(),
                last_error: None,
                last_logged: None,
                last_frame: None,
                window_start: Instant::now(),
                reported: [0; 5],
                rate_hz: None,
            }),
        }
    }

    /// The camera's settings in force; none once it is to go.
    pub fn settings(&self) -> Option<CameraSettings> {
        self.settings.load().cameras.get(&self.name).cloned()
    }

    /// Start of log lines about this camera.
    pub fn prefix(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!("camera {}: ", self.name) }
    }

    /// A frame came.
    pub fn count_received(&self) {
        self.received.fetch_add(1, Relaxed);
        self.rest().last_frame = Some(Instant::now());
    }

    /// A frame gave way to a newer one.
    pub fn count_replaced(&self) {
        self.replaced.fetch_add(1, Relaxed);
    }

    /// A frame was older than `input.max_age_ms`.
    pub fn count_too_old(&self) {
        self.too_old.fetch_add(1, Relaxed);
    }

    /// A frame came while nobody listened to any result.
    pub fn count_unheard(&self) {
        self.unheard.fetch_add(1, Relaxed);
    }

    /// A frame could not be used. Gives whether to log it: once a second at most.
    pub fn count_rejected(&self, reason: &str) -> bool {
        self.rejected.fetch_add(1, Relaxed);
        let mut rest = self.rest();
        let now = Instant::now();
        rest.last_error = Some(reason.to_owned());
        let is_due = rest.last_logged.is_none_or(|at| now - at > Duration::from_secs(1));
        if is_due {
            rest.last_logged = Some(now);
        }
        is_due
    }

    /// A frame was answered.
    pub fn count_processed(&self, times: &StageTimes, age: Option<Duration>) {
        self.processed.fetch_add(1, Relaxed);
        self.rest().statistics.record(times, age);
    }

    /// Sets what the graph says of the topic.
    pub fn set_health(&self, health: Health) {
        self.rest().health = health;
    }

    /// Frames answered a second, as of the last report.
    pub fn rate(&self) -> Option<f64> {
        self.rest().rate_hz
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All frames since the start, for the log.
    pub fn summary(&self) -> String {
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        format!(
            "{} frames received: {} answered, {} replaced by newer ones, {} too old, {} not usable, {} that nobody listened for",
            count(&self.received),
            count(&self.processed),
            count(&self.replaced),
            count(&self.too_old),
            count(&self.rejected),
            count(&self.unheard),
        )
    }

    /// The last second, for `/diagnostics`. `facts` says what runs, key by key, `warnings` what else
    /// of the node a user has to mend. None of a camera that is to go.
    pub fn report(
        &self,
        node: &str,
        facts: &[(&str, String)],
        warnings: &[(&str, String)],
    ) -> Option<DiagnosticStatus> {
        let settings = self.settings()?;
        let late_ms = self.settings.load().late_ms;
        let counters =
            [&self.received, &self.processed, &self.replaced, &self.too_old, &self.rejected];
        let counts = counters.map(|counter| counter.load(Relaxed));
        let mut rest = self.rest();
        let now = Instant::now();
        let seconds = (now - rest.window_start).as_secs_f64().max(1e-3);
        let fresh: Vec<u64> =
            counts.iter().zip(rest.reported).map(|(now, before)| now - before).collect();
        let percentiles = rest.statistics.percentiles();
        let age_p95 =
            percentiles.iter().find(|(name, _)| *name == "age").map_or(0.0, |(_, p)| p.p95);
        let state = Observed {
            health: &rest.health,
            has_frames: rest.last_frame.is_some_and(|at| now - at < Duration::from_secs(2)),
            received: fresh[0],
            replaced: fresh[2],
            too_old: fresh[3],
            rejected: fresh[4],
            last_error: rest.last_error.as_deref(),
            late_ms: (late_ms > 0.0 && age_p95 > late_ms).then_some(age_p95),
            topic: &settings.image_topic,
            warning: warnings.first().map(|(_, text)| text.as_str()),
        };
        let (level, message) = judge(&state);
        let names = ["received", "processed", "replaced", "too_old", "rejected"];
        let mut values: Vec<_> = names
            .iter()
            .zip(counts)
            .map(|(name, count)| key_value(&format!("frames {name}"), count.to_string()))
            .collect();
        values.push(key_value("frames unheard", self.unheard.load(Relaxed).to_string()));
        values.push(key_value("rate in (Hz)", format!("{:.1}", fresh[0] as f64 / seconds)));
        values.push(key_value("rate out (Hz)", format!("{:.1}", fresh[1] as f64 / seconds)));
        for (stage, p) in &percentiles {
            for (name, value) in [("p50", p.p50), ("p95", p.p95), ("p99", p.p99), ("max", p.max)] {
                values.push(key_value(&format!("{stage} {name} (ms)"), format!("{value:.2}")));
            }
        }
        values.push(key_value("image topic", settings.image_topic));
        values.extend(facts.iter().map(|(key, value)| key_value(key, value.clone())));
        values.extend(warnings.iter().map(|(key, text)| key_value(key, text.clone())));
        if let Some(error) = &rest.last_error {
            values.push(key_value("last rejected frame", error.clone()));
        }
        rest.reported = counts;
        rest.rate_hz = Some(fresh[1] as f64 / seconds);
        rest.window_start = now;
        rest.statistics.clear();
        let name =
            if self.name.is_empty() { node.to_owned() } else { format!("{node}: {}", self.name) };
        Some(DiagnosticStatus { level, name, message, hardware_id: self.name.clone(), values })
    }
}

/// What a report is judged by.
struct Observed<'a> {
    health: &'a Health,
    has_frames: bool,
    received: u64,
    replaced: u64,
    too_old: u64,
    rejected: u64,
    last_error: Option<&'a str>,
    late_ms: Option<f64>,
    topic: &'a str,
    warning: Option<&'a str>,
}

/// Level and message: the gravest first, with what to do.
fn judge(state: &Observed<'_>) -> (u8, String) {
    const OK: u8 = DiagnosticStatus::OK as u8;
    const WARN: u8 = DiagnosticStatus::WARN as u8;
    const ERROR: u8 = DiagnosticStatus::ERROR as u8;
    const STALE: u8 = DiagnosticStatus::STALE as u8;
    match state.health {
        Health::Failing(text) => return (ERROR, text.clone()),
        Health::Waiting(text) if !state.has_frames => return (STALE, text.clone()),
        _ => {}
    }
    if !state.has_frames {
        return (STALE, format!("no frames on {}: look at the camera driver", state.topic));
    }
    if state.rejected > 0 {
        let reason = state.last_error.unwrap_or_default();
        let level = if state.rejected >= state.received.max(1) { ERROR } else { WARN };
        return (
            level,
            format!("{} of {} frames cannot be used: {reason}", state.rejected, state.received),
        );
    }
    if let Some(warning) = state.warning {
        return (WARN, warning.to_owned());
    }
    if state.too_old > 0 {
        let text = format!(
            "{} frames were older than input.max_age_ms: look at the network and the clocks",
            state.too_old
        );
        return (WARN, text);
    }
    if let Some(age) = state.late_ms {
        return (
            WARN,
            format!("results are late: age p95 {age:.0} ms; lower rate, input size or outputs"),
        );
    }
    // A frame now and then gives way without anybody being served worse.
    if state.replaced * 10 > state.received {
        let text = format!(
            "{} of {} frames replaced by newer ones: the camera is faster than the processor",
            state.replaced, state.received
        );
        return (WARN, text);
    }
    (OK, "frames are answered".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_trouble_is_reported_with_what_to_do() {
        let good = Health::Good;
        let base = || Observed {
            health: &good,
            has_frames: true,
            received: 30,
            replaced: 0,
            too_old: 0,
            rejected: 0,
            last_error: Some("step of 5 bytes"),
            late_ms: None,
            topic: "/image",
            warning: None,
        };
        let check = |state: Observed<'_>, level: i8, words: &str| {
            let (actual, message) = judge(&state);
            assert_eq!(actual, level as u8, "{message}");
            assert!(message.contains(words), "{message:?} lacks {words:?}");
        };
        check(base(), DiagnosticStatus::OK as i8, "answered");
        check(Observed { replaced: 2, ..base() }, DiagnosticStatus::OK as i8, "answered");
        check(
            Observed { replaced: 9, ..base() },
            DiagnosticStatus::WARN as i8,
            "faster than the processor",
        );
        check(Observed { rejected: 1, ..base() }, DiagnosticStatus::WARN as i8, "step of 5 bytes");
        check(Observed { rejected: 30, ..base() }, DiagnosticStatus::ERROR as i8, "30 of 30");
        check(Observed { too_old: 1, ..base() }, DiagnosticStatus::WARN as i8, "input.max_age_ms");
        check(Observed { late_ms: Some(99.0), ..base() }, DiagnosticStatus::WARN as i8, "99 ms");
        check(
            Observed { has_frames: false, ..base() },
            DiagnosticStatus::STALE as i8,
            "no frames on /image",
        );
        let warning = Some("a.yaml, line 3: labels.top_k");
        check(Observed { warning, ..base() }, DiagnosticStatus::WARN as i8, "line 3");
        let failing = Health::Failing("offers best effort".to_owned());
        check(
            Observed { health: &failing, ..base() },
            DiagnosticStatus::ERROR as i8,
            "best effort",
        );
    }
}
