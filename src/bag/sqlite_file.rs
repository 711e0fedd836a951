//! Messages of a sqlite3 (`.db3`) file by log time.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use crate::bag::compression::{PlainPath, Source, unpack_message};
use crate::bag::{BagError, MAX_MESSAGE_BYTES, Message, Messages, Selection, Topic};

/// Rows whose times are read ahead of their messages.
const PAGE_ROWS: i64 = 1024;

/// A sqlite3 bag file.
#[derive(Debug)]
pub(super) struct SqliteFile {
    path: PathBuf,
    plain: PlainPath,
    topics: Vec<Topic>,
    span: Option<(u64, u64)>,
    way: Way,
    problem: Option<BagError>,
}

impl SqliteFile {
    pub(super) fn open(source: Source) -> Result<Self, BagError> {
        let Source { path, plain, .. } = source;
        let connection = connect(&path, &plain)?;
        let told = |error: rusqlite::Error| sqlite_error(&path, &error);
        let definitions = definitions(&connection);
        let (census, way, problem) = match census(&connection) {
            Ok(census) => (census, Way::Times, None),
            Err(error) => match damaged_census(&connection) {
                Some((census, way)) => (census, way, Some(told(error))),
                None => return Err(told(error)),
            },
        };
        let columns = "SELECT id, name, type, serialization_format, offered_qos_profiles";
        let mut statement = connection
            .prepare(&format!("{columns} FROM topics ORDER BY id"))
            // Dashing's bags have no QoS column.
            .or_else(|_| {
                connection.prepare(
                    "SELECT id, name, type, serialization_format, '' FROM topics ORDER BY id",
                )
            })
            .map_err(told)?;
        let rows = statement.query_map([], |row| {
            let ros_type: String = row.get(2)?;
            Ok(Topic {
                name: row.get(1)?,
                count: unsigned(census.counts.get(&row.get(0)?).copied().unwrap_or(0)),
                serialization: row.get(3)?,
                offered_qos_profiles: row.get(4)?,
                definition: definitions.get(&ros_type).cloned().unwrap_or_default(),
                ros_type,
            })
        });
        let topics = rows.and_then(Iterator::collect).map_err(told)?;
        let span = census.span.map(|(start, end)| (unsigned(start), unsigned(end)));
        drop(statement);
        Ok(Self { path, plain, topics, span, way, problem })
    }

    /// What is damaged, though some of it can be read.
    pub(super) fn take_problem(&mut self) -> Option<BagError> {
        self.problem.take()
    }

    pub(super) fn topics(&self) -> &[Topic] {
        &self.topics
    }

    pub(super) fn span(&self) -> Option<(u64, u64)> {
        self.span
    }

    pub(super) fn messages(&self, selection: &Selection) -> Result<Messages, BagError> {
        let connection = connect(&self.path, &self.plain)?;
        let ids: BTreeMap<i64, String> = pairs(&connection, "SELECT id, name FROM topics")
            .map_err(|error| sqlite_error(&self.path, &error))?;
        let topics = ids
            .into_iter()
            .filter(|(_, name)| selection.has_topic(name))
            .map(|(id, name)| (id, name.into()))
            .collect();
        Ok(Box::new(SqliteMessages {
            connection,
            path: self.path.clone(),
            _plain: self.plain.clone(),
            topics,
            way: self.way,
            last: (i64::try_from(selection.from).unwrap_or(i64::MAX), i64::MIN),
            to: i64::try_from(selection.to).unwrap_or(i64::MAX),
            page: VecDeque::new(),
            is_done: false,
        }))
    }
}

