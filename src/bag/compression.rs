//! zstd around whole files and around single messages, as `ros2 bag record` puts it there.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempPath;

use crate::bag::{BagError, MAX_MESSAGE_BYTES};

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A file of a bag, unpacked if need be.
#[derive(Debug, Clone)]
pub struct Source {
    /// As the user knows it, for errors.
    pub path: PathBuf,
    /// Where its plain bytes are: the same, or a temporary file.
    pub plain: PlainPath,
    /// Its first bytes, at most 16.
    pub start: Vec<u8>,
}

/// Where the plain bytes are; a temporary file goes away with its last owner.
#[derive(Debug, Clone)]
pub enum PlainPath {
    /// The file itself.
    Own(PathBuf),
    /// Unpacked from it.
    Temporary(Arc<TempPath>),
}

impl AsRef<Path> for PlainPath {
    fn as_ref(&self) -> &Path {
        match self {
            Self::Own(path) => path,
            Self::Temporary(path) => path,
        }
    }
}

/// Opens a file of a bag; one that is a zstd frame is unpacked into the temporary folder first.
///
/// # Errors
/// [`BagError::Io`]; [`BagError::Damaged`] if it does not unpack.
pub fn open(path: &Path) -> Result<Source, BagError> {
    let io = |source| BagError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let start = first_bytes(&mut file).map_err(io)?;
    if !start.starts_with(&ZSTD_MAGIC) {
        return Ok(Source { path: path.to_owned(), plain: PlainPath::Own(path.to_owned()), start });
    }
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut plain = tempfile::NamedTempFile::new().map_err(io)?;
    let unpacked = zstd::stream::read::Decoder::new(&mut file)
        .and_then(|mut decoder| std::io::copy(&mut decoder, &mut plain));
    if let Err(error) = unpacked {
        // A recorder that was killed leaves a frame that ends too early: its start is still good.
        tracing::warn!("{}: zstd: {error}; what unpacks is used", path.display());
    }
    plain.seek(SeekFrom::Start(0)).map_err(io)?;
    let start = first_bytes(plain.as_file_mut()).map_err(io)?;
    let plain = PlainPath::Temporary(Arc::new(plain.into_temp_path()));
    Ok(Source { path: path.to_owned(), plain, start })
}

fn first_bytes(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.take(16).read_to_end(&mut start)?;
    Ok(start)
}

/// Unpacks a message that is a zstd frame; others are given back as they are. No CDR message
/// starts like a zstd frame.
///
/// # Errors
/// What zstd says, or that the message is larger than [`MAX_MESSAGE_BYTES`].
pub fn unpack_message(payload: Vec<u8>) -> Result<Vec<u8>, String> {
    if !payload.starts_with(&ZSTD_MAGIC) {
        return Ok(payload);
    }
    let decoder = zstd::stream::read::Decoder::with_buffer(payload.as_slice());
    let decoder = decoder.map_err(|error| format!("zstd: {error}"))?;
    let mut message = Vec::new();
    decoder
        .take(MAX_MESSAGE_BYTES + 1)
        .read_to_end(&mut message)
        .map_err(|error| format!("zstd: {error}"))?;
    if message.len() as u64 > MAX_MESSAGE_BYTES {
        return Err(format!("it unpacks to more than {MAX_MESSAGE_BYTES} bytes"));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_messages_stay_and_packed_ones_are_unpacked() {
        assert_eq!(unpack_message(vec![0, 1, 0, 0, 7]).unwrap(), [0, 1, 0, 0, 7]);
        let packed = zstd::encode_all(&[0, 1, 0, 0, 9][..], 1).unwrap();
        assert_eq!(unpack_message(packed.clone()).unwrap(), [0, 1, 0, 0, 9]);
        assert!(unpack_message(packed[..packed.len() - 2].to_vec()).is_err());
    }

    #[test]
    fn a_message_that_unpacks_without_end_is_refused() {
        let zeros = std::io::repeat(0).take(MAX_MESSAGE_BYTES + 1);
        let bomb = zstd::encode_all(zeros, 1).unwrap();
        assert!(bomb.len() < 100_000);
        assert!(unpack_message(bomb).unwrap_err().contains("more than"));
    }
}
