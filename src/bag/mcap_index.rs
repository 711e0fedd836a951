//! Where an MCAP file keeps its messages, found by walking from record to record.
//!
//! The walk reads record headers and seeks over the rest, so it needs neither index nor summary,
//! and finds as much of a file that was cut off as of a whole one. Where the walk meets damage,
//! the chunk index of the summary, if there is one, tells where the next good chunk starts.
//! Source: <https://mcap.dev/spec>.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};

use mcap::records::op;

use crate::bag::mcap_record::{self, Channel, Schema, little_endian};

/// Opcode and length in front of every record.
pub(super) const RECORD_HEADER: u64 = 9;

/// Channel id, sequence, log time and publish time in front of every message.
pub(super) const MESSAGE_HEADER: u64 = 22;

/// Schemas, channels and statistics larger than this are refused.
pub(super) const MAX_DEFINITION_BYTES: u64 = 16 << 20;

/// Messages outside chunks are read in runs of about so many bytes.
const RUN_BYTES: u64 = 4 << 20;

/// A part of the file that holds messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where its records start, compressed or not.
    pub offset: u64,
    /// Bytes from there.
    pub length: u64,
    /// How they are packed.
    pub packing: Packing,
    /// First log time in it, as its header says.
    pub start: u64,
    /// Last log time in it, as its header says.
    pub end: u64,
    /// Channels with messages in it, if message indexes tell.
    pub channels: Option<BTreeSet<u16>>,
    /// Whether the file ends within it.
    pub is_cut_off: bool,
}

/// How the records of a segment are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packing {
    /// Records of the file itself.
    Bare,
    /// A chunk.
    Chunk {
        /// "", "lz4" or "zstd".
        compression: String,
        /// Bytes of its records, unpacked.
        unpacked: u64,
        /// CRC-32 of them, 0 for none.
        crc: u32,
    },
}

/// Something wrong at a place of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where the record starts.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
    /// Whether the file just ends there.
    pub is_cut_off: bool,
}

/// What a file holds and where.
#[derive(Debug, Default)]
pub struct McapIndex {
    /// By log time of their first message.
    pub segments: Vec<Segment>,
    /// By id.
    pub channels: BTreeMap<u16, Channel>,
    /// By id.
    pub schemas: BTreeMap<u16, Schema>,
    /// Messages a channel.
    pub counts: BTreeMap<u16, u64>,
    /// What was found wrong.
    pub damages: Vec<Damage>,
    /// Whether [`McapIndex::counts`] and [`McapIndex::channels`] are known to be whole.
    pub is_complete: bool,
}

impl McapIndex {
    /// Walks through a file of `length` bytes.
    ///
    /// # Errors
    /// Those of reading and seeking; damage is in [`McapIndex::damages`] instead.
    pub fn scan(file: &mut (impl Read + Seek), length: u64) -> std::io::Result<Self> {
        let mut walk = Walk { index: Self::default(), indexed: BTreeMap::new(), statistics: None };
        let after_magic = mcap::MAGIC.len() as u64;
        if let Err(mut damage) = walk.records(file, after_magic, length)? {
            if let Some(summary) = Walk::summary_start(file, length)? {
                walk.resume_from_summary(file, summary, damage.offset, length)?;
                damage.is_cut_off = false;
                damage.reason.push_str("; the index leads to the chunks after it");
            }
            walk.index.damages.push(damage);
        }
        Ok(walk.finish())
    }

    /// Whether a record tells of a schema or channel; takes it in.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn learn(&mut self, opcode: u8, body: &[u8]) -> Result<(), String> {
        if opcode == op::SCHEMA {
            let (id, schema) = mcap_record::schema(body)?;
            self.schemas.entry(id).or_insert(schema);
        } else if opcode == op::CHANNEL {
            let (id, channel) = mcap_record::channel(body)?;
            self.channels.entry(id).or_insert(channel);
        }
        Ok(())
    }
}

/// The state of a walk.
struct Walk {
    index: McapIndex,
    /// Messages a channel, as message indexes count them.
    indexed: BTreeMap<u16, u64>,
    /// Messages a channel, as the summary counts them.
    statistics: Option<BTreeMap<u16, u64>>,
}

