//! zstd around whole files and around single messages, as `ros2 bag record` puts it there.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
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
    let mut decoder = zstd::stream::read::Decoder::new(&mut file).map_err(io)?;
    let unpacked = copy(&mut decoder, &mut plain)
        .map_err(|source| BagError::Io { path: plain.path().to_owned(), source })?;
    if let Err(error) = unpacked {
        // A recorder that was killed leaves a frame that ends too early: its start is still good.
        tracing::warn!("{}: zstd: {error}; what unpacks is used", path.display());
    }
    plain.seek(SeekFrom::Start(0)).map_err(io)?;
    let start = first_bytes(plain.as_file_mut()).map_err(io)?;
    let plain = PlainPath::Temporary(Arc::new(plain.into_temp_path()));
    Ok(Source { path: path.to_owned(), plain, start })
}

/// Copies up to the end, or to where reading fails: the inner error.
///
/// # Errors
/// Those of writing, such as a full disk.
fn copy(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<Result<(), std::io::Error>> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(Ok(())),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error)),
        }
    }
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
    fn a_full_disk_is_no_fault_of_the_recording() {
        let packed = zstd::encode_all(&[7; 5000][..], 1).unwrap();
        let decoder = |bytes: usize| zstd::stream::read::Decoder::new(&packed[..bytes]).unwrap();
        let mut small = [0_u8; 1000];
        let error = copy(&mut decoder(packed.len()), &mut &mut small[..]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WriteZero);
        let mut all = Vec::new();
        assert!(copy(&mut decoder(packed.len()), &mut all).unwrap().is_ok());
        assert_eq!(all, [7; 5000]);
        let mut start = Vec::new();
        assert!(copy(&mut decoder(packed.len() - 1), &mut start).unwrap().is_err());
    }

    #[test]
    fn a_message_that_unpacks_without_end_is_refused() {
        let zeros = std::io::repeat(0).take(MAX_MESSAGE_BYTES + 1);
        let bomb = zstd::encode_all(zeros, 1).unwrap();
        assert!(bomb.len() < 100_000);
        assert!(unpack_message(bomb).unwrap_err().contains("more than"));
    }
}
