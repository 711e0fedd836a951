//! Bags written here, whole, cut and damaged, are read back.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use mcap::records::MessageHeader;
use mcap::{Compression, WriteOptions};
use proptest::prelude::*;
use rusqlite::Connection;

use super::mcap_file::{McapMessages, learn_from_segments};
use super::mcap_index::McapIndex;
use super::writer::BagWriter;
use super::*;
use crate::message::{Header, Image, RosMessage, Stamp, Text};

const SECOND: u64 = 1_000_000_000;

/// A grey picture whose first pixel tells which one it is.
fn picture(number: u8) -> Vec<u8> {
    let header = Header { stamp: Stamp { sec: i32::from(number), nanosec: 5 }, frame_id: "camera" };
    let mut data = [7; 64 * 48];
    data[0] = number;
    let image = Image {
        header,
        height: 48,
        width: 64,
        encoding: "mono8",
        is_bigendian: false,
        step: 64,
        data: &data,
    };
    image.to_cdr()
}

/// An MCAP file of `count` pictures a second apart, written in pairs in the wrong order, and as
/// many strings.
fn mcap_file(options: WriteOptions, count: u8) -> Vec<u8> {
    let mut writer = options.profile("ros2").create(Cursor::new(Vec::new())).unwrap();
    let metadata = BTreeMap::new();
    let mut add = |topic: &str, ros_type: &str| {
        let text = crate::message::definition::definition(ros_type).unwrap();
        let schema = writer.add_schema(ros_type, "ros2msg", text.as_bytes()).unwrap();
        writer.add_channel(schema, topic, "cdr", &metadata).unwrap()
    };
    let image = add("/camera/image_raw", Image::TYPE);
    let text = add("/place", Text::TYPE);
    for number in 0..count {
        let number = number ^ 1;
        let time = SECOND + u64::from(number) * SECOND;
        let mut put = |channel_id, payload: &[u8]| {
            let header =
                MessageHeader { channel_id, sequence: 0, log_time: time, publish_time: time };
            writer.write_to_known_channel(&header, payload).unwrap();
        };
        put(image, &picture(number));
        put(text, &Text("kitchen").to_cdr());
    }
    writer.finish().unwrap();
    writer.into_inner().into_inner()
}

/// With its first chunk, which is not compressed, as a writer leaves it that is ended while the chunk is open.
fn with_open_chunk(file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    let mut at = 8;
    while file[at] != mcap::records::op::CHUNK {
        at += 9 + u64::from_le_bytes(file[at + 1..at + 9].try_into().unwrap()) as usize;
    }
    let body = at + 9;
    file[at + 1..body].fill(0xff);
    file[body..body + 16].fill(0); // start, end
    file[body + 16..body + 28].fill(0xff); // unpacked size, CRC
    file[body + 32..body + 40].fill(0xff); // size, after a compression without a name
    file
}

/// The first pixel of each picture in the order in which the bag gives them, and the errors.
fn pictures(path: &Path) -> (Vec<u8>, Vec<String>) {
    let bag = Bag::open(path).unwrap();
    let mut errors: Vec<String> = bag.problems().iter().map(ToString::to_string).collect();
    let mut numbers = Vec::new();
    for message in bag.messages(&Selection::topics(["/camera/image_raw"])).unwrap() {
        match message {
            Ok(message) => numbers.push(Image::read(&message.payload).unwrap().data[0]),
            Err(error) => errors.push(error.to_string()),
        }
    }
    (numbers, errors)
}

fn pictures_of(bytes: &[u8]) -> (Vec<u8>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.mcap");
    std::fs::write(&path, bytes).unwrap();
    pictures(&path)
}

fn chunked() -> WriteOptions {
    WriteOptions::new().chunk_size(Some(8000)).compression(Some(Compression::Zstd))
}

#[test]
fn every_kind_of_mcap_is_read_in_log_time_order() {
    let bare = chunked().emit_summary_records(false).emit_message_indexes(false);
    let kinds = [
        ("zstd", chunked()),
        ("lz4", chunked().compression(Some(Compression::Lz4))),
        ("uncompressed", chunked().compression(None)),
        ("without chunks", WriteOptions::new().use_chunks(false)),
        ("without summary", chunked().emit_summary_records(false)),
        ("without any index", bare.clone()),
        ("one big chunk", WriteOptions::new()),
    ];
    for (kind, options) in kinds {
        let file = mcap_file(options, 20);
        assert_eq!(pictures_of(&file), ((0..20).collect(), vec![]), "{kind}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bare.mcap");
    std::fs::write(&path, mcap_file(bare, 20)).unwrap();
    let bag = Bag::open(&path).unwrap();
    assert_eq!(bag.topic("/camera/image_raw").unwrap().count, 20);
    assert_eq!(bag.topic("/place").unwrap().ros_type, "std_msgs/msg/String");
    assert_eq!(bag.span(), Some((SECOND, 20 * SECOND)));
}

#[test]
fn topics_and_times_select() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.mcap");
    std::fs::write(&path, mcap_file(chunked(), 20)).unwrap();
    let bag = Bag::open(&path).unwrap();
    let count = |selection: &Selection| bag.messages(selection).unwrap().count();
    assert_eq!(count(&Selection::ALL), 40);
    assert_eq!(count(&Selection::topics(["/place"])), 20);
    assert_eq!(count(&Selection::topics(["/nothing"])), 0);
    assert_eq!(count(&Selection { from: 5 * SECOND, to: 7 * SECOND, ..Selection::ALL }), 6);
}

