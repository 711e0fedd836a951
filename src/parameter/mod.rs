//! Parameters: raw values come in, checked [`crate::settings::Settings`] go out.

mod arguments;
mod documents;
mod file;
mod qos;
mod store;
mod table;
mod value;

pub use arguments::{Arguments, Given};
pub use documents::{markdown, parameter_file, schema};
pub use file::{Entry, FileRefusal, Section, in_order, parse, parse_value, sections};
pub use qos::{End, QosOverride};
pub use store::{ClassesOf, MOST_CAMERAS, Refusal, Store, check_topic, strays};
pub use table::{Allowed, DefaultValue, Parameter, TABLE, find};
pub use value::Value;
