//! What happens to each camera's frames, counted and said: `/diagnostics`, once a second.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use r2r::builtin_interfaces::msg::Time;
use r2r::diagnostic_msgs::msg::DiagnosticStatus;

use super::ground::GroundState;
use super::output::key_value;
use crate::answer_state::AnswerState;
use crate::image_health::{ImageFault, Watch};
use crate::lock::lock;
use crate::log::escaped;
use crate::result::ImageMeasures;
use crate::settings::{CameraSettings, HealthAction, HealthSettings, Settings};
use crate::timing::{StageStatistics, StageTimes};

/// Stamps ahead of the node's clock by less are nobody's concern.
const NOTICEABLE: Duration = Duration::from_millis(100);

/// What diagnostics say of something that is taught.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Key by key.
    pub facts: Vec<(&'static str, String)>,
    /// What a user has to do something about.
    pub warning: Option<String>,
}

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
    /// What is known of its ground.
    pub ground: GroundState,
    settings: Arc<ArcSwap<Settings>>,
    received: AtomicU64,
    processed: AtomicU64,
    replaced: AtomicU64,
    too_old: AtomicU64,
    rejected: AtomicU64,
    unheard: AtomicU64,
    left_out: AtomicU64,
    ahead: AtomicU64,
    faulty: AtomicU64,
    /// What times of frames are counted from.
    start: Instant,
    rest: Mutex<Rest>,
}

/// A picture that is no good, and the ones before it.
#[derive(Debug, Clone)]
struct FaultyPictures {
    fault: ImageFault,
    action: HealthAction,
    /// When the first of them came, by the steady clock and by its stamp.
    since: Duration,
    stamp: Time,
}

#[derive(Debug)]
struct Rest {
    health: Health,
    statistics: StageStatistics,
    last_error: Option<String>,
    last_logged: Option<Instant>,
    last_frame: Option<Instant>,
    /// By how much the last frame's stamp was ahead of this clock that was counted, and whether that had any time.
    last_ahead: (Duration, bool),
    /// The topic of the pictures by its whole name, once it is known.
    topic: Option<String>,
    /// What subscribers want and the model does not give.
    lacking: Option<String>,
    window_start: Instant,
    /// Received, processed, replaced, too old, rejected, left out, ahead, faulty, unheard at the last report.
    reported: [u64; 9],
    /// But for what the newest picture itself is like.
    state: AnswerState,
    watch: Watch,
    /// Of the newest frame.
    fault: Option<FaultyPictures>,
    /// The last one since the last report.
    recent_fault: Option<FaultyPictures>,
    rate_hz: Option<f64>,
}