/// Opens for reading alone, waiting for nobody.
///
/// A database in WAL mode wants to make files beside itself even to be read, which a read-only
/// file system refuses. Where it was closed cleanly (no `-wal` with anything in it) nothing but the
/// file counts, and it is opened as immutable. One that was not is brought up to date in a copy,
/// if it cannot be where it is.
fn connect(path: &Path, plain: &PlainPath) -> Result<Connection, BagError> {
    let told = |error: rusqlite::Error| sqlite_error(path, &error);
    let io = |source| BagError::Io { path: path.to_owned(), source };
    let file = plain.as_ref();
    let left_over = ["-wal", "-journal"].map(|suffix| beside(file, suffix));
    let left_over: Vec<&PathBuf> = left_over.iter().filter(|path| is_filled(path)).collect();
    if left_over.is_empty() && is_wal(file).map_err(io)? {
        return open_immutable(file).map_err(told);
    }
    match open_read_only(file) {
        Ok(connection) => Ok(connection),
        Err(error) if left_over.is_empty() => Err(told(error)),
        Err(_) => open_copy(file, &left_over).map_err(io)?.map_err(told),
    }
}

fn open_read_only(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    checked(Connection::open_with_flags(file, flags)?)
}

/// As a file that nobody changes: sqlite3 then neither locks it nor looks for others beside it.
fn open_immutable(file: &Path) -> rusqlite::Result<Connection> {
    use std::os::unix::ffi::OsStrExt;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    // An empty authority, for a path of any kind; every byte that a URI may not hold is escaped.
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let mut uri = "file://".to_owned();
    for byte in absolute.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    checked(Connection::open_with_flags(uri, flags)?)
}

/// A copy with what was left beside the file, in the temporary folder, where sqlite3 may write. It
/// goes away at once: a file that is open stays readable.
fn open_copy(file: &Path, left_over: &[&PathBuf]) -> std::io::Result<rusqlite::Result<Connection>> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("bag.db3");
    std::fs::copy(file, &copy)?;
    for other in left_over {
        let suffix = if other.to_string_lossy().ends_with("-wal") { "-wal" } else { "-journal" };
        std::fs::copy(other, beside(&copy, suffix))?;
    }
    let opened = Connection::open(&copy).and_then(checked);
    // Into the file itself, so that no second one is looked for when the folder has gone.
    Ok(opened.and_then(|connection| {
        connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
        Ok(connection)
    }))
}

/// A hostile file's schema runs no functions with side effects. What cannot be read at all is
/// found here and not with the first message.
fn checked(connection: Connection) -> rusqlite::Result<Connection> {
    const LOOK: &str = "PRAGMA trusted_schema = OFF; SELECT COUNT(*) FROM sqlite_schema";
    if let Err(error) = connection.execute_batch(LOOK) {
        if error.sqlite_error_code() != Some(ErrorCode::DatabaseCorrupt) {
            return Err(error);
        }
        // A file that is shorter than its header says is refused whole; so it is read as far as it goes.
        connection.execute_batch("PRAGMA writable_schema = ON")?;
        connection.execute_batch(LOOK)?;
    }
    Ok(connection)
}

/// How many messages there are of each topic, by its id, and of which times.
struct Census {
    counts: BTreeMap<i64, i64>,
    span: Option<(i64, i64)>,
}

fn census(connection: &Connection) -> rusqlite::Result<Census> {
    let counts = pairs(connection, "SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id")?;
    let times = "SELECT MIN(timestamp), MAX(timestamp) FROM messages";
    let span = connection.query_row(times, [], |row| {
        Ok(row.get::<_, Option<i64>>(0)?.zip(row.get::<_, Option<i64>>(1)?))
    })?;
    Ok(Census { counts, span })
}

/// How the rows of `messages` are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By the index by time: a damaged page of the table costs its own messages alone.
    Times,
    /// By id, through the table itself: of a file that is cut off the index may be lost whole. Recorders write in the
    /// order of time.
    Ids,
}

impl Way {
    /// Times and ids of the rows behind `?1`, `?2` (a time and an id), up to the time `?3`, at most `?4`.
    fn query(self) -> &'static str {
        match self {
            Self::Times => {
                "SELECT timestamp, id FROM messages
                 WHERE timestamp >= ?1 AND (timestamp > ?1 OR id > ?2) AND timestamp <= ?3
                 ORDER BY timestamp, id LIMIT ?4"
            }
            Self::Ids => {
                "SELECT timestamp, id FROM messages NOT INDEXED
                 WHERE id > ?2 AND timestamp >= ?1 AND timestamp <= ?3
                 ORDER BY id LIMIT ?4"
            }
        }
    }
}