#[test]
fn a_file_that_was_cut_off_gives_what_is_there() {
    for options in [chunked(), chunked().compression(None), WriteOptions::new().use_chunks(false)] {
        let file = mcap_file(options, 20);
        let mut last = 21;
        for keep in [file.len() - 40, file.len() * 3 / 4, file.len() / 2, file.len() / 4, 200] {
            let (numbers, errors) = pictures_of(&file[..keep]);
            assert!(numbers.len() < last + 1 && numbers.is_sorted(), "{keep}: {numbers:?}");
            assert!(errors.iter().any(|error| error.contains("cut off at byte")), "{errors:?}");
            last = numbers.len();
        }
        assert!(last < 20, "a short piece cannot hold everything");
    }
    // Within its first chunk, whose times are not yet written.
    let file = mcap_file(WriteOptions::new().compression(None).chunk_size(None), 20);
    let (numbers, _) = pictures_of(&with_open_chunk(&file)[..file.len() / 2]);
    assert!(numbers.len() >= 7, "{numbers:?}");
    let file = mcap_file(chunked().compression(None), 20);
    let (numbers, _) = pictures_of(&file[..file.len() / 2]);
    assert!(numbers.len() >= 7, "half a file holds nearly half of its pictures: {numbers:?}");
}

#[test]
fn a_damaged_chunk_is_named_and_left_out() {
    let mut file = mcap_file(chunked().compression(None), 20);
    let middle = file.len() / 2;
    file[middle] ^= 0xff;
    let (numbers, errors) = pictures_of(&file);
    assert!((14..20).contains(&numbers.len()), "{numbers:?}");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("test.mcap: damaged at byte") && errors[0].contains("CRC"));
}

#[test]
fn after_a_damaged_record_length_the_summary_shows_the_way() {
    let mut file = mcap_file(chunked().compression(None), 20);
    let chunk = (8 + 9..file.len() - 9)
        .filter(|&at| file[at] == mcap::records::op::CHUNK)
        .filter(|&at| file[at + 5..at + 9] == [0; 4] && file[at + 3..at + 5] == [0; 2])
        .nth(2)
        .unwrap();
    file[chunk + 8] = 0x70;
    let (numbers, errors) = pictures_of(&file);
    assert!((10..=20).contains(&numbers.len()), "{numbers:?} {errors:?}");
    assert_eq!(numbers.last(), Some(&19), "the chunks after it are found");
    assert!(errors.len() == 1 && errors[0].contains("the index leads"), "{errors:?}");
}

#[test]
fn what_is_no_bag_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Bag::open(&path).unwrap_err().to_string()
    };
    assert!(refusal("empty.mcap", b"").contains("it is empty"));
    assert!(refusal("text.mcap", b"hello").contains("neither MCAP nor sqlite3"));
    let cut = refusal("cut.db3", b"SQLite format 3\0 and no more");
    assert!(cut.contains("cut.db3: sqlite3: "), "{cut}");
    let missing = Bag::open(&folder.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("No such file"), "{missing}");
    let empty = tempfile::tempdir().unwrap();
    let error = Bag::open(empty.path()).unwrap_err().to_string();
    assert!(error.contains("no .mcap or .db3"), "{error}");
}

fn sqlite(path: &Path, numbers: impl IntoIterator<Item = u8>, pack: bool) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
               serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);
             CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,
               timestamp INTEGER NOT NULL, data BLOB NOT NULL);
             CREATE INDEX timestamp_idx ON messages (timestamp ASC);
             INSERT INTO topics VALUES (1, '/camera/image_raw', 'sensor_msgs/msg/Image', 'cdr', ''),
               (2, '/place', 'std_msgs/msg/String', 'cdr', '');",
        )
        .unwrap();
    for number in numbers {
        let payload = picture(number);
        let payload = if pack { zstd::encode_all(&payload[..], 1).unwrap() } else { payload };
        let time = (1 + i64::from(number)) * 1_000_000_000;
        let insert = "INSERT INTO messages(topic_id, timestamp, data) VALUES (?1, ?2, ?3)";
        connection.execute(insert, (1, time, payload)).unwrap();
        connection.execute(insert, (2, time, Text("hall").to_cdr())).unwrap();
    }
}

