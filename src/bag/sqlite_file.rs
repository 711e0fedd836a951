//! Messages of a sqlite3 (`.db3`) file by log time.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

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
}

impl SqliteFile {
    pub(super) fn open(source: Source) -> Result<Self, BagError> {
        let Source { path, plain, .. } = source;
        let connection = connect(&path, &plain)?;
        let told = |error: rusqlite::Error| sqlite_error(&path, &error);
        let definitions = definitions(&connection);
        let counts: BTreeMap<i64, i64> =
            pairs(&connection, "SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id")
                .map_err(told)?;
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
                count: unsigned(counts.get(&row.get(0)?).copied().unwrap_or(0)),
                serialization: row.get(3)?,
                offered_qos_profiles: row.get(4)?,
                definition: definitions.get(&ros_type).cloned().unwrap_or_default(),
                ros_type,
            })
        });
        let topics = rows.and_then(Iterator::collect).map_err(told)?;
        let span = connection
            .query_row("SELECT MIN(timestamp), MAX(timestamp) FROM messages", [], |row| {
                Ok(row.get::<_, Option<i64>>(0)?.zip(row.get::<_, Option<i64>>(1)?))
            })
            .map_err(told)?
            .map(|(start, end)| (unsigned(start), unsigned(end)));
        drop(statement);
        Ok(Self { path, plain, topics, span })
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
            last: (i64::try_from(selection.from).unwrap_or(i64::MAX), i64::MIN),
            to: i64::try_from(selection.to).unwrap_or(i64::MAX),
            page: VecDeque::new(),
            is_done: false,
        }))
    }
}

/// Opens for reading alone, waiting for nobody.
fn connect(path: &Path, plain: &PlainPath) -> Result<Connection, BagError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let told = |error: rusqlite::Error| sqlite_error(path, &error);
    let connection = Connection::open_with_flags(plain, flags).map_err(told)?;
    // A hostile file's schema runs no functions with side effects, and is checked for sanity.
    connection.execute_batch("PRAGMA trusted_schema = OFF").map_err(told)?;
    Ok(connection)
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

/// A row without its payload.
struct Row {
    id: i64,
    timestamp: i64,
    topic: Arc<str>,
    bytes: i64,
}

struct SqliteMessages {
    connection: Connection,
    path: PathBuf,
    /// Kept for as long as the connection: a temporary file goes away with it.
    _plain: PlainPath,
    topics: BTreeMap<i64, Arc<str>>,
    /// Time and id of the last row that was paged in.
    last: (i64, i64),
    to: i64,
    page: VecDeque<Row>,
    is_done: bool,
}

impl SqliteMessages {
    /// Reads the next rows' times and sizes, without their payloads.
    fn turn_page(&mut self) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(
            "SELECT timestamp, id, topic_id, length(data) FROM messages
             WHERE timestamp >= ?1 AND (timestamp > ?1 OR id > ?2) AND timestamp <= ?3
             ORDER BY timestamp, id LIMIT ?4",
        )?;
        let (timestamp, id) = self.last;
        let mut rows = statement.query((timestamp, id, self.to, PAGE_ROWS))?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let (timestamp, id) = (row.get(0)?, row.get(1)?);
            self.last = (timestamp, id);
            count += 1;
            if let Some(topic) = self.topics.get(&row.get(2)?) {
                let bytes = row.get::<_, Option<i64>>(3)?.unwrap_or(0);
                self.page.push_back(Row { id, timestamp, topic: topic.clone(), bytes });
            }
        }
        self.is_done = count < PAGE_ROWS;
        Ok(())
    }

    fn payload(&self, row: &Row) -> Result<Vec<u8>, String> {
        if row.bytes.unsigned_abs() > MAX_MESSAGE_BYTES {
            return Err(format!("{} bytes; at most {MAX_MESSAGE_BYTES} are read", row.bytes));
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
        while self.page.is_empty() && !self.is_done {
            if let Err(error) = self.turn_page() {
                // The table's tree is broken: what has been read of this page is still good.
                self.is_done = true;
                return Some(Err(sqlite_error(&self.path, &error)));
            }
        }
        let row = self.page.pop_front()?;
        let log_time = unsigned(row.timestamp);
        Some(match self.payload(&row) {
            Ok(payload) => {
                Ok(Message { topic: row.topic, log_time, publish_time: log_time, payload })
            }
            Err(reason) => Err(BagError::Message {
                path: self.path.clone(),
                topic: row.topic.to_string(),
                log_time,
                reason,
            }),
        })
    }
}
