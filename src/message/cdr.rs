//! CDR as ROS 2 puts it on the wire and into bags: XCDR version 1, little or big endian.
//!
//! Four bytes of encapsulation (`00 01 00 00` little endian, `00 00 00 00` big endian), then the
//! fields in order, each aligned to its own size counted from after those four bytes. A string is
//! its length with the closing NUL (`uint32`), the bytes, the NUL; a sequence its count and the
//! elements. Source: OMG DDSI-RTPS 2.5, clause 10, and DDS-XTypes 1.3, clause 7.4.
//!
//! Nothing is copied and nothing is allocated by the reader: a length that the buffer cannot hold
//! is refused where it is read.

use thiserror::Error;

/// Bytes of the encapsulation header.
const ENCAPSULATION: usize = 4;

/// Why bytes are not the message that they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CdrError {
    /// The first bytes name no representation that is read here.
    #[error("encapsulation {0:02x?} is neither CDR little endian (00 01) nor big endian (00 00)")]
    Encapsulation(Vec<u8>),
    /// The message ends before the field does.
    #[error("field {field} needs {needed} bytes at offset {offset}, but {actual} are left")]
    Short {
        /// The field's name.
        field: &'static str,
        /// Where it starts, from the message's first byte.
        offset: usize,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that there are.
        actual: usize,
    },
    /// A string is not UTF-8, or lacks its NUL.
    #[error("field {field} at offset {offset} is not text: {reason}")]
    Text {
        /// The field's name.
        field: &'static str,
        /// Where its bytes start, from the message's first byte.
        offset: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Reads fields in order from a borrowed message.
#[derive(Debug, Clone)]
pub struct CdrReader<'a> {
    /// Everything after the encapsulation: alignment counts from its start.
    body: &'a [u8],
    position: usize,
    is_bigendian: bool,
}

macro_rules! read_number {
    ($($name:ident: $type:ty),*) => {$(
        #[doc = concat!("The next `", stringify!($type), "`.")]
        ///
        /// # Errors
        /// [`CdrError::Short`]
        pub fn $name(&mut self, field: &'static str) -> Result<$type, CdrError> {
            const SIZE: usize = size_of::<$type>();
            self.align(SIZE);
            let mut bytes = [0; SIZE];
            bytes.copy_from_slice(self.take(field, SIZE as u64)?);
            Ok(if self.is_bigendian {
                <$type>::from_be_bytes(bytes)
            } else {
                <$type>::from_le_bytes(bytes)
            })
        }
    )*};
}

impl<'a> CdrReader<'a> {
    /// Reads the encapsulation.
    ///
    /// # Errors
    /// [`CdrError::Encapsulation`] if it is another representation, or shorter than four bytes.
    pub fn new(message: &'a [u8]) -> Result<Self, CdrError> {
        let (is_bigendian, body) = match message {
            [0, 0, _, _, body @ ..] => (true, body),
            [0, 1, _, _, body @ ..] => (false, body),
            _ => {
                let start = message.iter().copied().take(ENCAPSULATION).collect();
                return Err(CdrError::Encapsulation(start));
            }
        };
        Ok(Self { body, position: 0, is_bigendian })
    }

    read_number!(u8: u8, u16: u16, i32: i32, u32: u32, f32: f32, f64: f64);

    /// A string, without its NUL. A length of 0, which some writers use for "", is read as "".
    ///
    /// # Errors
    /// [`CdrError::Short`], [`CdrError::Text`]
    pub fn string(&mut self, field: &'static str) -> Result<&'a str, CdrError> {
        let length = self.u32(field)?;
        let offset = self.offset();
        let bytes = self.take(field, u64::from(length))?;
        let text = match bytes {
            [] => bytes,
            [text @ .., 0] => text,
            _ => return Err(CdrError::Text { field, offset, reason: "it lacks its closing NUL" }),
        };
        std::str::from_utf8(text).map_err(|_| CdrError::Text {
            field,
            offset,
            reason: "it is not UTF-8",
        })
    }

    /// A `uint8[]`.
    ///
    /// # Errors
    /// [`CdrError::Short`]
    pub fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], CdrError> {
        let length = self.u32(field)?;
        self.take(field, u64::from(length))
    }

    /// The element count of a sequence whose elements take at least `least_bytes` each.
    ///
    /// # Errors
    /// [`CdrError::Short`] if so many elements cannot follow.
    pub fn count(&mut self, field: &'static str, least_bytes: usize) -> Result<usize, CdrError> {
        let count = self.u32(field)?;
        let needed = u64::from(count) * least_bytes as u64;
        if needed > (self.body.len() - self.position) as u64 {
            return Err(self.short(field, needed));
        }
        Ok(count as usize)
    }

    fn align(&mut self, size: usize) {
        self.position = self.position.next_multiple_of(size).min(self.body.len());
    }

