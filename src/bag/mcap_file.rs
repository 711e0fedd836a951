//! Messages of an MCAP file by log time, a few chunks in memory at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use mcap::records::op;

use crate::bag::compression::{PlainPath, Source, unpack_message};
use crate::bag::mcap_index::{
    Damage, MAX_DEFINITION_BYTES, MESSAGE_HEADER, McapIndex, Packing, RECORD_HEADER, Segment,
};
use crate::bag::mcap_record::{Channel, little_endian};
use crate::bag::{BagError, MAX_MESSAGE_BYTES, Message, Messages, Selection, Topic};

/// Selected messages that wait in memory for their turn, at most. Chunks that overlap further in
/// time are read after that, their messages then come late.
const MAX_WAITING_BYTES: u64 = 512 << 20;

/// An MCAP file, indexed.
#[derive(Debug)]
pub struct McapFile {
    path: PathBuf,
    plain: PlainPath,
    index: McapIndex,
}

impl McapFile {
    pub(super) fn open(source: Source) -> Result<Self, BagError> {
        let Source { path, plain, .. } = source;
        let io = |source| BagError::Io { path: path.clone(), source };
        let file = File::open(&plain).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut file = BufReader::with_capacity(4096, file);
        let mut index = McapIndex::scan(&mut file, length).map_err(io)?;
        if !index.is_complete {
            learn_from_segments(&mut file, &mut index);
        }
        Ok(Self { path, plain, index })
    }

    pub(super) fn take_problems(&mut self) -> Vec<BagError> {
        let damages = std::mem::take(&mut self.index.damages);
        damages.into_iter().map(|damage| error(&self.path, damage)).collect()
    }

    pub(super) fn topics(&self) -> Vec<Topic> {
        let mut topics = BTreeMap::<&str, Topic>::new();
        for (id, channel) in &self.index.channels {
            let count = self.index.counts.get(id).copied().unwrap_or(0);
            if let Some(known) = topics.get_mut(channel.topic.as_str()) {
                known.count += count;
                continue;
            }
            let schema = self.index.schemas.get(&channel.schema);
            let qos = channel.metadata.get("offered_qos_profiles");
            let topic = Topic {
                name: channel.topic.clone(),
                ros_type: schema.map(|schema| schema.name.clone()).unwrap_or_default(),
                count,
                serialization: channel.serialization.clone(),
                offered_qos_profiles: qos.cloned().unwrap_or_default(),
                definition: schema
                    .map(|schema| (schema.encoding.clone(), schema.text.clone()))
                    .unwrap_or_default(),
            };
            topics.insert(&channel.topic, topic);
        }
        topics.into_values().collect()
    }

    pub(super) fn span(&self) -> Option<(u64, u64)> {
        // A chunk of definitions alone has the times 0.
        let has_times = |segment: &&Segment| (segment.start, segment.end) != (0, 0);
        let spans = self.index.segments.iter().filter(has_times);
        let spans = spans.map(|segment| (segment.start, segment.end));
        spans.reduce(|(start, end), (other_start, other_end)| {
            (start.min(other_start), end.max(other_end))
        })
    }

    pub(super) fn messages(&self, selection: &Selection) -> Result<Messages, BagError> {
        let io = |source| BagError::Io { path: self.path.clone(), source };
        let file = BufReader::new(File::open(&self.plain).map_err(io)?);
        // A temporary file that goes away while it is open stays readable.
        Ok(Box::new(McapMessages::new(file, self.path.clone(), &self.index, selection)))
    }
}

fn error(path: &std::path::Path, damage: Damage) -> BagError {
    let Damage { offset, reason, is_cut_off } = damage;
    let path = path.to_owned();
    if is_cut_off {
        BagError::CutOff { path, offset, reason }
    } else {
        BagError::Damaged { path, offset, reason }
    }
}

