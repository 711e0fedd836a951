//! Cuts an ONNX graph down to the outputs that are wanted, so that a head nobody listens to
//! costs nothing. ONNX Runtime runs every node of a graph whatever outputs are asked for.
//!
//! Works on the protobuf wire format: messages are kept as the bytes they came as, and only the
//! names that nodes read and write are looked at (`onnx.proto`: `ModelProto.graph` is field 7;
//! `GraphProto.node` 1, `.initializer` 5, `.output` 12; `NodeProto.input` 1, `.output` 2, `.op_type`
//! 4, `.attribute` 5; `AttributeProto.name` 1, `.i` 3, `.s` 4; `ValueInfoProto.name` 1, `.type` 2;
//! `TypeProto.tensor_type` 1 with `.elem_type` 1; `TensorProto.dims` 1, `.data_type` 2, `.name` 8,
//! `.raw_data` 9).

use std::collections::HashSet;

use crate::head::segmentation::{PixelShuffle, ShuffleMode};

/// `TensorProto.DataType`
const FLOAT: u64 = 1;
const INT8: u64 = 3;

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

/// An output that only moves what another value holds to other places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shuffled {
    /// The value, float32.
    pub source: String,
    /// How it is moved.
    pub shuffle: PixelShuffle,
}

/// What there is before the `DepthToSpace` that an output comes from, if it does. ONNX Runtime does
/// this value by value on one thread; whoever reads the output can as well read it as it lies.
///
/// # Errors
/// [`GraphError::Malformed`].
pub fn shuffled(model: &[u8], output: &str) -> Result<Option<Shuffled>, GraphError> {
    let mut found: Option<Shuffled> = None;
    for graph in payloads(model, 7)? {
        for node in payloads(graph, 1)? {
            let inputs = strings(node, 1)?;
            if inputs.contains(&output) {
                return Ok(None);
            }
            let is_shuffle = strings(node, 4)? == ["DepthToSpace"];
            if let ([source], true) = (&inputs[..], is_shuffle && strings(node, 2)? == [output]) {
                let shuffle = shuffle(node)?;
                found = shuffle.map(|shuffle| Shuffled { source: (*source).to_owned(), shuffle });
            }
        }
        for value in payloads(graph, 12)? {
            // What is an output itself has a type of its own.
            let name = strings(value, 1)?;
            found = found.filter(|found| name != [&found.source[..]]);
        }
    }
    Ok(found)
}

/// The attributes of a `DepthToSpace`; nothing where they make no sense.
fn shuffle(node: &[u8]) -> Result<Option<PixelShuffle>, GraphError> {
    let (mut block, mut mode) = (None, Some(ShuffleMode::DepthFirst));
    for attribute in payloads(node, 5)? {
        match strings(attribute, 1)?[..] {
            ["blocksize"] => block = number(attribute, 3)?,
            ["mode"] => {
                mode = match strings(attribute, 4)?[..] {
                    ["DCR"] => Some(ShuffleMode::DepthFirst),
                    ["CRD"] => Some(ShuffleMode::ColumnsFirst),
                    _ => None,
                };
            }
            _ => (),
        }
    }
    // Of more, the square would not fit.
    let block = block.and_then(|block| u16::try_from(block).ok()).filter(|block| *block > 0);
    Ok(block.zip(mode).map(|(block, mode)| PixelShuffle { block: block.into(), mode }))
}

/// The model with the outputs `wanted` and only the nodes and weights that they need; `inner`, of
/// type float32, becomes one more output.
///
/// # Errors
/// [`GraphError`].
pub fn prune(model: &[u8], wanted: &[&str], inner: Option<&str>) -> Result<Vec<u8>, GraphError> {
    let mut pruned = Vec::with_capacity(model.len());
    for field in Fields::new(model) {
        let field = field?;
        if field.number == 7 {
            let mut graph = prune_graph(field.payload, wanted, inner)?;
            if let Some(inner) = inner {
                put_message(&mut graph, 12, &float_value(inner));
            }
            put_message(&mut pruned, 7, &graph);
        } else {
            pruned.extend_from_slice(field.raw);
        }
    }
    Ok(pruned)
}

