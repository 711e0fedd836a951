//! What an examination of the machine found: plain data, shown by `squeezenet_node doctor`.

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// It works, or is not needed by everyone; worth knowing.
    Note,
    /// It keeps the node, or an output, from working.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How it is to be taken.
    pub level: Level,
    /// What was looked at, in a word or two.
    pub subject: &'static str,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub mend: Option<String>,
}

impl Finding {
    /// Nothing to do.
    pub fn good(subject: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Good, subject, found: found.into(), mend: None }
    }

    /// Worth knowing, and what could be done.
    pub fn note(subject: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { level: Level::Note, subject, found: found.into(), mend: Some(mend.into()) }
    }

    /// Broken, and what has to be done.
    pub fn bad(subject: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { level: Level::Bad, subject, found: found.into(), mend: Some(mend.into()) }
    }
}
