//! What the text of a Rust file imports.
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Reads the use tree at `at` and returns where it ends.
pub fn tree(
    tokens: &[String],
    mut at: usize,
    mut prefix: Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "{" => {
                while tokens.get(at).is_some_and(|token| token == "{" || token == ",") {
                    at += 1;
                    if tokens.get(at).is_some_and(|token| token != "}") {
                        at = tree(tokens, at, prefix.clone(), found);
                    }
                }
                return at + 1;
            }
            "*" | "self" => at += 1,
            name => {
                prefix.push(name.to_owned());
                at += 1;
            }
        }
        if tokens.get(at).is_some_and(|token| token == "::") {
            at += 1;
        } else {
            break;
        }
    }
    found.push(prefix);
    if tokens.get(at).is_some_and(|token| token == "as") { at + 2 } else { at }
}

/// Words, `::` and single signs; comments and literals left out.
pub fn tokens(source: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            quoted(rest)
        } else if first == '\'' {
            // A character, or the sign of a lifetime.
            let escaped = rest.starts_with("'\\");
            let close =
                rest.char_indices().skip(2 + usize::from(escaped)).find(|(_, c)| *c == '\'');
            close.filter(|(end, _)| escaped || *end <= 5).map_or(1, |(end, _)| end + 1)
        } else if word > 0 {
            tokens.push(rest[..word].to_owned());
            word
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// Length of the string literal that `text` begins with.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

pub fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the sources are there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
