//! Parameters: raw values come in, checked [`crate::settings::Settings`] go out.

mod documents;
mod file;
mod qos;
mod store;
mod table;
mod value;

pub use documents::{markdown, parameter_file, schema};
pub use file::{Entry, FileRefusal, parse};
pub use qos::{End, QosOverride};
pub use store::{MOST_CAMERAS, Refusal, Store};
pub use table::{Allowed, DefaultValue, Parameter, TABLE, find};
pub use value::Value;
