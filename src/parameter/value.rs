//! Parameter values as `rcl_interfaces` knows them.

use std::fmt;

/// A parameter's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `bool`
    Bool(bool),
    /// `int64`
    Integer(i64),
    /// `double`
    Double(f64),
    /// `string`
    Text(String),
    /// `string[]`
    Texts(Vec<String>),
    /// A type that no parameter of this node has, by its name.
    Other(&'static str),
}

impl Value {
    /// The type's name in `rcl_interfaces`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Integer(_) => "integer",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Texts(_) => "string array",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value:?}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::Texts(values) => write!(f, "{values:?}"),
            Self::Other(name) => write!(f, "a {name}"),
        }
    }
}
