//! Lines of the log stay lines: names come from messages and files, and one with a line break in it
//! would else write a line of its own.

use std::borrow::Cow;

use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::debug_fn;

/// Text with its control characters written out, such as `\n`; tabs stay.
pub fn escaped(text: &str) -> Cow<'_, str> {
    let is_bad = |letter: char| letter.is_control() && letter != '\t';
    if !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut whole = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if is_bad(letter) {
            whole.extend(letter.escape_default());
        } else {
            whole.push(letter);
        }
    }
    Cow::Owned(whole)
}

/// Formats the message and fields of an event with everything escaped.
pub fn fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    let format = debug_fn(|writer, field, value| {
        let text = format!("{value:?}");
        match field.name() {
            "message" => write!(writer, "{}", escaped(&text)),
            // Where a line of the `log` crate came from.
            name if name.starts_with("log.") => Ok(()),
            name => write!(writer, "{name}={}", escaped(&text)),
        }
    });
    format.delimited(" ")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let lines = Lines::default();
        let written = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_target(false)
            .fmt_fields(fields())
            .with_writer(move || lines.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(reason = "a\rb", "place {} is not learnt\u{1b}[0m", "kit\nchen");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("place kit\\nchen is not learnt\\u{1b}[0m"), "{text}");
        assert!(text.contains("reason=\"a\\"), "{text}");
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        assert!(matches!(escaped("a\tü"), Cow::Borrowed("a\tü")));
    }
}