impl Walk {
    /// Walks from `position` to the footer. The inner error tells where and why it had to stop.
    fn records(
        &mut self,
        file: &mut (impl Read + Seek),
        mut position: u64,
        length: u64,
    ) -> std::io::Result<Result<(), Damage>> {
        loop {
            let cut_off = |reason: String| Damage { offset: position, reason, is_cut_off: true };
            let left = length.saturating_sub(position);
            if left < RECORD_HEADER {
                return Ok(Err(cut_off("there is no footer".to_owned())));
            }
            file.seek(SeekFrom::Start(position))?;
            let mut header = [0; RECORD_HEADER as usize];
            file.read_exact(&mut header)?;
            let opcode = header[0];
            let body_length = little_endian(&header[1..]);
            let body = position + RECORD_HEADER;
            let is_cut_off = body_length > left - RECORD_HEADER;
            if opcode == 0 {
                let reason = "a record of type 0, which does not exist".to_owned();
                return Ok(Err(Damage { offset: position, reason, is_cut_off: false }));
            }
            if is_cut_off {
                if opcode == op::CHUNK {
                    let _ = self.chunk(file, body, left - RECORD_HEADER, true)?;
                }
                let missing = body_length - (left - RECORD_HEADER);
                let kind = if opcode == op::CHUNK { "chunk" } else { "record" };
                return Ok(Err(cut_off(format!(
                    "the last {missing} bytes of a {kind} are missing"
                ))));
            }
            let outcome = match opcode {
                op::FOOTER => return Ok(Ok(())),
                op::MESSAGE => self.message(file, position, body_length)?,
                op::CHUNK => self.chunk(file, body, body_length, false)?,
                op::MESSAGE_INDEX => self.message_index(file, body_length)?,
                op::SCHEMA | op::CHANNEL | op::STATISTICS => {
                    self.definition(file, opcode, body_length)?
                }
                _ => Ok(()),
            };
            if let Err(reason) = outcome {
                let damage = Damage { offset: position, reason, is_cut_off: false };
                self.index.damages.push(damage);
            }
            position = body + body_length;
        }
    }

    fn message(
        &mut self,
        file: &mut impl Read,
        position: u64,
        body_length: u64,
    ) -> std::io::Result<Result<(), String>> {
        if body_length < MESSAGE_HEADER {
            return Ok(Err(format!("a message of {body_length} bytes has no room for its header")));
        }
        let mut header = [0; MESSAGE_HEADER as usize];
        file.read_exact(&mut header)?;
        let channel = u16::from_le_bytes([header[0], header[1]]);
        let log_time = little_endian(&header[6..14]);
        *self.indexed.entry(channel).or_default() += 1;
        let length = RECORD_HEADER + body_length;
        match self.index.segments.last_mut() {
            Some(run)
                if run.packing == Packing::Bare
                    && run.offset + run.length == position
                    && run.length < RUN_BYTES =>
            {
                run.length += length;
                run.start = run.start.min(log_time);
                run.end = run.end.max(log_time);
                if let Some(channels) = &mut run.channels {
                    channels.insert(channel);
                }
            }
            _ => self.index.segments.push(Segment {
                offset: position,
                length,
                packing: Packing::Bare,
                start: log_time,
                end: log_time,
                channels: Some(BTreeSet::from([channel])),
                is_cut_off: false,
            }),
        }
        Ok(Ok(()))
    }

    fn chunk(
        &mut self,
        file: &mut impl Read,
        body: u64,
        body_length: u64,
        is_cut_off: bool,
    ) -> std::io::Result<Result<(), String>> {
        // Start, end, unpacked size, CRC, length of the compression's name.
        let mut fixed = [0; 32];
        if body_length < 40 {
            return Ok(Err(format!("a chunk of {body_length} bytes has no room for its header")));
        }
        file.read_exact(&mut fixed)?;
        let name_length =
            u64::from(u32::from_le_bytes([fixed[28], fixed[29], fixed[30], fixed[31]]));
        let header_length = 40 + name_length;
        if name_length > 64 || header_length > body_length {
            return Ok(Err(format!("a chunk's compression has a name of {name_length} bytes")));
        }
        let mut rest = vec![0; name_length as usize + 8];
        file.read_exact(&mut rest)?;
        let (name, size) = rest.split_at(name_length as usize);
        let packed = little_endian(size);
        let available = body_length - header_length;
        if packed > available && !is_cut_off {
            return Ok(Err(format!("a chunk of {available} bytes says it has {packed}")));
        }
        self.index.segments.push(Segment {
            offset: body + header_length,
            length: packed.min(available),
            packing: Packing::Chunk {
                compression: String::from_utf8_lossy(name).into_owned(),
                unpacked: little_endian(&fixed[16..24]),
                crc: u32::from_le_bytes([fixed[24], fixed[25], fixed[26], fixed[27]]),
            },
            start: little_endian(&fixed[..8]),
            end: little_endian(&fixed[8..16]),
            channels: None,
            is_cut_off,
        });
        Ok(Ok(()))
    }