impl CameraState {
    /// No frames yet.
    pub fn new(id: usize, name: &str, settings: Arc<ArcSwap<Settings>>) -> Self {
        Self {
            id,
            name: name.to_owned(),
            ground: GroundState::default(),
            settings,
            received: AtomicU64::new(0),
            processed: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
            too_old: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            unheard: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            ahead: AtomicU64::new(0),
            faulty: AtomicU64::new(0),
            start: Instant::now(),
            rest: Mutex::new(Rest {
                health: Health::Waiting("starting".to_owned()),
                statistics: StageStatistics::default(),
                last_error: None,
                last_logged: None,
                last_frame: None,
                last_ahead: (Duration::ZERO, true),
                topic: None,
                lacking: None,
                window_start: Instant::now(),
                reported: [0; 9],
                state: AnswerState::Stale,
                watch: Watch::default(),
                fault: None,
                recent_fault: None,
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

    /// A frame came that `rate.max_hz` leaves out.
    pub fn count_left_out(&self) {
        self.left_out.fetch_add(1, Relaxed);
    }

    /// A frame's stamp was this far ahead of the node's clock, which may have no time yet, as while nobody publishes
    /// `/clock`. A little is the clocks' own.
    pub fn count_ahead(&self, ahead: Duration, has_time: bool) {
        if ahead >= NOTICEABLE {
            self.ahead.fetch_add(1, Relaxed);
            self.rest().last_ahead = (ahead, has_time);
        }
    }

    /// The state of an answer that goes out now, which is none of the past: as of the last report, and by what its picture is
    /// like.
    pub fn state(&self) -> AnswerState {
        let rest = self.rest();
        let of_report = if rest.state == AnswerState::Stale { AnswerState::Ok } else { rest.state };
        let fault = rest.fault.as_ref().map(|faulty| faulty.fault.state(faulty.action));
        fault.unwrap_or_default().max(of_report)
    }

    /// What is wrong with the newest picture.
    pub fn image_fault(&self) -> Option<ImageFault> {
        self.rest().fault.as_ref().map(|faulty| faulty.fault)
    }

    /// Judges a picture that came at `at`, after the ones before. Gives what is wrong with it.
    pub fn judge_image(
        &self,
        measures: Option<&ImageMeasures>,
        (at, stamp): (Instant, &Time),
        settings: &HealthSettings,
    ) -> Option<ImageFault> {
        let mut rest = self.rest();
        let at = at.saturating_duration_since(self.start);
        let verdict = measures.and_then(|measures| rest.watch.judge(measures, at, settings));
        let before = rest.fault.take();
        rest.fault = verdict.map(|verdict| {
            let first = before
                .filter(|before| (before.fault, before.since) == (verdict.fault, verdict.since));
            FaultyPictures {
                fault: verdict.fault,
                action: settings.action,
                since: verdict.since,
                stamp: first.map_or_else(|| stamp.clone(), |first| first.stamp),
            }
        });
        if rest.fault.is_some() {
            self.faulty.fetch_add(1, Relaxed);
            rest.recent_fault = rest.fault.clone();
        }
        rest.fault.as_ref().map(|faulty| faulty.fault)
    }

    /// A frame could not be used. Gives whether to log it: once a second at most.
    pub fn count_rejected(&self, reason: &str) -> bool {
        self.rejected.fetch_add(1, Relaxed);
        let mut rest = self.rest();
        let now = Instant::now();
        // Pictures on both sides of it are no sequence, and nothing is known of its own.
        (rest.watch, rest.fault) = (Watch::default(), None);
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

    /// Sets the topic by its whole name, remapped as it may be.
    pub fn set_topic(&self, topic: &str) {
        let mut rest = self.rest();
        if rest.topic.as_deref() != Some(topic) {
            rest.topic = Some(topic.to_owned());
        }
    }

    /// Sets what subscribers want and the model does not give.
    pub fn set_lacking(&self, lacking: Option<String>) {
        self.rest().lacking = lacking;
    }

    /// Frames answered a second, as of the last report.
    pub fn rate(&self) -> Option<f64> {
        self.rest().rate_hz
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        lock(&self.rest)
    }

    /// All frames since the start, for the log.
    pub fn summary(&self) -> String {
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        format!(
            "{} frames received: {} answered, {} replaced by newer ones, {} too old, {} not usable, {} that nobody listened for, {} left out by rate.max_hz",
            count(&self.received),
            count(&self.processed),
            count(&self.replaced),
            count(&self.too_old),
            count(&self.rejected),
            count(&self.unheard),
            count(&self.left_out),
        )
    }

    /// The last second, for `/diagnostics`. `facts` says what runs, key by key, `warnings` what else
    /// of the node a user has to mend, `failure` what of it has failed. None of a camera that is to go.
    pub fn report(
        &self,
        node: &str,
        facts: &[(&str, String)],
        warnings: &[(&str, String)],
        failure: Option<&str>,
    ) -> Option<DiagnosticStatus> {
        let settings = self.settings()?;
        let late_ms = self.settings.load().late_ms;
        let counters = [
            &self.received,
            &self.processed,
            &self.replaced,
            &self.too_old,
            &self.rejected,
            &self.left_out,
            &self.ahead,
            &self.faulty,
            &self.unheard,
        ];
        let counts = counters.map(|counter| counter.load(Relaxed));
        let mut rest = self.rest();
        let now = Instant::now();
        let seconds = (now - rest.window_start).as_secs_f64().max(1e-3);
        let fresh: Vec<u64> =
            counts.iter().zip(rest.reported).map(|(now, before)| now - before).collect();
        let percentiles = rest.statistics.percentiles();
        let age_p95 =
            percentiles.iter().find(|(name, _)| *name == "age").map_or(0.0, |(_, p)| p.p95);
        let ground = self.ground.last();
        let topic = rest.topic.clone().unwrap_or(settings.image_topic);
        let no_ground = match &ground {
            Some(Err(reason)) => Some(format!("no ground: {reason}")),
            _ => None,
        };
        let state = Observed {
            health: &rest.health,
            has_frames: rest.last_frame.is_some_and(|at| now - at < Duration::from_secs(2)),
            received: fresh[0],
            replaced: fresh[2],
            too_old: fresh[3],
            rejected: fresh[4],
            answered: fresh[1],
            unheard: fresh[8],
            ahead: (fresh[6] > 0).then_some((fresh[6], rest.last_ahead)),
            failure,
            last_error: rest.last_error.as_deref(),
            late_ms: (late_ms > 0.0 && age_p95 > late_ms).then_some(age_p95),
            topic: &topic,
            warning: warnings
                .first()
                .map(|(_, text)| text.as_str())
                .or(no_ground.as_deref())
                .or(rest.lacking.as_deref()),
        };
        let (state, message) = judge(&state);
        let base_state = state;
        let faulty = rest.recent_fault.take();
        let (state, message) = match &faulty {
            Some(faulty) if faulty.fault.state(faulty.action) >= state => {
                let lasts = (now - self.start).saturating_sub(faulty.since);
                (faulty.fault.state(faulty.action), faulty.text(fresh[7], fresh[1], lasts))
            }
            _ => (state, message),
        };
        let names = [
            "received",
            "processed",
            "replaced",
            "too_old",
            "rejected",
            "left out by rate",
            "ahead of time",
            "with faulty pictures",
        ];
        let mut values = vec![key_value("state", state.name())];
        let counted = names.iter().zip(counts);
        values.extend(
            counted.map(|(name, count)| key_value(&format!("frames {name}"), count.to_string())),
        );
        values.push(key_value("frames unheard", self.unheard.load(Relaxed).to_string()));
        values.push(key_value("rate in (Hz)", format!("{:.1}", fresh[0] as f64 / seconds)));
        values.push(key_value("rate out (Hz)", format!("{:.1}", fresh[1] as f64 / seconds)));
        for (stage, p) in &percentiles {
            for (name, value) in [("p50", p.p50), ("p95", p.p95), ("p99", p.p99), ("max", p.max)] {
                values.push(key_value(&format!("{stage} {name} (ms)"), format!("{value:.2}")));
            }
        }
        values.push(key_value("image topic", topic.clone()));
        values.extend(facts.iter().map(|(key, value)| key_value(key, value.clone())));
        values.extend(warnings.iter().map(|(key, text)| key_value(key, text.clone())));
        if let Some(ground) = ground {
            values.push(key_value("ground", ground.unwrap_or_else(|reason| reason)));
        }
        if let Some(faulty) = &faulty {
            values.push(key_value("image fault", faulty.fault.name()));
            values.push(key_value("image fault since", stamp_text(&faulty.stamp)));
        }
        if let Some(error) = &rest.last_error {
            values.push(key_value("last rejected frame", error.clone()));
        }
        rest.reported = counts;
        rest.state = base_state;
        rest.rate_hz = Some(fresh[1] as f64 / seconds);
        rest.window_start = now;
        rest.statistics.clear();
        // As diagnostic_updater has it, by which the aggregator groups: the node, and the task.
        let is_named = !self.name.is_empty();
        let task = if is_named { self.name.as_str() } else { "camera" };
        let hardware_id = if is_named { self.name.clone() } else { topic };
        let (level, name) = (state.level(), format!("{node}: {task}"));
        let message = escaped(&message).into_owned();
        Some(DiagnosticStatus { level, name, message, hardware_id, values })
    }
}

impl FaultyPictures {
    /// What is wrong, for how long, and what to do; `faulty` of `answered` frames of the last second.
    fn text(&self, faulty: u64, answered: u64, lasts: Duration) -> String {
        let withheld = match self.action {
            HealthAction::Report => "",
            HealthAction::Unknown => "; the mask is unknown by health.action",
        };
        format!(
            "{} ({faulty} of {answered} frames, for {:.1} s): {}{withheld}",
            self.fault.text(),
            lasts.as_secs_f64(),
            self.fault.advice()
        )
    }
}

/// A stamp in seconds, as the key `stamp` of timing has it.
pub fn stamp_text(Time { sec, nanosec }: &Time) -> String {
    format!("{sec}.{nanosec:09}")
}

/// What a report is judged by.
struct Observed<'a> {
    health: &'a Health,
    has_frames: bool,
    received: u64,
    replaced: u64,
    too_old: u64,
    rejected: u64,
    answered: u64,
    /// Frames that nobody subscribes to a result of.
    unheard: u64,
    /// Frames with stamps ahead of this clock, and how far the last was.
    ahead: Option<(u64, (Duration, bool))>,
    failure: Option<&'a str>,
    last_error: Option<&'a str>,
    late_ms: Option<f64>,
    topic: &'a str,
    warning: Option<&'a str>,
}

/// State and message: the gravest first, with what to do.
fn judge(state: &Observed<'_>) -> (AnswerState, String) {
    use AnswerState::{Blind as ERROR, Degraded as WARN, Ok as OK, Stale as STALE};
    if let Some(failure) = state.failure {
        return (ERROR, failure.to_owned());
    }
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
        // One may be under way still, and others have given way.
        let level = if state.answered == 0 { ERROR } else { WARN };
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
    if let Some((_, (_, false))) = state.ahead {
        let text = "use_sim_time is set and no time has come on /clock: ros2 bag play --clock, start the simulator, or set use_sim_time to false";
        return (WARN, text.to_owned());
    }
    if let Some((count, (by, _))) = state.ahead {
        let text = format!(
            "{count} frames are stamped {:.2} s ahead of this clock: synchronise the clocks, or set use_sim_time where time comes from /clock",
            by.as_secs_f64()
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
    if state.answered == 0 && state.unheard > 0 {
        return (OK, "frames come, and nobody subscribes to a result of them".to_owned());
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
            answered: 30,
            unheard: 0,
            ahead: None,
            failure: None,
            last_error: Some("step of 5 bytes"),
            late_ms: None,
            topic: "/image",
            warning: None,
        };
        let check = |state: Observed<'_>, level: i8, words: &str| {
            let (actual, message) = judge(&state);
            assert_eq!(actual.level(), level as u8, "{message}");
            assert!(message.contains(words), "{message:?} lacks {words:?}");
        };
        check(base(), DiagnosticStatus::OK as i8, "answered");
        let idle = Observed { answered: 0, unheard: 30, ..base() };
        check(idle, DiagnosticStatus::OK as i8, "nobody subscribes");
        check(Observed { replaced: 2, ..base() }, DiagnosticStatus::OK as i8, "answered");
        check(
            Observed { replaced: 9, ..base() },
            DiagnosticStatus::WARN as i8,
            "faster than the processor",
        );
        check(Observed { rejected: 1, ..base() }, DiagnosticStatus::WARN as i8, "step of 5 bytes");
        let none = || Observed { rejected: 30, answered: 0, ..base() };
        check(none(), DiagnosticStatus::ERROR as i8, "30 of 30");
        let some_replaced = Observed { rejected: 24, replaced: 6, ..none() };
        check(some_replaced, DiagnosticStatus::ERROR as i8, "24 of 30");
        check(Observed { rejected: 29, ..none() }, DiagnosticStatus::ERROR as i8, "29 of 30");
        check(Observed { too_old: 1, ..base() }, DiagnosticStatus::WARN as i8, "input.max_age_ms");
        check(Observed { late_ms: Some(99.0), ..base() }, DiagnosticStatus::WARN as i8, "99 ms");
        check(
            Observed { has_frames: false, ..base() },
            DiagnosticStatus::STALE as i8,
            "no frames on /image",
        );
        let ahead = Some((3, (Duration::from_secs(60), true)));
        check(Observed { ahead, ..base() }, DiagnosticStatus::WARN as i8, "60.00 s ahead");
        let ahead = Some((3, (Duration::from_secs(1_700_000_000), false)));
        check(
            Observed { ahead, ..base() },
            DiagnosticStatus::WARN as i8,
            "no time has come on /clock",
        );
        let failure = Some("thread inference panicked");
        check(Observed { failure, ..base() }, DiagnosticStatus::ERROR as i8, "panicked");
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