/// Reads all segments for their channels and counts, for files without a usable index. Damage is
/// told when the messages are read.
pub fn learn_from_segments(file: &mut (impl Read + Seek), index: &mut McapIndex) {
    let mut counts = BTreeMap::<u16, u64>::new();
    for number in 0..index.segments.len() {
        let segment = index.segments[number].clone();
        let mut times: Option<(u64, u64)> = None;
        let _ = read_segment(file, &segment, &mut |opcode, length, body| {
            match opcode {
                op::MESSAGE if length >= MESSAGE_HEADER => {
                    let mut header = [0; 14];
                    body.read_exact(&mut header)?;
                    *counts.entry(u16::from_le_bytes([header[0], header[1]])).or_default() += 1;
                    let time = little_endian(&header[6..]);
                    let (start, end) = times.unwrap_or((time, time));
                    times = Some((start.min(time), end.max(time)));
                }
                op::SCHEMA | op::CHANNEL if length <= MAX_DEFINITION_BYTES => {
                    let mut definition = Vec::new();
                    body.read_to_end(&mut definition)?;
                    let _ = index.learn(opcode, &definition);
                }
                _ => {}
            }
            Ok(())
        });
        // A chunk is given its times when it is closed.
        if segment.is_cut_off
            && let Some((start, end)) = times
        {
            (index.segments[number].start, index.segments[number].end) = (start, end);
        }
    }
    index.segments.sort_by_key(|segment| (segment.start, segment.offset));
    index.counts = counts;
}

