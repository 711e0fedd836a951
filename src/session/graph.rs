//! Cuts an ONNX graph down to the outputs that are wanted, so that a head nobody listens to
//! costs nothing. ONNX Runtime runs every node of a graph whatever outputs are asked for.
//!
//! Works on the protobuf wire format: messages are kept as the bytes they came as, and only the
//! names that nodes read and write are looked at (`onnx.proto`: `ModelProto.graph` is field 7;
//! `GraphProto.node` 1, `.initializer` 5, `.output` 12; `NodeProto.input` 1, `.output` 2;
//! `ValueInfoProto.name` 1, `TensorProto.name` 8).

use std::collections::HashSet;

/// The bytes are no ONNX model, or lack an output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// The protobuf ends early or has an impossible field.
    #[error("not an ONNX file: {0}")]
    Malformed(&'static str),
    /// The graph has no such output.
    #[error("the network has no output {name:?}; it has {known}")]
    MissingOutput {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
}

/// The model with the outputs `wanted` and only the nodes and weights that they need.
///
/// # Errors
/// [`GraphError`].
pub fn prune(model: &[u8], wanted: &[&str]) -> Result<Vec<u8>, GraphError> {
    let mut pruned = Vec::with_capacity(model.len());
    for field in Fields::new(model) {
        let field = field?;
        if field.number == 7 {
            let graph = prune_graph(field.payload, wanted)?;
            put_message(&mut pruned, 7, &graph);
        } else {
            pruned.extend_from_slice(field.raw);
        }
    }
    Ok(pruned)
}

fn prune_graph(graph: &[u8], wanted: &[&str]) -> Result<Vec<u8>, GraphError> {
    let fields = Fields::new(graph).collect::<Result<Vec<_>, _>>()?;
    let name_of = |payload, number| -> Result<&str, GraphError> {
        let name = strings(payload, number)?.into_iter().next();
        name.ok_or(GraphError::Malformed("a value has no name"))
    };
    let mut known = Vec::new();
    for field in fields.iter().filter(|field| field.number == 12) {
        known.push(name_of(field.payload, 1)?);
    }
    if let Some(name) = wanted.iter().find(|name| !known.contains(name)) {
        return Err(GraphError::MissingOutput {
            name: (*name).to_owned(),
            known: known.join(", "),
        });
    }
    // Nodes are in topological order: going backwards, each node's readers have been seen.
    let mut needed: HashSet<&str> = wanted.iter().copied().collect();
    let mut dropped_nodes: HashSet<usize> = HashSet::new();
    for (index, field) in fields.iter().enumerate().rev().filter(|(_, field)| field.number == 1) {
        if strings(field.payload, 2)?.iter().any(|output| needed.contains(output)) {
            needed.extend(strings(field.payload, 1)?);
        } else {
            dropped_nodes.insert(index);
        }
    }
    let mut pruned = Vec::with_capacity(graph.len());
    for (index, field) in fields.iter().enumerate() {
        let keep = match field.number {
            1 => !dropped_nodes.contains(&index),
            5 => needed.contains(name_of(field.payload, 8)?),
            12 => wanted.contains(&name_of(field.payload, 1)?),
            _ => true,
        };
        if keep {
            pruned.extend_from_slice(field.raw);
        }
    }
    Ok(pruned)
}

/// Every string of field `number`.
fn strings(message: &[u8], number: u64) -> Result<Vec<&str>, GraphError> {
    let mut found = Vec::new();
    for field in Fields::new(message) {
        let field = field?;
        if field.number == number {
            let text = std::str::from_utf8(field.payload);
            found.push(text.map_err(|_| GraphError::Malformed("a name is not UTF-8"))?);
        }
    }
    Ok(found)
}

struct Field<'a> {
    number: u64,
    /// Tag, length and payload.
    raw: &'a [u8],
    /// The bytes of a length-delimited field; empty for the others.
    payload: &'a [u8],
}

struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn read(&mut self) -> Result<Field<'a>, GraphError> {
        let start = self.rest;
        let mut cursor = start;
        let tag = take_varint(&mut cursor)?;
        let length = match tag & 7 {
            0 => {
                take_varint(&mut cursor)?;
                0
            }
            1 => 8,
            2 => usize::try_from(take_varint(&mut cursor)?).unwrap_or(usize::MAX),
            5 => 4,
            _ => return Err(GraphError::Malformed("a field has an unknown wire type")),
        };
        let (payload, rest) =
            cursor.split_at_checked(length).ok_or(GraphError::Malformed("it is cut off"))?;
        self.rest = rest;
        let raw = &start[..start.len() - rest.len()];
        let payload = if tag & 7 == 2 { payload } else { &[] };
        Ok(Field { number: tag >> 3, raw, payload })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, GraphError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn take_varint(cursor: &mut &[u8]) -> Result<u64, GraphError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = cursor.split_first().ok_or(GraphError::Malformed("it is cut off"))?;
        *cursor = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(GraphError::Malformed("a number is longer than 64 bits"))
}

fn put_message(out: &mut Vec<u8>, number: u64, payload: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(number: u64, name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        put_message(&mut out, number, name.as_bytes());
        out
    }

    fn node(inputs: &[&str], output: &str) -> Vec<u8> {
        let mut out: Vec<u8> = inputs.iter().flat_map(|input| named(1, input)).collect();
        out.extend(named(2, output));
        out
    }

    /// x -> a -> logits, a -> mask; weights wa, wl, wm.
    fn two_heads() -> Vec<u8> {
        let mut graph = Vec::new();
        for node in
            [node(&["x", "wa"], "a"), node(&["a", "wl"], "logits"), node(&["a", "wm"], "mask")]
        {
            put_message(&mut graph, 1, &node);
        }
        for weight in ["wa", "wl", "wm"] {
            put_message(&mut graph, 5, &named(8, weight));
        }
        for output in ["logits", "mask"] {
            put_message(&mut graph, 12, &named(1, output));
        }
        let mut model = vec![0x08, 0x07]; // ir_version 7
        put_message(&mut model, 7, &graph);
        model
    }

    #[test]
    fn a_dropped_output_takes_its_nodes_and_weights_along() {
        let pruned = prune(&two_heads(), &["logits"]).unwrap();
        let text = String::from_utf8_lossy(&pruned);
        assert!(text.contains("wl") && text.contains("wa"));
        assert!(!text.contains("wm") && !text.contains("mask"), "{text}");
    }

    #[test]
    fn all_outputs_change_nothing() {
        assert_eq!(prune(&two_heads(), &["mask", "logits"]).unwrap(), two_heads());
    }

    #[test]
    fn refusals_name_what_is_there() {
        let error = prune(&two_heads(), &["depth"]).unwrap_err().to_string();
        assert_eq!(error, "the network has no output \"depth\"; it has logits, mask");
        let model = two_heads();
        for length in 1..model.len() - 1 {
            // Whatever is cut off: an error or fewer fields, no panic.
            let _ = prune(&model[..length], &["logits"]);
        }
    }
}