/// Whether weights of int8 take more than 7 bits.
///
/// # Errors
/// [`GraphError::Malformed`].
pub fn has_8_bit_weights(model: &[u8]) -> Result<bool, GraphError> {
    for graph in payloads(model, 7)? {
        for tensor in payloads(graph, 5)? {
            // One a field, or many packed in one: each ends with a byte below 128.
            let dimensions = payloads(tensor, 1)?.into_iter().map(|packed| {
                if packed.is_empty() {
                    1
                } else {
                    packed.iter().filter(|byte| **byte < 128).count()
                }
            });
            // What has fewer dimensions are zero points.
            let is_weight = number(tensor, 2)? == Some(INT8) && dimensions.sum::<usize>() > 1;
            let is_wide = |value: &u8| value.cast_signed().unsigned_abs() > 64;
            if is_weight && payloads(tensor, 9)?.into_iter().flatten().any(is_wide) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// A `ValueInfoProto` of float32, whatever its shape.
fn float_value(name: &str) -> Vec<u8> {
    let (mut tensor, mut kind, mut value) = (Vec::new(), Vec::new(), Vec::new());
    put_varint(&mut tensor, 1 << 3);
    put_varint(&mut tensor, FLOAT);
    put_message(&mut kind, 1, &tensor);
    put_message(&mut value, 1, name.as_bytes());
    put_message(&mut value, 2, &kind);
    value
}

fn prune_graph(graph: &[u8], wanted: &[&str], inner: Option<&str>) -> Result<Vec<u8>, GraphError> {
    let fields = Fields::new(graph).collect::<Result<Vec<_>, _>>()?;
    let name_of = |payload, number| -> Result<&str, GraphError> {
        let name = strings(payload, number)?.into_iter().next();
        name.ok_or(GraphError::Malformed("a value has no name"))
    };
    let mut known = Vec::new();
    for value in payloads(graph, 12)? {
        known.push(name_of(value, 1)?);
    }
    if let Some(name) = wanted.iter().find(|name| !known.contains(name)) {
        return Err(GraphError::MissingOutput {
            name: (*name).to_owned(),
            known: known.join(", "),
        });
    }
    // Nodes are in topological order: going backwards, each node's readers have been seen.
    let mut needed: HashSet<&str> = wanted.iter().copied().chain(inner).collect();
    let mut dropped_nodes: HashSet<usize> = HashSet::new();
    for (index, field) in fields.iter().enumerate().rev().filter(|(_, field)| field.number == 1) {
        if strings(field.payload, 2)?.iter().any(|output| needed.contains(output)) {
            needed.extend(strings(field.payload, 1)?);
            captured(field.payload, &mut needed)?;
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

/// Adds what the subgraphs of a node (the branches of an `If`, the body of a `Loop`) may take from the graph around them.
fn captured<'a>(node: &'a [u8], needed: &mut HashSet<&'a str>) -> Result<(), GraphError> {
    for attribute in payloads(node, 5)? {
        for graph in payloads(attribute, 6)?.into_iter().chain(payloads(attribute, 11)?) {
            for node in payloads(graph, 1)? {
                needed.extend(strings(node, 1)?);
                captured(node, needed)?;
            }
            for output in payloads(graph, 12)? {
                needed.extend(strings(output, 1)?);
            }
        }
    }
    Ok(())
}

/// What every field `number` holds; nothing where that is a number.
fn payloads(message: &[u8], number: u64) -> Result<Vec<&[u8]>, GraphError> {
    let of_number =
        Fields::new(message).filter(|f| f.as_ref().map_or(true, |f| f.number == number));
    of_number.map(|field| Ok(field?.payload)).collect()
}

/// Every string of field `number`.
fn strings(message: &[u8], number: u64) -> Result<Vec<&str>, GraphError> {
    let text = |payload| {
        std::str::from_utf8(payload).map_err(|_| GraphError::Malformed("a name is not UTF-8"))
    };
    payloads(message, number)?.into_iter().map(text).collect()
}

/// The last number of field `number`.
fn number(message: &[u8], number: u64) -> Result<Option<u64>, GraphError> {
    let mut found = None;
    for field in Fields::new(message) {
        let field = field?;
        found = if field.number == number { Some(field.varint) } else { found };
    }
    Ok(found)
}

struct Field<'a> {
    number: u64,
    /// Tag, length and payload.
    raw: &'a [u8],
    /// The value of a field that is a number; 0 for the others.
    varint: u64,
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
        let mut varint = 0;
        let length = match tag & 7 {
            0 => {
                varint = take_varint(&mut cursor)?;
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
        Ok(Field { number: tag >> 3, raw, varint, payload })
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
        let pruned = prune(&two_heads(), &["logits"], None).unwrap();
        let text = String::from_utf8_lossy(&pruned);
        assert!(text.contains("wl") && text.contains("wa"));
        assert!(!text.contains("wm") && !text.contains("mask"), "{text}");
    }

    #[test]
    fn what_a_branch_takes_from_around_it_stays() {
        let (mut branch, mut then, mut graph) = (Vec::new(), named(1, "then_branch"), Vec::new());
        put_message(&mut branch, 1, &node(&["a", "wb"], "b"));
        put_message(&mut then, 6, &branch);
        let mut choice = node(&["is_so"], "logits");
        put_message(&mut choice, 5, &then);
        for node in [&node(&["x", "wa"], "a"), &node(&["x"], "is_so"), &choice] {
            put_message(&mut graph, 1, node);
        }
        for weight in ["wa", "wb", "wc"] {
            put_message(&mut graph, 5, &named(8, weight));
        }
        put_message(&mut graph, 12, &named(1, "logits"));
        let mut model = Vec::new();
        put_message(&mut model, 7, &graph);
        let pruned = prune(&model, &["logits"], None).unwrap();
        let text = String::from_utf8_lossy(&pruned);
        assert!(text.contains("wa") && !text.contains("wc"), "{text}");
        assert_eq!(text.matches("wb").count(), 2, "{text}");
    }

    #[test]
    fn all_outputs_change_nothing() {
        assert_eq!(prune(&two_heads(), &["mask", "logits"], None).unwrap(), two_heads());
    }

    #[test]
    fn refusals_name_what_is_there() {
        let error = prune(&two_heads(), &["depth"], None).unwrap_err().to_string();
        assert_eq!(error, "the network has no output \"depth\"; it has logits, mask");
        let model = two_heads();
        for length in 1..model.len() - 1 {
            // Whatever is cut off: an error or fewer fields, no panic.
            let _ = prune(&model[..length], &["logits"], None);
        }
    }

    #[test]
    fn weights_of_8_bits_are_told_from_those_of_7() {
        let model = |kind: u64, dimensions: &[u64], is_packed: bool, values: &[i8]| {
            let (mut tensor, mut packed) = (named(8, "w"), Vec::new());
            for size in dimensions {
                if !is_packed {
                    put_varint(&mut tensor, 1 << 3);
                }
                put_varint(if is_packed { &mut packed } else { &mut tensor }, *size);
            }
            if is_packed {
                put_message(&mut tensor, 1, &packed);
            }
            put_varint(&mut tensor, 2 << 3);
            put_varint(&mut tensor, kind);
            let bytes: Vec<u8> = values.iter().map(|value| value.cast_unsigned()).collect();
            put_message(&mut tensor, 9, &bytes);
            let (mut graph, mut model) = (Vec::new(), Vec::new());
            put_message(&mut graph, 5, &tensor);
            put_message(&mut model, 7, &graph);
            has_8_bit_weights(&model).unwrap()
        };
        for is_packed in [false, true] {
            assert!(model(3, &[300, 1], is_packed, &[1, -65]));
            assert!(model(3, &[2, 1], is_packed, &[127, 0]));
            assert!(!model(3, &[2, 1], is_packed, &[64, -64]));
            assert!(!model(3, &[2], is_packed, &[-128, -128]));
            assert!(!model(2, &[2, 1], is_packed, &[-1, 127]));
        }
    }

    /// x -> a -> mask by `DepthToSpace`.
    fn shuffling(block: u64, mode: Option<&str>) -> Vec<u8> {
        let mut shuffle = node(&["a"], "mask");
        shuffle.extend(named(4, "DepthToSpace"));
        let mut attribute = named(1, "blocksize");
        put_varint(&mut attribute, 3 << 3);
        put_varint(&mut attribute, block);
        put_message(&mut shuffle, 5, &attribute);
        if let Some(mode) = mode {
            put_message(&mut shuffle, 5, &[named(1, "mode"), named(4, mode)].concat());
        }
        let mut graph = Vec::new();
        for node in [node(&["x", "wa"], "a"), shuffle] {
            put_message(&mut graph, 1, &node);
        }
        put_message(&mut graph, 5, &named(8, "wa"));
        put_message(&mut graph, 12, &named(1, "mask"));
        let mut model = Vec::new();
        put_message(&mut model, 7, &graph);
        model
    }

    #[test]
    fn an_output_that_is_only_moved_is_found_and_left_out() {
        let mode_of = |mode| {
            let found = shuffled(&shuffling(2, mode), "mask").unwrap();
            found.map(|found| (found.source, found.shuffle.block, found.shuffle.mode))
        };
        assert_eq!(mode_of(None), Some(("a".to_owned(), 2, ShuffleMode::DepthFirst)));
        assert_eq!(mode_of(Some("DCR")), mode_of(None));
        assert_eq!(mode_of(Some("CRD")), Some(("a".to_owned(), 2, ShuffleMode::ColumnsFirst)));
        assert_eq!(mode_of(Some("of another day")), None);
        assert_eq!(shuffled(&shuffling(0, None), "mask").unwrap(), None);
        assert_eq!(shuffled(&shuffling(1 << 16, None), "mask").unwrap(), None);
        assert_eq!(shuffled(&two_heads(), "mask").unwrap(), None);

        let pruned = prune(&shuffling(2, None), &[], Some("a")).unwrap();
        let text = String::from_utf8_lossy(&pruned);
        assert!(text.contains("wa") && !text.contains("DepthToSpace"), "{text}");
        // Who reads it, or what it comes from, elsewhere gets it as it is.
        let with = |number, more: Vec<u8>| {
            let model = shuffling(2, None);
            let graph = Fields::new(&model).next().unwrap().unwrap().payload.to_vec();
            let mut field = Vec::new();
            put_message(&mut field, number, &more);
            let mut model = Vec::new();
            put_message(&mut model, 7, &[graph, field].concat());
            model
        };
        assert_eq!(shuffled(&with(1, node(&["mask"], "b")), "mask").unwrap(), None);
        assert_eq!(shuffled(&with(12, named(1, "a")), "mask").unwrap(), None);
    }
}
