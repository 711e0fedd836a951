//! The file of what was taught.
//!
//! ```text
//! "SQNPLACE" | version u32 | length u64 | payload (postcard) | SHA-256 of all before
//! ```
//! Integers are little-endian. It is written beside and renamed, so that a crash at any byte leaves
//! the old file or the new one.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::gallery::Gallery;
use super::recognition::Kind;
use crate::manifest::Model;
use crate::{atomic_file, model_file};

const MAGIC: &[u8; 8] = b"SQNPLACE";
const VERSION: u32 = 1;
const HEAD: usize = 8 + 4 + 8;
const DIGEST: usize = 32;

/// Whose descriptors these are. Those of different models, or made in different ways, have nothing
/// to do with each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The model's name.
    pub model: String,
    /// SHA-256 of its first network file; its other precisions are the same network.
    pub weights: String,
    /// SHA-256 of its descriptors file.
    pub descriptors: String,
}

impl Owner {
    /// Of a model; `None` if it has no descriptors.
    pub fn of(model: &Model) -> Option<Self> {
        let manifest = &model.manifest;
        Some(Self {
            model: manifest.name.clone(),
            weights: manifest.weights_sha256(),
            descriptors: manifest.descriptors.as_ref()?.sha256.to_ascii_lowercase(),
        })
    }

    /// A short name for files.
    pub fn tag(&self) -> String {
        let short = |hash: &str| hash.chars().take(8).collect::<String>();
        format!("{}-{}-{}", self.model, short(&self.weights), short(&self.descriptors))
    }
}

/// Everything that was taught.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Whose descriptors they are.
    pub owner: Owner,
    /// Places.
    pub places: Gallery,
    /// The user's own labels.
    pub labels: Gallery,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read or written.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// It is damaged, or something else.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another model's.
    #[error("{}: it was taught with model {}; teach the places again with {}", path.display(), found.tag(), expected.tag())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: Box<Owner>,
        /// Who runs.
        expected: Box<Owner>,
    },
}

impl Memory {
    /// Nothing yet.
    pub fn new(owner: Owner, place_dimensions: usize, label_dimensions: usize) -> Self {
        Self {
            owner,
            places: Gallery::new(place_dimensions),
            labels: Gallery::new(label_dimensions),
        }
    }

    /// Nothing yet, for what a model's descriptors tell apart; `None` if it has none.
    pub fn for_model(model: &Model) -> Option<Self> {
        let (owner, descriptors) = (Owner::of(model)?, model.descriptors.as_ref()?);
        let (place, label) = (&descriptors.place, &descriptors.label);
        Some(Self::new(owner, place.dimensions(), label.dimensions()))
    }

    /// The gallery of a kind.
    pub fn gallery(&self, kind: Kind) -> &Gallery {
        match kind {
            Kind::Place => &self.places,
            Kind::Label => &self.labels,
        }
    }

    /// The gallery of a kind, to change it.
    pub fn gallery_mut(&mut self, kind: Kind) -> &mut Gallery {
        match kind {
            Kind::Place => &mut self.places,
            Kind::Label => &mut self.labels,
        }
    }

    /// How much there is, in words.
    pub fn summary(&self) -> String {
        let count = |gallery: &Gallery, what: &str| {
            format!("{} {what} with {} views", gallery.names().len(), gallery.views().len())
        };
        format!("{}, {}", count(&self.places, "places"), count(&self.labels, "taught labels"))
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// The serialiser's, which has none for this type.
    pub fn to_bytes(&self) -> std::io::Result<Vec<u8>> {
        let payload = postcard::to_allocvec(self).map_err(std::io::Error::other)?;
        let mut bytes = Vec::with_capacity(HEAD + payload.len() + DIGEST);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&payload);
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        Ok(bytes)
    }

