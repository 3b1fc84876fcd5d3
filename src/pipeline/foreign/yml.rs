//! The part of YAML that configurations of models are written in: maps by indentation, lists in brackets or
//! with dashes, and words.
use super::scalar::scalar;
use crate::error::JsonError;
use serde_json::{Map, Value as Json};

/// Maps within maps.
const DEEPEST: usize = 16;

/// A line that says something: its indentation and text.
type Line<'a> = (usize, &'a str);

/// Reads a text.
pub(super) fn parse(text: &str) -> Result<Json, JsonError> {
    let lines: Vec<Line> = text
        .lines()
        .map(|line| line.split_once(" #").map_or(line, |(line, _)| line).trim_end())
        .filter(|line| !line.trim_start().is_empty() && !line.trim_start().starts_with('#'))
        .map(|line| (line.len() - line.trim_start().len(), line.trim_start()))
        .collect();
    let mut rest = &lines[..];
    let parsed = block(&mut rest, 0)?;
    match rest.first() {
        None => Ok(parsed),
        Some((_, line)) => Err(error(line, "expected less indentation")),
    }
}

fn error(line: &str, message: &str) -> JsonError {
    let key = line.chars().take(80).collect();
    JsonError { key, message: message.into() }
}

/// The map or list that begins with the first of these lines.
fn block(rest: &mut &[Line], depth: usize) -> Result<Json, JsonError> {
    let Some(&(indent, first)) = rest.first() else { return Ok(Json::Null) };
    if depth > DEEPEST {
        return Err(error(first, "expected fewer maps within maps"));
    }
    let (mut map, mut list) = (Map::new(), Vec::new());
    while let Some(&(own, line)) = rest.first().filter(|(own, _)| *own >= indent) {
        if own > indent {
            return Err(error(line, "expected the indentation of the line above"));
        }
        *rest = &rest[1..];
        if let Some(item) = line.strip_prefix("- ") {
            list.push(flow(item.trim())?);
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            return Err(error(line, "expected a key and a colon"));
        };
        let value = match value.trim() {
            "" => match rest.first() {
                Some(&(inner, next))
                    if inner > indent || inner == indent && next.starts_with("- ") =>
                {
                    block(rest, depth + 1)?
                }
                _ => Json::Null,
            },
            value => flow(value)?,
        };
        map.insert(key.trim().trim_matches(['"', '\'']).to_owned(), value);
    }
    Ok(if list.is_empty() { Json::Object(map) } else { Json::Array(list) })
}

/// A value on one line.
fn flow(text: &str) -> Result<Json, JsonError> {
    if let Some(inside) = text.strip_prefix('[') {
        let Some(inside) = inside.strip_suffix(']') else {
            return Err(error(text, "expected a closing bracket"));
        };
        let items = inside.split(',').map(str::trim).filter(|item| !item.is_empty());
        return Ok(Json::Array(items.map(scalar).collect()));
    }
    let quoted = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    match quoted('"').or_else(|| quoted('\'')) {
        Some(text) => Ok(text.into()),
        None => Ok(scalar(text)),
    }
}
