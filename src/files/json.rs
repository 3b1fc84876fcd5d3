//! JSON, also as Python's diffusers writes it: with `NaN` and infinities, `null` for a default, and
//! keys that only other programs read.
use crate::error::JsonError;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap, path::Path};

/// The numbers that Python's `json` writes and JSON does not have, the longest first.
const NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Keys that a warning names.
const NAMED: usize = 5;

/// The text with Python's non-finite numbers as strings: a key that takes a number refuses them by
/// name, and any other key may hold them.
fn quote_non_finite(text: &str) -> Cow<'_, str> {
    if !NUMBERS.iter().any(|number| text.contains(number)) {
        return text.into();
    }
    let mut quoted = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find(['"', '-', 'I', 'N']) {
        quoted += &rest[..at];
        rest = &rest[at..];
        let number = NUMBERS.iter().find(|number| rest.starts_with(**number));
        let taken = match number {
            Some(number) => {
                quoted += &format!("\"{number}\"");
                number.len()
            }
            None => {
                let end = if rest.starts_with('"') { string_end(rest) } else { 1 };
                quoted += &rest[..end];
                end
            }
        };
        rest = &rest[taken..];
    }
    (quoted + rest).into()
}

/// Where the string ends with which a text begins.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Reads the text of a JSON object. The numbers `NaN`, `Infinity` and `-Infinity`, which Python
/// writes, are read as strings of these letters.
///
/// # Errors
/// If it is none, nests more than 127 deep, or a key holds what it may not; the error names it.
///
/// ```
/// use ddim::files::parse_object;
/// use std::collections::BTreeMap;
///
/// let settings: BTreeMap<String, u32> = parse_object(r#"{"steps": 50}"#)?;
/// assert_eq!(settings["steps"], 50);
/// let refused = parse_object::<BTreeMap<String, u32>>(r#"{"steps": -1}"#);
/// assert_eq!(refused.expect_err("-1 is no u32").key, "steps");
/// # Ok::<(), ddim::error::JsonError>(())
/// ```
pub fn parse_object<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    // serde takes a list for a structure whose fields are in this order; nobody means that.
    if text.trim_start().starts_with('[') {
        let message = "expected an object, found a list at line 1 column 1".into();
        return Err(JsonError { key: ".".into(), message });
    }
    let text = quote_non_finite(text);
    let mut json = serde_json::Deserializer::from_str(&text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| JsonError {
        key: error.path().to_string(),
        message: error.inner().to_string(),
    })?;
    let rest = |error: serde_json::Error| JsonError { key: ".".into(), message: error.to_string() };
    json.end().map_err(rest)?;
    Ok(value)
}

/// The beginning of a stranger's text, quoted for a message.
///
/// ```
/// use ddim::files::excerpt;
///
/// assert_eq!(excerpt("two\nlines"), r#""two\nlines""#);
/// assert!(excerpt(&"x".repeat(1000)).ends_with(r#"xxx"..."#));
/// ```
pub fn excerpt(text: &str) -> String {
    const LETTERS: usize = 200;
    match text.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Reads the text of a configuration, and the names of its keys. `null` stands for the default, except
/// of the keys in `nullable`, where it is a value.
///
/// # Errors
/// As [`parse_object`].
pub(crate) fn parse_config<T: DeserializeOwned>(
    text: &str,
    nullable: &[&str],
) -> Result<(T, Vec<String>), JsonError> {
    let text = quote_non_finite(text);
    // Values as they stand: a list of numbers would take fifty times its text.
    let Ok(keys) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(&text) else {
        // The same fault, found with its key.
        return Ok((parse_object(&text)?, Vec::new()));
    };
    let is_default =
        |key: &String, value: &RawValue| value.get() == "null" && !nullable.contains(&&key[..]);
    let config = if keys.iter().any(|(key, value)| is_default(key, value)) {
        let rest = keys.iter().filter(|(key, value)| !is_default(key, value));
        let rest: BTreeMap<_, _> = rest.collect();
        let rest = serde_json::to_string(&rest);
        parse_object(&rest.expect("keys and values that were read as JSON are JSON"))?
    } else {
        parse_object(&text)?
    };
    Ok((config, keys.into_keys().collect()))
}

/// Warns of the keys of a file that nobody knows: where one is misspelt, a default holds instead.
/// Keys that begin with an underscore are notes of diffusers.
pub(crate) fn warn_of_unknown(path: &Path, keys: &[String], known: &[&str]) {
    let is_unknown = |key: &&String| !key.starts_with('_') && !known.contains(&key.as_str());
    let unknown: Vec<&String> = keys.iter().filter(is_unknown).collect();
    if unknown.is_empty() {
        return;
    }
    let named = unknown.iter().take(NAMED).map(|key| match nearest(key, known) {
        Some(near) => format!("{} (is {near} meant?)", excerpt(key)),
        None => excerpt(key),
    });
    let mut named: Vec<String> = named.collect();
    if unknown.len() > NAMED {
        named.push(format!("and {} more", unknown.len() - NAMED));
    }
    log::warn!("{}: unknown keys are not read: {}", path.display(), named.join(", "));
}

/// As [`warn_of_unknown`]; the keys of a `T` are known, and those `beside` them.
pub(crate) fn warn_of_others<T: Serialize + Default>(
    path: &Path,
    keys: &[String],
    beside: &[&str],
) {
    let all = serde_json::to_value(T::default()).expect("plain fields with string keys are JSON");
    let own = all.as_object().into_iter().flat_map(|of| of.keys()).map(String::as_str);
    let known: Vec<&str> = own.chain(beside.iter().copied()).collect();
    warn_of_unknown(path, keys, &known);
}

/// The known key that differs in few letters: one in four, at most three.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if key.len() > LONGEST {
        return None;
    }
    let distances = known.iter().map(|known| (distance(key, known), *known));
    let (distance, near) = distances.min()?;
    (distance <= (near.len() / 4).min(3)).then_some(near)
}

/// Letters to insert, remove or replace: Levenshtein's distance.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_finite_numbers_become_strings_outside_of_strings() {
        for (text, expected) in [
            (
                r#"{"a": NaN, "b": [-Infinity,Infinity]}"#,
                r#"{"a": "NaN", "b": ["-Infinity","Infinity"]}"#,
            ),
            (r#"{"NaN": "a \" NaN", "-": -1}"#, r#"{"NaN": "a \" NaN", "-": -1}"#),
            (r#"{"ä": "Infinity\\", "b": NaN}"#, r#"{"ä": "Infinity\\", "b": "NaN"}"#),
            (r#"NaN "Infinity"#, r#""NaN" "Infinity"#),
            ("-I-N", "-I-N"),
        ] {
            assert_eq!(quote_non_finite(text), expected);
        }
    }

    #[test]
    fn misspelt_keys_have_a_nearest_one() {
        let known = ["block_out_channels", "norm_eps", "dropout"];
        assert_eq!(nearest("block_out_chanels", &known), Some("block_out_channels"));
        assert_eq!(nearest("norm_esp", &known), Some("norm_eps"));
        assert_eq!(nearest("drop", &known), None);
        assert_eq!(nearest("", &[]), None);
    }
}
