//! The node's log: what the crate tells `tracing` goes through rcl's logging, as every node's does, to
//! the console and the log file, and to `/rosout`, under the node's own logger. How much is decided
//! here, by the parameter `log_level`, which `--ros-args --log-level` sets at the start.
//!
//! rcl leaves it to the client library to open `/rosout` for a node, and r2r does not: so the
//! messages are made here, unless `--ros-args --disable-rosout-logs` forbids it.

use std::fmt::Write;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use r2r::builtin_interfaces::msg::Time;
use r2r::rcl_interfaces::msg::Log as LogMessage;
use r2r::{Node, Publisher, QosProfile};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::qos;
use crate::lock::lock;
use crate::log::escaped;
use crate::settings::LogLevel;

/// The way to change how much is logged.
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    runtime_level: &'static str,
}

/// The levels of `--ros-args --log-level`, rcl's way: one for all loggers, and some by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct GivenLevels {
    common: Option<LogLevel>,
    named: Vec<(String, LogLevel)>,
}

impl GivenLevels {
    /// Reads them between `--ros-args` and `--`. What is no level is left to rcl, which refuses it.
    pub fn of(arguments: impl Iterator<Item = String>) -> Self {
        let mut levels = Self::default();
        let mut is_ros = false;
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--ros-args" => is_ros = true,
                "--" => is_ros = false,
                "--log-level" if is_ros => {
                    let text = arguments.next().unwrap_or_default();
                    match text.split_once(":=") {
                        Some((name, level)) => {
                            levels
                                .named
                                .extend(level_of(level).map(|level| (name.to_owned(), level)));
                        }
                        None => levels.common = level_of(&text).or(levels.common),
                    }
                }
                _ => {}
            }
        }
        levels
    }

    /// The level of a logger: its own, or its nearest parent's, or that of all.
    pub fn level(&self, logger: &str) -> Option<LogLevel> {
        let mut name = logger;
        loop {
            let own = self.named.iter().rev().find(|(named, _)| named == name);
            if let Some((_, level)) = own {
                return Some(*level);
            }
            match name.rsplit_once('.') {
                Some((parent, _)) => name = parent,
                None => return self.common,
            }
        }
    }
}

fn level_of(text: &str) -> Option<LogLevel> {
    Some(match text.to_ascii_lowercase().as_str() {
        "debug" => LogLevel::Debug,
        "info" => LogLevel::Info,
        "warn" => LogLevel::Warn,
        "error" | "fatal" => LogLevel::Error,
        _ => return None,
    })
}

/// The name of a level in settings.
pub fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

impl Log {
    /// Logs under the node's logger from now on. ONNX Runtime, whose chatter is of use to its
    /// developers alone, warns, unless `given` says more of the logger `ort`.
    ///
    /// # Errors
    /// rcl's, when `/rosout` cannot be published.
    pub fn start(node: &mut Node, level: LogLevel, given: &GivenLevels) -> r2r::Result<Self> {
        let logger = node.logger().to_owned();
        pass_all(&logger);
        // SAFETY: it reads a flag that was set when the context was made.
        let has_rosout = unsafe { r2r_rcl::rcl_logging_rosout_enabled() };
        // rcl's rmw_qos_profile_rosout_default.
        let qos = QosProfile::default().keep_last(1000).reliable().transient_local();
        let qos = qos::publisher("/rosout", qos.lifespan(Duration::from_secs(10)));
        let rosout = has_rosout.then(|| node.create_publisher("/rosout", qos)).transpose()?;
        let rcl = Rcl { logger, rosout: rosout.map(Mutex::new) };
        let runtime = given.named.iter().rev().find(|(name, _)| name == "ort");
        let runtime_level = runtime.map_or("warn", |(_, level)| level_name(*level));
        let (filter, handle) = reload::Layer::new(filter(level, runtime_level));
        tracing_subscriber::registry().with(filter).with(rcl).init();
        Ok(Self { filter: handle, runtime_level })
    }

    /// Changes how much is logged.
    pub fn set_level(&self, level: LogLevel) {
        if let Err(error) = self.filter.reload(filter(level, self.runtime_level)) {
            tracing::warn!("log_level: {error}");
        }
    }
}

/// Has rcl pass on all that comes from this logger: what comes was chosen already.
fn pass_all(logger: &str) {
    let Ok(logger) = std::ffi::CString::new(logger) else { return };
    let debug = r2r_rcl::RCUTILS_LOG_SEVERITY::RCUTILS_LOG_SEVERITY_DEBUG as i32;
    // SAFETY: the name is a C string that outlives the call, which copies it. No thread of this
    // process logs yet.
    unsafe { r2r_rcl::rcutils_logging_set_logger_level(logger.as_ptr(), debug) };
}

fn filter(level: LogLevel, runtime_level: &str) -> EnvFilter {
    EnvFilter::new(format!("{},ort={runtime_level}", level_name(level)))
}

/// Hands events on to rcl.
struct Rcl {
    logger: String,
    rosout: Option<Mutex<Publisher<LogMessage>>>,
}

impl<S: Subscriber> Layer<S> for Rcl {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let metadata = event.metadata();
        if metadata.target().starts_with("ort") {
            line.text.insert_str(0, "onnxruntime: ");
        }
        let (severity, level) = match *metadata.level() {
            Level::ERROR => (r2r::LogSeverity::Error, LogMessage::ERROR as u8),
            Level::WARN => (r2r::LogSeverity::Warn, LogMessage::WARN as u8),
            Level::INFO => (r2r::LogSeverity::Info, LogMessage::INFO as u8),
            Level::DEBUG | Level::TRACE => (r2r::LogSeverity::Debug, LogMessage::DEBUG as u8),
        };
        let text = escaped(&line.text).into_owned();
        let file = metadata.file().unwrap_or_default();
        let line = metadata.line().unwrap_or_default();
        r2r::log(&text, &self.logger, file, line, severity);
        let Some(rosout) = &self.rosout else { return };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let message = LogMessage {
            stamp: Time { sec: now.as_secs() as i32, nanosec: now.subsec_nanos() },
            level,
            name: self.logger.clone(),
            msg: text,
            file: file.to_owned(),
            function: metadata.target().to_owned(),
            line,
        };
        // Who logs that logging fails logs for ever; without a node there is no /rosout any more.
        let _ = lock(rosout).publish(&message);
    }
}

/// An event's message, and its other fields behind it.
#[derive(Default)]
struct Line {
    text: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Nothing can go wrong while writing to a string.
        let _ = if field.name() == "message" {
            write!(self.text, "{value:?}")
        } else {
            write!(self.text, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_rcls() {
        let check = |arguments: &str, logger: &str, expected: Option<LogLevel>| {
            let arguments = arguments.split_whitespace().map(str::to_owned);
            assert_eq!(GivenLevels::of(arguments).level(logger), expected);
        };
        let debug = Some(LogLevel::Debug);
        check("node --ros-args --log-level debug", "squeezenet", debug);
        check("node --ros-args --log-level squeezenet:=DEBUG", "squeezenet", debug);
        check("node --ros-args --log-level other:=debug", "squeezenet", None);
        check(
            "node --ros-args --log-level robot:=debug --log-level warn",
            "robot.squeezenet",
            debug,
        );
        check("node --ros-args --log-level debug --", "squeezenet", debug);
        check("node --log-level debug", "squeezenet", None);
        check("node --ros-args --log-level loud", "squeezenet", None);
        check("node --ros-args --log-level error --log-level debug", "squeezenet", debug);
    }
}