    /// Counts a channel's messages in the chunk before.
    fn message_index(
        &mut self,
        file: &mut impl Read,
        body_length: u64,
    ) -> std::io::Result<Result<(), String>> {
        if body_length < 6 {
            return Ok(Err(format!("a message index of {body_length} bytes is too short")));
        }
        let mut head = [0; 6];
        file.read_exact(&mut head)?;
        let channel = u16::from_le_bytes([head[0], head[1]]);
        let entries = u64::from(u32::from_le_bytes([head[2], head[3], head[4], head[5]])) / 16;
        *self.indexed.entry(channel).or_default() += entries;
        if let Some(chunk) = self.index.segments.last_mut()
            && chunk.packing != Packing::Bare
        {
            chunk.channels.get_or_insert_default().insert(channel);
        }
        Ok(Ok(()))
    }

    fn definition(
        &mut self,
        file: &mut impl Read,
        opcode: u8,
        body_length: u64,
    ) -> std::io::Result<Result<(), String>> {
        if body_length > MAX_DEFINITION_BYTES {
            return Ok(Err(format!("a definition of {body_length} bytes is refused")));
        }
        let mut body = vec![0; body_length as usize];
        file.read_exact(&mut body)?;
        if opcode != op::STATISTICS {
            return Ok(self.index.learn(opcode, &body));
        }
        // A writer that does not count leaves them empty.
        let counts = mcap_record::channel_counts(&body);
        Ok(counts.map(|counts| self.statistics = Some(counts).filter(|counts| !counts.is_empty())))
    }

    /// Where the footer says that the summary starts.
    fn summary_start(file: &mut (impl Read + Seek), length: u64) -> std::io::Result<Option<u64>> {
        let footer_length = RECORD_HEADER + 20 + mcap::MAGIC.len() as u64;
        if length < footer_length {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(length - footer_length))?;
        let mut footer = [0; 37];
        file.read_exact(&mut footer)?;
        let is_footer = footer[0] == op::FOOTER && footer.ends_with(mcap::MAGIC);
        let start = little_endian(&footer[9..17]);
        Ok((is_footer && start != 0 && start < length).then_some(start))
    }

    /// Takes chunks after `resume` from the summary's chunk indexes, and the summary's channels.
    fn resume_from_summary(
        &mut self,
        file: &mut (impl Read + Seek),
        summary_start: u64,
        resume: u64,
        length: u64,
    ) -> std::io::Result<()> {
        let mut position = summary_start;
        while position + RECORD_HEADER <= length {
            file.seek(SeekFrom::Start(position))?;
            let mut header = [0; RECORD_HEADER as usize];
            file.read_exact(&mut header)?;
            let body_length = little_endian(&header[1..]);
            let opcode = header[0];
            let body = position + RECORD_HEADER;
            if opcode == op::FOOTER || body_length > length - body {
                break;
            }
            if matches!(opcode, op::SCHEMA | op::CHANNEL | op::STATISTICS) {
                // Damage in the summary too leaves what the walk has found.
                let _ = self.definition(file, opcode, body_length)?;
            } else if opcode == op::CHUNK_INDEX && body_length <= MAX_DEFINITION_BYTES {
                let mut index = vec![0; body_length as usize];
                file.read_exact(&mut index)?;
                if let Ok(start) = mcap_record::chunk_start(&index) {
                    self.indexed_chunk(file, start, resume, length)?;
                }
            }
            position = body + body_length;
        }
        Ok(())
    }

    fn indexed_chunk(
        &mut self,
        file: &mut (impl Read + Seek),
        start: u64,
        resume: u64,
        length: u64,
    ) -> std::io::Result<()> {
        if start <= resume || start.saturating_add(RECORD_HEADER) > length {
            return Ok(());
        }
        file.seek(SeekFrom::Start(start))?;
        let mut header = [0; RECORD_HEADER as usize];
        file.read_exact(&mut header)?;
        let body = start + RECORD_HEADER;
        let body_length = little_endian(&header[1..]);
        if header[0] == op::CHUNK && body_length <= length - body {
            let _ = self.chunk(file, body, body_length, false)?;
        }
        Ok(())
    }

    fn finish(self) -> McapIndex {
        let Self { mut index, indexed, statistics } = self;
        if !index.damages.is_empty() {
            // Some of the message indexes may be lost: a chunk may hold more than those that are left name.
            let chunks =
                index.segments.iter_mut().filter(|segment| segment.packing != Packing::Bare);
            chunks.for_each(|segment| segment.channels = None);
        }
        index.segments.sort_by_key(|segment| (segment.start, segment.offset));
        let has_all_indexes = index.segments.iter().all(|segment| segment.channels.is_some());
        let counts = statistics.as_ref().unwrap_or(&indexed);
        let knows_channels = counts.keys().all(|id| index.channels.contains_key(id));
        index.is_complete =
            knows_channels && index.damages.is_empty() && (statistics.is_some() || has_all_indexes);
        index.counts = statistics.unwrap_or(indexed);
        index
    }
}
