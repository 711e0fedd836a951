//! How often something that failed may be started again before that is no help any more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time in which restarts are counted.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Restarts that are granted within [`WINDOW`].
pub const MOST: usize = 3;

/// Restarts granted so far.
#[derive(Debug, Default)]
pub struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// Whether what failed at `now` may be started again: [`MOST`] times within [`WINDOW`].
    pub fn grant(&mut self, now: Instant) -> bool {
        while self.0.front().is_some_and(|&at| now.duration_since(at) >= WINDOW) {
            self.0.pop_front();
        }
        let is_granted = self.0.len() < MOST;
        if is_granted {
            self.0.push_back(now);
        }
        is_granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_minute_and_no_more() {
        let start = Instant::now();
        let mut restarts = Restarts::default();
        let mut grant = |seconds| restarts.grant(start + Duration::from_secs(seconds));
        assert!(grant(0) && grant(10) && grant(20));
        assert!(!grant(59));
        assert!(grant(61), "the first is a minute ago");
        assert!(!grant(62));
        assert!(grant(71));
    }
}