/// Calls `visit` with opcode, length and body of each record of a segment, and checks the CRC at
/// the end. What `visit` leaves of a body is skipped.
fn read_segment(
    file: &mut (impl Read + Seek),
    segment: &Segment,
    visit: &mut dyn FnMut(u8, u64, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    file.seek(SeekFrom::Start(segment.offset))?;
    let packed = file.take(segment.length);
    let (reader, unpacked, expected_crc): (Box<dyn Read + '_>, u64, u32) = match &segment.packing {
        Packing::Bare => (Box::new(packed), segment.length, 0),
        Packing::Chunk { compression, unpacked, crc } => {
            let reader: Box<dyn Read> = match compression.as_str() {
                "" => Box::new(packed),
                "zstd" => Box::new(zstd::stream::read::Decoder::new(packed)?),
                "lz4" => Box::new(BufReader::new(lz4::Decoder::new(packed)?)),
                other => return Err(invalid(format!("compression {other:?} is not known"))),
            };
            (reader, *unpacked, *crc)
        }
    };
    let mut records = Counted { reader, crc: crc32fast::Hasher::new(), left: unpacked };
    while records.left > 0 {
        let mut header = [0; RECORD_HEADER as usize];
        records.read_exact(&mut header)?;
        let length = little_endian(&header[1..]);
        if length > records.left {
            let left = records.left;
            return Err(invalid(format!("a record of {length} bytes where {left} are left")));
        }
        let mut body = (&mut records).take(length);
        visit(header[0], length, &mut body)?;
        let unread = body.limit();
        let skipped = io::copy(&mut body, &mut io::sink())?;
        if skipped < unread {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let crc = records.crc.finalize();
    if expected_crc != 0 && crc != expected_crc {
        return Err(invalid(format!("CRC {crc:08x} where the chunk says {expected_crc:08x}")));
    }
    Ok(())
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Counts what is read against what was promised, and sums it up.
struct Counted<R> {
    reader: R,
    crc: crc32fast::Hasher,
    left: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.reader.read(&mut buffer[..most])?;
        self.crc.update(&buffer[..count]);
        self.left -= count as u64;
        Ok(count)
    }
}

/// A message that waits for its turn; ordered by log time, then by its place in the file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    log_time: u64,
    place: u64,
    publish_time: u64,
    channel: u16,
    payload: Vec<u8>,
}

/// The selected messages of an MCAP file by log time.
pub struct McapMessages<R> {
    file: R,
    path: PathBuf,
    topics: BTreeMap<u16, Arc<str>>,
    selection: Selection,
    segments: VecDeque<Segment>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    waiting_bytes: u64,
    next_place: u64,
    errors: VecDeque<BagError>,
}

impl<R: Read + Seek> McapMessages<R> {
    /// Reads `file`, which `index` was made of; `path` is for errors.
    pub fn new(file: R, path: PathBuf, index: &McapIndex, selection: &Selection) -> Self {
        let wanted = |channel: &Channel| selection.has_topic(&channel.topic);
        let channels = index.channels.iter().filter(|(_, channel)| wanted(channel));
        let topics: BTreeMap<u16, Arc<str>> =
            channels.map(|(id, channel)| (*id, channel.topic.as_str().into())).collect();
        let has_wanted =
            |channels: &BTreeSet<u16>| channels.iter().any(|id| topics.contains_key(id));
        let segments = index.segments.iter().filter(|segment| {
            // Times and channels of a segment that is cut off are only partly known.
            segment.is_cut_off
                || (segment.start <= selection.to
                    && segment.end >= selection.from
                    && segment.channels.as_ref().is_none_or(has_wanted))
        });
        Self {
            file,
            path,
            segments: segments.cloned().collect(),
            topics,
            selection: selection.clone(),
            waiting: BinaryHeap::new(),
            waiting_bytes: 0,
            next_place: 0,
            errors: VecDeque::new(),
        }
    }

    /// Reads segments until none can hold a message that comes before the first one waiting.
    fn load(&mut self) {
        while let Some(next) = self.segments.front() {
            let is_due = self.waiting.peek().is_none_or(|Reverse(first)| {
                next.start <= first.log_time && self.waiting_bytes < MAX_WAITING_BYTES
            });
            if !is_due {
                return;
            }
            if let Some(segment) = self.segments.pop_front() {
                self.load_segment(&segment);
            }
        }
    }

    fn load_segment(&mut self, segment: &Segment) {
        let Self { file, path, topics, selection, next_place, errors, .. } = self;
        let mut loaded = Vec::new();
        let mut bytes = 0;
        let read = read_segment(file, segment, &mut |opcode, length, body| {
            if opcode != op::MESSAGE {
                return Ok(());
            }
            if length < MESSAGE_HEADER {
                return Err(invalid(format!("a message of {length} bytes lacks its header")));
            }
            let mut header = [0; MESSAGE_HEADER as usize];
            body.read_exact(&mut header)?;
            let channel = u16::from_le_bytes([header[0], header[1]]);
            let log_time = little_endian(&header[6..14]);
            let Some(topic) = topics.get(&channel) else { return Ok(()) };
            if !selection.has_time(log_time) {
                return Ok(());
            }
            let length = length - MESSAGE_HEADER;
            if length > MAX_MESSAGE_BYTES || bytes + length > MAX_WAITING_BYTES {
                let reason = format!(
                    "a message of {length} bytes is left out; at most {MAX_MESSAGE_BYTES} are read, and {MAX_WAITING_BYTES} of a chunk"
                );
                let (path, topic) = (path.clone(), topic.to_string());
                errors.push_back(BagError::Message { path, topic, log_time, reason });
                return Ok(());
            }
            // Memory is taken as bytes arrive, not as the header promises them.
            let mut payload = Vec::with_capacity(length.min(1 << 20) as usize);
            body.read_to_end(&mut payload)?;
            if (payload.len() as u64) < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes += length;
            *next_place += 1;
            let publish_time = little_endian(&header[14..22]);
            loaded.push(Waiting { log_time, place: *next_place, publish_time, channel, payload });
            Ok(())
        });
        if let Err(error) = read
            && !segment.is_cut_off
        {
            // Which of its messages are whole is not known once the chunk is not.
            let reason = format!(
                "a chunk of {} bytes cannot be unpacked: {error}; its messages are left out",
                segment.length
            );
            let damage = Damage { offset: segment.offset, reason, is_cut_off: false };
            errors.push_back(self::error(path, damage));
            return;
        }
        self.waiting_bytes += bytes;
        self.waiting.extend(loaded.into_iter().map(Reverse));
    }
}

impl<R: Read + Seek> Iterator for McapMessages<R> {
    type Item = Result<Message, BagError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.load();
        if let Some(error) = self.errors.pop_front() {
            return Some(Err(error));
        }
        let Reverse(first) = self.waiting.pop()?;
        self.waiting_bytes -= first.payload.len() as u64;
        let topic = self.topics.get(&first.channel)?.clone();
        let Waiting { log_time, publish_time, payload, .. } = first;
        let unpacked = unpack_message(payload).map_err(|reason| BagError::Message {
            path: self.path.clone(),
            topic: topic.to_string(),
            log_time,
            reason,
        });
        Some(unpacked.map(|payload| Message { topic, log_time, publish_time, payload }))
    }
}
