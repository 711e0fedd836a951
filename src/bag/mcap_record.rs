//! The MCAP records that tell what a file holds, read from their borrowed bytes.
//!
//! The `mcap` crate's own parser takes as much memory for a string as its length claims, which is
//! up to 4 GiB for a file of a hundred bytes. Here a length that the record cannot hold is refused.

use std::collections::BTreeMap;

/// A channel with its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its topic.
    pub topic: String,
    /// How its messages are serialised.
    pub serialization: String,
    /// Key and value pairs, `offered_qos_profiles` among them.
    pub metadata: BTreeMap<String, String>,
    /// Its schema, 0 for none.
    pub schema: u16,
}

/// A message definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The type's name.
    pub name: String,
    /// `ros2msg`, `ros2idl`.
    pub encoding: String,
    /// The definition.
    pub text: String,
}

/// Reads fields in order.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let short = || format!("a field of {length} bytes where {} are left", self.0.len());
        let (field, rest) = self.0.split_at_checked(length).ok_or_else(short)?;
        self.0 = rest;
        Ok(field)
    }

    fn u16(&mut self) -> Result<u16, String> {
        Ok(little_endian(self.take(2)?) as u16)
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(little_endian(self.take(8)?))
    }

    /// Bytes with their length in front.
    fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = little_endian(self.take(4)?) as usize;
        self.take(length)
    }

    fn text(&mut self) -> Result<String, String> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }
}

/// A Schema record: its id and itself.
pub(super) fn schema(body: &[u8]) -> Result<(u16, Schema), String> {
    let mut fields = Fields(body);
    let id = fields.u16()?;
    Ok((id, Schema { name: fields.text()?, encoding: fields.text()?, text: fields.text()? }))
}

/// A Channel record: its id and itself.
pub(super) fn channel(body: &[u8]) -> Result<(u16, Channel), String> {
    let mut fields = Fields(body);
    let (id, schema) = (fields.u16()?, fields.u16()?);
    let (topic, serialization) = (fields.text()?, fields.text()?);
    let mut pairs = Fields(fields.bytes()?);
    let mut metadata = BTreeMap::new();
    while !pairs.0.is_empty() {
        metadata.insert(pairs.text()?, pairs.text()?);
    }
    Ok((id, Channel { topic, serialization, metadata, schema }))
}

/// Messages a channel, of a Statistics record.
pub(super) fn channel_counts(body: &[u8]) -> Result<BTreeMap<u16, u64>, String> {
    let mut fields = Fields(body);
    // Counts of messages, schemas, channels, attachments, metadata and chunks; start and end.
    fields.take(8 + 2 + 4 + 4 + 4 + 4 + 8 + 8)?;
    let mut pairs = Fields(fields.bytes()?);
    let mut counts = BTreeMap::new();
    while !pairs.0.is_empty() {
        counts.insert(pairs.u16()?, pairs.u64()?);
    }
    Ok(counts)
}

/// Where the chunk of a ChunkIndex record starts.
pub(super) fn chunk_start(body: &[u8]) -> Result<u64, String> {
    let mut fields = Fields(body);
    // First and last log time.
    fields.take(16)?;
    fields.u64()
}

/// Up to eight bytes as a number.
pub(super) fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_longer_than_its_record_is_refused() {
        let body = [7, 0, 0x93, 0xff, 0xff, 0xfb, b'a', b'b'];
        assert_eq!(schema(&body).unwrap_err(), "a field of 4227858323 bytes where 2 are left");
        assert!(channel(&body).is_err() && channel_counts(&body).is_err());
        assert!(chunk_start(&body).is_err());
    }

    #[test]
    fn fields_are_where_the_specification_has_them() {
        let body = [7, 0, 1, 0, 0, 0, b'n', 2, 0, 0, 0, b'e', b'c', 1, 0, 0, 0, b't'];
        let text = |text: &str| text.to_owned();
        let expected = Schema { name: text("n"), encoding: text("ec"), text: text("t") };
        assert_eq!(schema(&body), Ok((7, expected)));
    }
}
