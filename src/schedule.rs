//! Which frames of a stream are answered where fewer are asked for than come.

use std::time::{Duration, Instant};

/// Shortest period that is told from none.
const LEAST_HZ: f64 = 1e-3;

/// When the next frame is due. Frames that are answered keep to a schedule rather than to a gap: of
/// 30 Hz it takes 20 for a rate of 20 Hz, where a gap of 50 ms would take every second one, 15.
#[derive(Debug, Clone, Copy, Default)]
pub struct Schedule {
    due: Option<Instant>,
}

impl Schedule {
    /// Whether a frame that came at `at` is to be answered at a rate of `hz`, 0 for any.
    pub fn is_due(&self, at: Instant, hz: f64) -> bool {
        hz <= 0.0 || self.due(at, hz).is_none_or(|due| at + slack(hz) >= due)
    }

    /// When the next frame is due at this rate: what is due later than a period from now was so by a lower one.
    fn due(&self, at: Instant, hz: f64) -> Option<Instant> {
        self.due.filter(|due| *due <= at + period(hz) + slack(hz))
    }

    /// A frame that came at `at` is answered.
    pub fn take(&mut self, at: Instant, hz: f64) {
        if hz <= 0.0 {
            self.due = None;
            return;
        }
        let period = period(hz);
        // After a pause nothing is made up for: one frame may be early by one period at most.
        let due = self.due(at, hz).unwrap_or(at).max(at.checked_sub(period).unwrap_or(at));
        self.due = Some(due + period);
    }
}

fn period(hz: f64) -> Duration {
    Duration::from_secs_f64(1.0 / hz.max(LEAST_HZ))
}

/// A frame may be this early: cameras are not that exact, and the schedule goes on from when the
/// frame was due.
fn slack(hz: f64) -> Duration {
    period(hz) / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_rate_does_not_wait_for_the_lower_one() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.take(start, 0.1);
        assert!(!schedule.is_due(start + Duration::from_secs(2), 0.1));
        assert!(schedule.is_due(start + Duration::from_millis(40), 15.0));
        schedule.take(start + Duration::from_millis(40), 15.0);
        assert!(!schedule.is_due(start + Duration::from_millis(70), 15.0));
        assert!(schedule.is_due(start + Duration::from_millis(107), 15.0));
    }

    /// Frames answered of ten seconds of `camera_hz`, each late by up to `jitter_ms`.
    fn answered(camera_hz: f64, hz: f64, jitter_ms: f64) -> usize {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        let frames = (camera_hz * 10.0) as usize;
        (0..frames)
            .filter(|&n| {
                let jitter = jitter_ms * ((n * 7919) % 100) as f64 / 100.0;
                let at = start + Duration::from_secs_f64(n as f64 / camera_hz + jitter / 1e3);
                let is_due = schedule.is_due(at, hz);
                if is_due {
                    schedule.take(at, hz);
                }
                is_due
            })
            .count()
    }

    #[track_caller]
    fn check(camera_hz: f64, hz: f64, expected: usize) {
        for jitter_ms in [0.0, 3.0] {
            let count = answered(camera_hz, hz, jitter_ms);
            assert!(count.abs_diff(expected) <= 2, "{count} of {camera_hz} Hz at {hz} Hz");
        }
    }

    #[test]
    fn the_rate_is_kept_on_average() {
        check(30.0, 20.0, 200);
        check(30.0, 29.0, 290);
        check(30.0, 30.0, 300);
        check(30.0, 10.0, 100);
        check(30.0, 7.0, 70);
        check(30.0, 100.0, 300);
        check(30.0, 0.0, 300);
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.take(start, 10.0);
        let later = start + Duration::from_secs(60);
        let taken = (0..10).filter(|&n| {
            let at = later + Duration::from_millis(10 * n);
            let is_due = schedule.is_due(at, 10.0);
            if is_due {
                schedule.take(at, 10.0);
            }
            is_due
        });
        // The first, one that makes up for the pause, and the next that is due.
        assert!(taken.count() <= 3);
    }
}
