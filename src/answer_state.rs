//! One word for how far an answer can be trusted, for whoever acts on it.

/// The state of everything that is said of a camera's frame, the gravest reason first. In ROS it is
/// the `level` of a `diagnostic_msgs/DiagnosticStatus`, and the value of its key `state`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnswerState {
    /// Frames are answered as they should be: level OK.
    #[default]
    Ok,
    /// There are answers, later, fewer or less sure than they should be: level WARN.
    Degraded,
    /// What is answered must not be relied on, or nothing can be answered: level ERROR.
    Blind,
    /// No frames come, so that the last answer is of the past: level STALE.
    Stale,
}

impl AnswerState {
    /// All of them, by [`level`](Self::level).
    pub const ALL: [Self; 4] = [Self::Ok, Self::Degraded, Self::Blind, Self::Stale];

    /// `level` of a `diagnostic_msgs/DiagnosticStatus`: 0 OK, 1 WARN, 2 ERROR, 3 STALE.
    pub fn level(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Degraded => 1,
            Self::Blind => 2,
            Self::Stale => 3,
        }
    }

    /// Its name as the value of the key `state`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Blind => "blind",
            Self::Stale => "stale",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_diagnostics_and_the_gravest_is_the_greatest() {
        let levels = AnswerState::ALL.map(AnswerState::level);
        assert_eq!(levels, [0, 1, 2, 3]);
        assert!(AnswerState::ALL.is_sorted());
        assert_eq!(AnswerState::Degraded.max(AnswerState::Blind).name(), "blind");
    }
}