/// The same of a damaged file, and the way that leads to more of it. `None` if neither leads to anything.
fn damaged_census(connection: &Connection) -> Option<(Census, Way)> {
    let found = [Way::Times, Way::Ids].map(|way| (census_by(connection, way), way));
    let found = found.into_iter().filter_map(|(census, way)| Some((census?, way)));
    // Of two that lead to as much the first, which is in order for certain.
    found.rev().max_by_key(|(census, _)| census.counts.values().sum::<i64>())
}

fn census_by(connection: &Connection, way: Way) -> Option<Census> {
    let mut times = connection.prepare(way.query()).ok()?;
    let mut topic = connection.prepare("SELECT topic_id FROM messages WHERE id = ?1").ok()?;
    let mut census = Census { counts: BTreeMap::new(), span: None };
    let mut rows = times.query((i64::MIN, i64::MIN, i64::MAX, -1)).ok()?;
    while let Ok(Some(row)) = rows.next() {
        let (Ok(time), Ok(id)) = (row.get::<_, i64>(0), row.get::<_, i64>(1)) else { continue };
        if let Ok(topic) = topic.query_row([id], |found| found.get(0)) {
            *census.counts.entry(topic).or_default() += 1;
            let (start, end) = census.span.unwrap_or((time, time));
            census.span = Some((start.min(time), end.max(time)));
        }
    }
    census.span.is_some().then_some(census)
}

/// Whether the file's header says that it is written with a write-ahead log.
fn is_wal(file: &Path) -> std::io::Result<bool> {
    use std::io::Read;
    let mut header = [0; 20];
    let read = std::fs::File::open(file)?.read_exact(&mut header);
    Ok(read.is_ok() && header[18..20] == [2, 2])
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn is_filled(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|data| data.len() > 0)
}

fn sqlite_error(path: &Path, error: &rusqlite::Error) -> BagError {
    BagError::Sqlite { path: path.to_owned(), reason: format!("sqlite3: {error}") }
}

/// Key and value of all rows of a query.
fn pairs<K: rusqlite::types::FromSql + Ord, V: rusqlite::types::FromSql>(
    connection: &Connection,
    query: &str,
) -> rusqlite::Result<BTreeMap<K, V>> {
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Definition of each type with its encoding; bags before Iron have none.
fn definitions(connection: &Connection) -> BTreeMap<String, (String, String)> {
    let query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions";
    let read = || {
        let mut statement = connection.prepare(query)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
        rows.collect::<rusqlite::Result<BTreeMap<_, _>>>()
    };
    read().unwrap_or_default()
}

/// sqlite3 has signed numbers alone; times before 1970 are none, nor are negative counts.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Where a row is: what the index by time holds.
struct Row {
    id: i64,
    timestamp: i64,
}

struct SqliteMessages {
    connection: Connection,
    path: PathBuf,
    /// Kept for as long as the connection: a temporary file goes away with it.
    _plain: PlainPath,
    topics: BTreeMap<i64, Arc<str>>,
    way: Way,
    /// Time and id of the last row that was paged in; by ids, the time stays the first that is wanted.
    last: (i64, i64),
    to: i64,
    page: VecDeque<Row>,
    is_done: bool,
}

impl SqliteMessages {
    /// Reads the next rows' times and ids, without anything else.
    fn turn_page(&mut self) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(self.way.query())?;
        let (timestamp, id) = self.last;
        let mut rows = statement.query((timestamp, id, self.to, PAGE_ROWS))?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let (timestamp, id) = (row.get(0)?, row.get(1)?);
            self.last = (if self.way == Way::Times { timestamp } else { self.last.0 }, id);
            count += 1;
            self.page.push_back(Row { id, timestamp });
        }
        self.is_done = count < PAGE_ROWS;
        Ok(())
    }

    /// Topic and size of a row; `None` if its topic is not wanted.
    fn head(&self, row: &Row) -> rusqlite::Result<Option<(Arc<str>, i64)>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT topic_id, length(data) FROM messages WHERE id = ?1")?;
        statement.query_row([row.id], |found| {
            let topic = self.topics.get(&found.get(0)?).cloned();
            Ok(topic.zip(Some(found.get::<_, Option<i64>>(1)?.unwrap_or(0))))
        })
    }

    fn payload(&self, row: &Row, bytes: i64) -> Result<Vec<u8>, String> {
        if bytes.unsigned_abs() > MAX_MESSAGE_BYTES {
            return Err(format!("{bytes} bytes; at most {MAX_MESSAGE_BYTES} are read"));
        }
        let read = || {
            let mut statement =
                self.connection.prepare_cached("SELECT data FROM messages WHERE id = ?1")?;
            let payload = statement.query_row([row.id], |found| match found.get_ref(0)? {
                ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Ok(bytes.to_vec()),
                _ => Ok(Vec::new()),
            });
            payload.optional()
        };
        let payload = read().map_err(|error| format!("sqlite3: {error}"))?;
        unpack_message(payload.ok_or_else(|| "the row is gone".to_owned())?)
    }
}

