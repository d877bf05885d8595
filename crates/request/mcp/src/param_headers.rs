//! Headers that mirror the body (MCP 2026-07-28, streamable HTTP): written, decoded, and compared. They are never
//! used for a decision; a header that differs from the body refuses the message.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

const PREFIX: &str = "=?base64?";
const SUFFIX: &str = "?=";
/// Levels of a schema that are searched for annotations.
const DEPTH_MAX: usize = 32;
/// Annotations of one tool.
const COUNT_MAX: usize = 64;

/// A property whose value a header mirrors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParamHeader {
    name: HeaderName,
    path: Vec<String>,
    numeric: bool,
}

/// `text` as a header value: as it is, or in base64 where a header cannot carry it.
pub(crate) fn encode(text: &str) -> HeaderValue {
    let visible = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    let padded = text.starts_with(' ') || text.ends_with(' ');
    let like_encoded = text.starts_with(PREFIX) && text.ends_with(SUFFIX);
    let plain = visible && !padded && !like_encoded;
    let value = if plain {
        text.to_owned()
    } else {
        format!("{PREFIX}{}{SUFFIX}", STANDARD.encode(text))
    };
    // Visible ASCII only, so this cannot fail; an empty value would be refused upstream.
    HeaderValue::from_str(&value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The text a header value stands for; `None` when the base64 form is broken.
pub(crate) fn decode(value: &HeaderValue) -> Option<String> {
    let text = std::str::from_utf8(value.as_bytes())
        .ok()?
        .trim_matches([' ', '\t']);
    match text.strip_prefix(PREFIX).and_then(|t| t.strip_suffix(SUFFIX)) {
        Some(inner) => String::from_utf8(STANDARD.decode(inner).ok()?).ok(),
        None => Some(text.to_owned()),
    }
}

/// The annotated properties of an input schema. Annotations count only where a chain of `properties` leads to
/// them; anywhere else they make the tool unusable, because two readers could disagree on them.
pub(crate) fn of_schema(schema: &Value) -> Result<Vec<ParamHeader>, String> {
    let mut found = Vec::new();
    search(schema, &mut Vec::new(), true, 0, &mut found)?;
    Ok(found)
}

/// As [`of_schema`], from a canonical tool definition.
pub(crate) fn of_definition(definition: &[u8]) -> Arc<[ParamHeader]> {
    let tool: Value = serde_json::from_slice(definition).unwrap_or_default();
    let found = tool.get("inputSchema").and_then(|schema| of_schema(schema).ok());
    found.unwrap_or_default().into()
}

fn search(
    schema: &Value,
    path: &mut Vec<String>,
    reachable: bool,
    depth: usize,
    found: &mut Vec<ParamHeader>,
) -> Result<(), String> {
    let Value::Object(schema) = schema else {
        return Ok(());
    };
    if depth > DEPTH_MAX {
        return Err(format!("its schema is nested more than {DEPTH_MAX} levels"));
    }
    if let Some(annotation) = schema.get("x-mcp-header") {
        if !reachable || path.is_empty() {
            return Err("x-mcp-header stands where no chain of properties leads".to_owned());
        }
        found.push(annotated(annotation, schema, path, found)?);
    }
    for (key, value) in schema {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                for (name, child) in properties {
                    path.push(name.clone());
                    search(child, path, reachable, depth + 1, found)?;
                    path.pop();
                }
            }
            ("patternProperties" | "dependentSchemas" | "$defs" | "definitions", Value::Object(children)) => {
                children
                    .values()
                    .try_for_each(|child| search(child, path, false, depth + 1, found))?;
            }
            ("const" | "default" | "enum" | "examples", _) => {}
            (_, Value::Array(children)) => {
                children
                    .iter()
                    .try_for_each(|child| search(child, path, false, depth + 1, found))?;
            }
            (_, child) => search(child, path, false, depth + 1, found)?,
        }
    }
    Ok(())
}

fn annotated(
    annotation: &Value,
    schema: &Map<String, Value>,
    path: &[String],
    found: &[ParamHeader],
) -> Result<ParamHeader, String> {
    let suffix = annotation
        .as_str()
        .filter(|s| !s.is_empty())
        .ok_or("x-mcp-header is not a name")?;
    let name: HeaderName = format!("mcp-param-{suffix}")
        .parse()
        .map_err(|_| "x-mcp-header is not a header name".to_owned())?;
    let numeric = match schema.get("type").and_then(Value::as_str) {
        Some("boolean" | "string") => false,
        Some("integer" | "number") => true,
        _ => {
            return Err(
                "x-mcp-header stands at a property that is not a text, a number or a boolean".to_owned(),
            );
        }
    };
    if found.len() >= COUNT_MAX || found.iter().any(|other| other.name == name) {
        return Err("x-mcp-header names the same header twice, or there are too many".to_owned());
    }
    Ok(ParamHeader {
        name,
        path: path.to_vec(),
        numeric,
    })
}

/// Compares every annotated argument with its header. On success the headers to send on, rebuilt from the body.
pub(crate) fn require_mirrored(
    annotated: &[ParamHeader],
    arguments: Option<&Map<String, Value>>,
    headers: &HeaderMap,
) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let mut rebuilt = Vec::new();
    for header in annotated {
        let Some(value) = arguments.and_then(|a| value_at(a, &header.path)) else {
            continue;
        };
        let Some(text) = primitive(value) else { continue };
        let mut sent = headers.get_all(&header.name).iter();
        let one = sent
            .next()
            .ok_or_else(|| format!("header `{}` is missing", header.name))?;
        if sent.next().is_some() {
            return Err(format!("header `{}` stands twice", header.name));
        }
        let decoded = decode(one).ok_or_else(|| format!("header `{}` has broken base64", header.name))?;
        let same = decoded == text || (header.numeric && same_number(&decoded, value));
        if !same {
            return Err(format!("header `{}` differs from the body", header.name));
        }
        rebuilt.push((header.name.clone(), encode(&text)));
    }
    Ok(rebuilt)
}

/// The headers for a caller that sends none (2025-11-25) towards a server that wants them.
pub(crate) fn mirror(
    annotated: &[ParamHeader],
    arguments: Option<&Map<String, Value>>,
) -> Vec<(HeaderName, HeaderValue)> {
    let values = annotated.iter().filter_map(|header| {
        let text = arguments
            .and_then(|a| value_at(a, &header.path))
            .and_then(primitive)?;
        Some((header.name.clone(), encode(&text)))
    });
    values.collect()
}

fn value_at<'a>(arguments: &'a Map<String, Value>, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let value = rest
        .iter()
        .try_fold(arguments.get(first)?, |value, key| value.get(key))?;
    (!value.is_null()).then_some(value)
}

fn primitive(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => {
            let text = number.to_string();
            // 42.0 is written 42, as ECMAScript does.
            Some(text.strip_suffix(".0").map_or(text.clone(), str::to_owned))
        }
        _ => None,
    }
}

fn same_number(text: &str, value: &Value) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return false;
    }
    match (text.parse::<f64>(), value.as_f64()) {
        (Ok(header), Some(body)) => header.to_bits() == body.to_bits(),
        _ => false,
    }
}
