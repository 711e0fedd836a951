//! What was learnt, in a file: tied to its model, written whole or not at all.

use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::horizon::Horizon;
use super::statistics::Statistics;
use crate::{atomic_file, model_file};

/// 2: the odds of ground are those of all its classes together.
const SCHEMA: u32 = 2;

/// What was learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Metres driven.
    pub metres: f64,
    /// Frames that taught something.
    pub frames: u64,
    /// Their cells that the robot has stood on.
    pub ground_cells: u64,
    /// Their cells that it was stopped at.
    pub obstacle_cells: u64,
}

impl Counts {
    /// For people.
    pub fn summary(&self) -> String {
        let Self { metres, frames, ground_cells, obstacle_cells } = self;
        format!(
            "{metres:.1} m, {frames} frames: {ground_cells} cells stood on, {obstacle_cells} bumped into"
        )
    }
}

/// All that is kept of what was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What was learnt from.
    pub counts: Counts,
    /// The sums of it.
    pub statistics: Statistics,
    /// What was seen above the horizon last.
    #[serde(default)]
    pub horizon: Horizon,
}

#[derive(Serialize, Deserialize)]
struct File {
    schema: u32,
    /// Name of the model whose mask was taught, for people.
    model: String,
    /// SHA-256 of the first of that model's files, see [`Manifest::weights_sha256`](crate::manifest::Manifest::weights_sha256).
    sha256: String,
    #[serde(flatten)]
    state: State,
}

/// Why a file gives nothing to go on from.
#[derive(Debug, Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no such file.
    #[error("{path} is no file of what was learnt by driving: {reason}")]
    Broken {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// It is another model's.
    #[error("{path} was learnt with model {model} of other weights, for which it means nothing")]
    OtherModel {
        /// The file.
        path: String,
        /// That model.
        model: String,
        /// SHA-256 of its file.
        sha256: String,
    },
}

/// What stands after the name of a file that is set aside for its model.
fn suffix_of(model: &str, sha256: &str) -> String {
    format!("{model}-{}", sha256.chars().take(8).collect::<String>())
}

impl State {
    /// Reads a file; `None` where there is none. Also the name of the model that it says.
    ///
    /// # Errors
    /// [`StateError`]
    pub fn read(path: &Path, sha256: Option<&str>) -> Result<Option<(Self, String)>, StateError> {
        let name = path.display().to_string();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::File { path: name, source }),
        };
        let broken = |reason: String| StateError::Broken { path: name.clone(), reason };
        let (state, model, other) = Self::from_bytes(&bytes).map_err(broken)?;
        if sha256.is_some_and(|sha256| sha256 != other) {
            return Err(StateError::OtherModel { path: name, model, sha256: other });
        }
        Ok(Some((state, model)))
    }

    /// As [`Self::read`] of the file of a model, for who will write it: where there is none, what was set aside for
    /// this model comes back to its place first.
    ///
    /// # Errors
    /// [`StateError`]
    pub fn read_to_write(
        path: &Path,
        model: &str,
        sha256: &str,
    ) -> Result<Option<Self>, StateError> {
        Ok(Self::open_with(path, model, sha256, |_| None)?.0)
    }

    /// From a file's bytes, with the model's name and SHA-256 that they say.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<(Self, String, String), String> {
        let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if file.schema != SCHEMA {
            return Err(format!(
                "it is of schema {}, this version learns by {SCHEMA}",
                file.schema
            ));
        }
        if !file.state.statistics.is_whole() {
            return Err("its sums do not fit together".to_owned());
        }
        Ok((file.state, file.model, file.sha256))
    }

    /// Reads a file for a model that is about to run. One that cannot be taken is renamed, never written over: what
    /// is damaged to `FILE.damaged`, another model's to `FILE.MODEL-HASH`, where it is found again when that model
    /// comes back. Also what happened to a file that was not taken.
    ///
    /// # Errors
    /// [`StateError::File`] where reading or renaming fails.
    pub fn open(
        path: &Path,
        model: &str,
        sha256: &str,
    ) -> Result<(Option<Self>, Option<String>), StateError> {
        Self::open_with(path, model, sha256, |error| match error {
            StateError::File { .. } => None,
            StateError::Broken { .. } => Some("damaged".to_owned()),
            StateError::OtherModel { model, sha256, .. } => Some(suffix_of(model, sha256)),
        })
    }

    fn open_with(
        path: &Path,
        model: &str,
        sha256: &str,
        aside: impl FnOnce(&StateError) -> Option<String>,
    ) -> Result<(Option<Self>, Option<String>), StateError> {
        model_file::open(
            path,
            &suffix_of(model, sha256),
            |path| Ok(Self::read(path, Some(sha256))?.map(|(state, _)| state)),
            aside,
            |path, source| StateError::File { path: path.display().to_string(), source },
        )
    }

    /// Writes it, over what was there.
    ///
    /// # Errors
    /// [`StateError::File`]
    pub fn write(self, path: &Path, model: &str, sha256: &str) -> Result<(), StateError> {
        let (model, sha256) = (model.to_owned(), sha256.to_owned());
        let failed = |source| StateError::File { path: path.display().to_string(), source };
        let file = File { schema: SCHEMA, model, sha256, state: self };
        let bytes = serde_json::to_vec(&file).map_err(|error| failed(error.into()))?;
        atomic_file::write(path, &bytes).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_comes_back_for_its_own_model() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("learning.json");
        assert!(State::read(&path, Some("aa")).unwrap().is_none());
        let mut statistics = Statistics::new(3);
        // Sums of many digits come back to the last bit.
        for i in 1..300_u16 {
            let value = f32::from(i).sin() / 3.0;
            statistics.add(&[value, 0.7, 1.0], f64::from(value).abs() / 7.0, 1.7 / f64::from(i));
        }
        let mut horizon = Horizon::default();
        horizon.take(&[(&[0.1, 0.7], -1.3), (&[0.0, 1.0 / 3.0], -0.2)]);
        let counts = Counts { metres: 1.5, frames: 4, ground_cells: 90, obstacle_cells: 1 };
        let state = State { counts, statistics, horizon };
        state.clone().write(&path, "street", "aa").unwrap();
        let (read, model) = State::read(&path, Some("aa")).unwrap().unwrap();
        assert_eq!((read, model.as_str()), (state, "street"));
        let said = State::read(&path, Some("bb")).unwrap_err().to_string();
        assert!(said.contains("learnt with model street"), "{said}");
        // The node sets it aside for another model, and finds it again.
        let (none, told) = State::open(&path, "other", "bb").unwrap();
        assert!(none.is_none() && told.unwrap().contains("kept as"));
        assert!(!path.exists());
        let (found, told) = State::open(&path, "street", "aa").unwrap();
        assert!(found.is_some() && told.is_none() && path.exists());
        std::fs::write(&path, &std::fs::read(&path).unwrap()[..40]).unwrap();
        assert!(matches!(State::read(&path, None), Err(StateError::Broken { .. })));
        let (none, told) = State::open(&path, "street", "aa").unwrap();
        assert!(none.is_none() && told.unwrap().contains("learning.json.damaged"));
    }
}