impl Iterator for SqliteMessages {
    type Item = Result<Message, BagError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while self.page.is_empty() && !self.is_done {
                if let Err(error) = self.turn_page() {
                    // The way ends here: what has been read of this page is still good.
                    self.is_done = true;
                    return Some(Err(sqlite_error(&self.path, &error)));
                }
            }
            let row = self.page.pop_front()?;
            let log_time = unsigned(row.timestamp);
            let told = |topic: &str, reason| BagError::Message {
                path: self.path.clone(),
                topic: topic.to_owned(),
                log_time,
                reason,
            };
            let (topic, bytes) = match self.head(&row) {
                Ok(Some(head)) => head,
                Ok(None) => continue,
                Err(error) => return Some(Err(told("a message", format!("sqlite3: {error}")))),
            };
            return Some(match self.payload(&row, bytes) {
                Ok(payload) => Ok(Message { topic, log_time, publish_time: log_time, payload }),
                Err(reason) => Err(told(&topic, reason)),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bag of three messages in WAL mode; `leave` makes it as a recorder that was killed does.
    fn wal_bag(folder: &Path, leave: bool) -> PathBuf {
        let path = folder.join("a bag?#%.db3");
        let connection = Connection::open(&path).unwrap();
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
        connection
            .execute_batch(
                "PRAGMA wal_autocheckpoint = 0;
                 CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT,
                     serialization_format TEXT, offered_qos_profiles TEXT);
                 CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER,
                     timestamp INTEGER, data BLOB);
                 INSERT INTO topics VALUES (1, '/note', 'std_msgs/msg/String', 'cdr', '');
                 INSERT INTO messages VALUES (1, 1, 5, x'00'), (2, 1, 6, x'01'), (3, 1, 7, x'02')",
            )
            .unwrap();
        if leave {
            let wal = folder.join("kept");
            std::fs::copy(beside(&path, "-wal"), &wal).unwrap();
            std::fs::copy(&path, folder.join("kept.db3")).unwrap();
            drop(connection);
            std::fs::rename(folder.join("kept.db3"), &path).unwrap();
            std::fs::rename(wal, beside(&path, "-wal")).unwrap();
        }
        path
    }

    fn count(path: &Path) -> usize {
        let bag = crate::bag::Bag::open(path).unwrap();
        bag.messages(&Selection::ALL).unwrap().map(Result::unwrap).count()
    }

    #[test]
    fn a_database_in_wal_mode_is_read_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = wal_bag(folder.path(), false);
        assert!(is_wal(&path).unwrap() && !is_filled(&beside(&path, "-wal")));
        assert_eq!(count(&path), 3);
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn messages_that_are_in_the_log_alone_are_read_where_nothing_may_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = wal_bag(folder.path(), true);
        let left_over = [beside(&path, "-wal")];
        assert!(is_filled(&left_over[0]));
        let connection = open_copy(&path, &[&left_over[0]]).unwrap().unwrap();
        let messages: i64 =
            connection.query_row("SELECT COUNT(*) FROM messages", [], |row| row.get(0)).unwrap();
        assert_eq!(messages, 3);
        assert_eq!(count(&path), 3);
    }
}