    /// What [`to_bytes`](Self::to_bytes) made.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let number = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
        if !bytes.starts_with(MAGIC) {
            return Err("it is not a file of places".to_owned());
        }
        let version = number(8).map(u32::from_le_bytes);
        if version != Some(VERSION) {
            let found = version.map_or("none".to_owned(), |version| version.to_string());
            return Err(format!("its format is {found}, {VERSION} is read"));
        }
        let length = bytes.get(12..HEAD).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        let payload_length = bytes.len().checked_sub(HEAD + DIGEST).map(|length| length as u64);
        let (Some(length), Some(payload_length)) = (length, payload_length) else {
            return Err("it is cut off".to_owned());
        };
        if length != payload_length {
            let missing = i128::from(length) - i128::from(payload_length);
            return Err(format!("it is cut off or longer than it says, by {missing} bytes"));
        }
        let (body, digest) = bytes.split_at(bytes.len() - DIGEST);
        if Sha256::digest(body)[..] != *digest {
            return Err("its checksum is wrong".to_owned());
        }
        let memory: Self =
            postcard::from_bytes(&body[HEAD..]).map_err(|error| error.to_string())?;
        memory.places.check()?;
        memory.labels.check()?;
        Ok(memory)
    }

    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// [`FileError`]; the file is left as it is.
    pub fn load(path: &Path, expected: &Owner) -> Result<Option<Self>, FileError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(reason) => return Err(FileError::Io { path: path.to_owned(), reason }),
        };
        let memory = Self::from_bytes(&bytes)
            .map_err(|reason| FileError::Damaged { path: path.to_owned(), reason })?;
        if memory.owner == *expected {
            Ok(Some(memory))
        } else {
            Err(FileError::Foreign {
                path: path.to_owned(),
                found: Box::new(memory.owner),
                expected: Box::new(expected.clone()),
            })
        }
    }

    /// As [`Self::load`], for who will write the file: where there is none, what was set aside for this model
    /// comes back to its place first.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn load_to_write(path: &Path, expected: &Owner) -> Result<Option<Self>, FileError> {
        Ok(Self::open_with(path, expected, |_| None)?.0)
    }

    /// Reads a file for a model that is about to run. A file that cannot be taken is renamed, never
    /// overwritten: what is damaged to `FILE.damaged`, another model's to `FILE.MODEL`, where it is
    /// found again when that model comes back. Gives the memory, empty if there is none, and what
    /// happened to a file that was not taken.
    ///
    /// # Errors
    /// [`FileError::Io`] where reading or renaming fails.
    pub fn open(path: &Path, empty: Self) -> Result<(Self, Option<String>), FileError> {
        let suffix_of = |error: &FileError| match error {
            FileError::Io { .. } => None,
            FileError::Damaged { .. } => Some("damaged".to_owned()),
            FileError::Foreign { found, .. } => Some(found.tag()),
        };
        let (memory, told) = Self::open_with(path, &empty.owner, suffix_of)?;
        Ok((memory.unwrap_or(empty), told))
    }

    fn open_with(
        path: &Path,
        expected: &Owner,
        suffix_of: impl FnOnce(&FileError) -> Option<String>,
    ) -> Result<(Option<Self>, Option<String>), FileError> {
        model_file::open(
            path,
            &expected.tag(),
            |path| Self::load(path, expected),
            suffix_of,
            |path, reason| FileError::Io { path: path.to_owned(), reason },
        )
    }
}

/// Writes the file of what was taught, whole or not at all.
///
/// # Errors
/// [`FileError::Io`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    atomic_file::write(path, bytes)
        .map_err(|reason| FileError::Io { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::super::gallery::tests::{vector, view};
    use super::*;

    fn owner(model: &str) -> Owner {
        Owner { model: model.into(), weights: "ab".repeat(32), descriptors: "cd".repeat(32) }
    }

    fn memory(model: &str) -> Memory {
        let mut memory = Memory::new(owner(model), 16, 16);
        for (name, axis) in [("kitchen", 0), ("dock", 4)] {
            memory.places.teach(name, &vector(axis, 10.0), view(), 10);
        }
        memory.labels.teach("mug", &vector(2, 0.0), view(), 10);
        memory
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/places.bin");
        assert!(Memory::load(&path, &owner("m")).unwrap().is_none());
        write(&path, &memory("m").to_bytes().unwrap()).unwrap();
        assert_eq!(Memory::load(&path, &owner("m")).unwrap(), Some(memory("m")));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn who_writes_goes_on_with_what_was_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("places.bin");
        write(&path, &memory("m").to_bytes().unwrap()).unwrap();
        Memory::open(&path, Memory::new(owner("n"), 16, 16)).unwrap();
        assert!(!path.exists());
        assert_eq!(Memory::load_to_write(&path, &owner("m")).unwrap(), Some(memory("m")));
        assert!(path.exists());
        // Another model's stays where it is.
        assert!(Memory::load_to_write(&path, &owner("n")).is_err());
        assert_eq!(Memory::load(&path, &owner("m")).unwrap(), Some(memory("m")));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let bytes = memory("m").to_bytes().unwrap();
        for length in 0..bytes.len() {
            assert!(Memory::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1 << (index % 8);
            assert!(Memory::from_bytes(&damaged).is_err(), "{index}");
        }
    }

    #[test]
    fn what_is_not_taken_is_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("places.bin");
        let empty = |model: &str| Memory::new(owner(model), 16, 16);
        let mut bytes = memory("m").to_bytes().unwrap();
        bytes.truncate(bytes.len() - 7);
        for number in ["", ".2"] {
            std::fs::write(&path, &bytes).unwrap();
            let (opened, told) = Memory::open(&path, empty("m")).unwrap();
            assert!(opened.places.is_empty());
            assert!(told.unwrap().contains("by 7 bytes. The file is kept as"));
            assert!(!path.exists());
            let aside = folder.path().join(format!("places.bin.damaged{number}"));
            assert_eq!(std::fs::read(aside).unwrap(), bytes);
        }
    }

    #[test]
    fn places_come_back_with_their_model() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("places.bin");
        write(&path, &memory("m").to_bytes().unwrap()).unwrap();
        let (other, told) = Memory::open(&path, Memory::new(owner("n"), 16, 16)).unwrap();
        assert!(other.places.is_empty());
        let told = told.unwrap();
        assert!(
            told.contains("taught with model m-abababab-cdcdcdcd")
                && told.contains("again with n-"),
            "{told}"
        );
        write(&path, &memory("n").to_bytes().unwrap()).unwrap();
        let (back, told) = Memory::open(&path, Memory::new(owner("m"), 16, 16)).unwrap();
        assert_eq!(back, memory("m"));
        assert!(told.unwrap().contains("taught with model n-"));
        let (again, told) = Memory::open(&path, Memory::new(owner("m"), 16, 16)).unwrap();
        assert_eq!((again, told), (memory("m"), None));
    }
}