    fn take(&mut self, field: &'static str, length: u64) -> Result<&'a [u8], CdrError> {
        let rest = &self.body[self.position..];
        match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
            Some(bytes) => {
                self.position += bytes.len();
                Ok(bytes)
            }
            None => Err(self.short(field, length)),
        }
    }

    fn short(&self, field: &'static str, needed: u64) -> CdrError {
        let actual = self.body.len() - self.position;
        CdrError::Short { field, offset: self.offset(), needed, actual }
    }

    fn offset(&self) -> usize {
        self.position + ENCAPSULATION
    }
}

/// Writes fields in order, little endian, as every current ROS 2 middleware does here.
#[derive(Debug, Clone)]
pub struct CdrWriter {
    message: Vec<u8>,
}

impl Default for CdrWriter {
    fn default() -> Self {
        Self { message: vec![0, 1, 0, 0] }
    }
}

macro_rules! write_number {
    ($($name:ident: $type:ty),*) => {$(
        #[doc = concat!("Appends a `", stringify!($type), "`.")]
        pub fn $name(&mut self, value: $type) -> &mut Self {
            self.align(size_of::<$type>());
            self.message.extend_from_slice(&value.to_le_bytes());
            self
        }
    )*};
}

impl CdrWriter {
    write_number!(u8: u8, i8: i8, u16: u16, i32: i32, u32: u32, f32: f32, f64: f64);

    /// Appends a string and its NUL. It ends at a NUL within, which C could not read past.
    pub fn string(&mut self, text: &str) -> &mut Self {
        let text = text.split('\0').next().unwrap_or_default();
        self.u32(length(text.len() + 1));
        self.message.extend_from_slice(text.as_bytes());
        self.u8(0)
    }

    /// Appends a `uint8[]`.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(length(bytes.len()));
        self.message.extend_from_slice(bytes);
        self
    }

    /// Appends a sequence's element count.
    pub fn count(&mut self, count: usize) -> &mut Self {
        self.u32(length(count))
    }

    /// Begins another message in the same memory.
    pub fn restart(&mut self) {
        self.message.truncate(ENCAPSULATION);
    }

    /// The message so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.message
    }

    /// The message.
    pub fn finish(self) -> Vec<u8> {
        self.message
    }

    fn align(&mut self, size: usize) {
        let body = self.message.len() - ENCAPSULATION;
        self.message.resize(ENCAPSULATION + body.next_multiple_of(size), 0);
    }
}

/// Lengths are `uint32` in CDR; what is written here is far shorter.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_from_after_the_encapsulation() {
        let mut writer = CdrWriter::default();
        writer.u8(1).u16(2).u8(3).u32(4).u8(5).f64(6.0);
        let message = writer.finish();
        assert_eq!(message.len(), 4 + 24, "1 + pad 1 + 2, 1 + pad 3 + 4, 1 + pad 3 + 8");
        let mut reader = CdrReader::new(&message).unwrap();
        assert_eq!(reader.u8("a").unwrap(), 1);
        assert_eq!(reader.u16("b").unwrap(), 2);
        assert_eq!(reader.u8("c").unwrap(), 3);
        assert_eq!(reader.u32("d").unwrap(), 4);
        assert_eq!(reader.u8("e").unwrap(), 5);
        assert_eq!(reader.f64("f").unwrap(), 6.0);
    }

    #[test]
    fn big_endian_is_read() {
        let message = [0, 0, 0, 0, 0, 0, 0, 3, b'h', b'i', 0, 0, 0, 0, 1, 2];
        let mut reader = CdrReader::new(&message).unwrap();
        assert_eq!(reader.string("text").unwrap(), "hi");
        assert_eq!(reader.u32("number").unwrap(), 0x0102);
    }

    #[test]
    fn refusals_name_field_and_offset() {
        let check = |message: &[u8], expected: &str| {
            let read = CdrReader::new(message).and_then(|mut reader| {
                reader.u8("flag")?;
                reader.string("name").map(str::len)
            });
            let text = read.unwrap_err().to_string();
            assert!(text.contains(expected), "{text:?} lacks {expected:?}");
        };
        check(&[], "encapsulation []");
        check(&[0, 7, 0, 0, 1], "encapsulation [00, 07, 00, 00]");
        check(&[0, 1, 0, 0], "field flag needs 1 bytes at offset 4, but 0 are left");
        check(&[0, 1, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 65], "field name needs 9 bytes at offset 12");
        check(&[0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 65], "lacks its closing NUL");
        check(&[0, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0xff, 0], "not UTF-8");
        check(&[0, 1, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255, 0], "needs 4294967295 bytes");
    }

    #[test]
    fn a_count_that_cannot_follow_is_refused_before_anything_is_allocated() {
        let mut writer = CdrWriter::default();
        writer.count(1_000_000).f64(1.0);
        let message = writer.finish();
        let error = CdrReader::new(&message).unwrap().count("values", 8).unwrap_err();
        assert!(matches!(error, CdrError::Short { needed: 8_000_000, actual: 12, .. }), "{error}");
    }
}