#[test]
fn split_sqlite_bags_are_read_in_order_plain_and_packed() {
    for (is_file_packed, is_message_packed) in [(false, false), (false, true), (true, false)] {
        let folder = tempfile::tempdir().unwrap();
        let mut names = Vec::new();
        for (part, numbers) in [0..7, 7..12, 12..20].into_iter().enumerate() {
            let mut path = folder.path().join(format!("bag_{part}.db3"));
            sqlite(&path, numbers.rev(), is_message_packed);
            if is_file_packed {
                let packed = zstd::encode_all(&std::fs::read(&path).unwrap()[..], 1).unwrap();
                std::fs::remove_file(&path).unwrap();
                path = path.with_extension("db3.zstd");
                std::fs::write(&path, packed).unwrap();
            }
            names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
        let listed = format!(
            "rosbag2_bagfile_information:\n  relative_file_paths: [{}]\n",
            names.join(", ")
        );
        assert_eq!(pictures(folder.path()), ((0..20).collect(), vec![]), "by name");
        std::fs::write(folder.path().join("metadata.yaml"), &listed).unwrap();
        assert_eq!(pictures(folder.path()), ((0..20).collect(), vec![]), "by metadata");
        std::fs::remove_file(folder.path().join(&names[1])).unwrap();
        let (numbers, errors) = pictures(folder.path());
        assert_eq!(numbers, (0..7).chain(12..20).collect::<Vec<u8>>());
        assert!(errors[0].contains(&names[1]), "{errors:?}");
    }
}

/// A damaged sqlite3 file of which some can be read, which is told.
fn damaged(path: &Path, bytes: &[u8]) -> Bag {
    std::fs::write(path, bytes).unwrap();
    let bag = Bag::open(path).unwrap();
    assert!(bag.problems()[0].to_string().contains("malformed"), "{:?}", bag.problems());
    bag
}

#[test]
fn a_damaged_sqlite_page_does_not_lose_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bag.db3");
    sqlite(&path, 0..200, false);
    let whole = std::fs::read(&path).unwrap();
    let mut damaged_tables = 0;
    for page in (0..whole.len() / 4096).step_by(3).skip(2) {
        let mut bytes = whole.clone();
        // A leaf of a table; the index is the way to the rest.
        if bytes[page * 4096] != 13 {
            continue;
        }
        damaged_tables += 1;
        bytes[page * 4096..page * 4096 + 64].fill(0xff);
        let bag = damaged(&path, &bytes);
        let of_camera = Selection::topics(["/camera/image_raw"]);
        let (good, bad): (Vec<_>, Vec<_>) =
            bag.messages(&of_camera).unwrap().partition(Result::is_ok);
        assert!(good.len() > 180 && !bad.is_empty(), "page {page}: {} good, {bad:?}", good.len());
        assert!(bag.topic("/camera/image_raw").unwrap().count >= good.len() as u64);
    }
    assert!(damaged_tables > 2);
}

#[test]
fn a_sqlite_file_that_is_cut_off_is_read_as_far_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bag.db3");
    sqlite(&path, 0..200, false);
    let whole = std::fs::read(&path).unwrap();
    for (percent, least) in [(95, 180), (60, 110), (30, 50)] {
        let bag = damaged(&path, &whole[..whole.len() * percent / 100]);
        let of_camera = Selection::topics(["/camera/image_raw"]);
        let good = bag.messages(&of_camera).unwrap().filter(Result::is_ok).count();
        assert!(good >= least, "{percent} %: {good}");
    }
    std::fs::write(&path, &whole[..4096]).unwrap();
    assert!(Bag::open(&path).unwrap_err().to_string().contains("bag.db3: sqlite3: "));
}

#[test]
fn what_the_writer_wrote_is_read_as_file_and_as_directory() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["out.mcap", "out"] {
        let path = folder.path().join(name);
        let mut writer = BagWriter::create(&path).unwrap();
        let topic = writer.add("/camera/image_raw", Image::TYPE, false).unwrap();
        for number in 0..5 {
            let time = u64::from(number) * SECOND;
            writer.write(topic, time, time, &picture(number)).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(pictures(&path), ((0..5).collect(), vec![]), "{name}");
        let bag = Bag::open(&path).unwrap();
        let topic = bag.topic("/camera/image_raw").unwrap();
        assert_eq!((topic.count, topic.definition.0.as_str()), (5, "ros2msg"));
        assert!(topic.offered_qos_profiles.contains("reliability: reliable"));
    }
}

/// All that a hostile file goes through; nothing may panic, and errors must come to an end.
fn walk(bytes: &[u8]) {
    let Ok(mut index) = McapIndex::scan(&mut Cursor::new(bytes), bytes.len() as u64) else {
        return;
    };
    if !index.is_complete {
        learn_from_segments(&mut Cursor::new(bytes), &mut index);
    }
    let messages = McapMessages::new(Cursor::new(bytes), "x.mcap".into(), &index, &Selection::ALL);
    assert!(messages.count() <= bytes.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damage_anywhere_never_panics(compression in 0..4, at: prop::sample::Index, value: u8,
        cut: prop::sample::Index) {
        let options = match compression {
            0 => chunked(),
            1 => chunked().compression(Some(Compression::Lz4)),
            2 => chunked().compression(None),
            _ => WriteOptions::new().use_chunks(false),
        };
        let mut file = mcap_file(options, 4);
        let length = file.len();
        file[at.index(length)] = value;
        walk(&file);
        walk(&file[..cut.index(length)]);
    }
}
