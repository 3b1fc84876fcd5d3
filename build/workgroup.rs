//! How many invocations a workgroup of an entry point has.
use crate::{assemble::Assembled, shader::Override};

/// The extents in `@workgroup_size(...)` before the entry point, multiplied, as Rust computes them from the
/// dispatch's `overrides`: numbers, overrides, tiles, and constants that are numbers.
pub fn invocations(
    assembled: &Assembled,
    overrides: &[Override],
    entry: &str,
) -> Result<String, String> {
    let Assembled { text, tiles, .. } = assembled;
    let size = text.split_once(&format!("fn {entry}(")).and_then(|(before, _)| {
        let (_, size) = before.rsplit_once("@workgroup_size(")?;
        size.split_once(')').map(|(size, _)| size)
    });
    let size = size.ok_or_else(|| format!("entry point `{entry}` has no @workgroup_size"))?;
    let known: Vec<&str> = overrides.iter().map(|o| o.name.as_str()).collect();
    let known: Vec<&str> = known.into_iter().chain(tiles.iter().map(|t| t.name.as_str())).collect();
    let extent = |word: &str| {
        let word = word.trim();
        if known.contains(&word) {
            return Ok(format!("overrides.{}", word.to_lowercase()));
        }
        number(word).or_else(|| constant(text, word)).map(|n| n.to_string()).ok_or_else(|| {
            format!("@workgroup_size of `{entry}`: {word} is no number, override or tile")
        })
    };
    let extents: Vec<String> = size.split(',').map(extent).collect::<Result<_, _>>()?;
    Ok(extents.join(" * "))
}

/// `64u` or `64`.
fn number(text: &str) -> Option<u32> {
    text.trim_end_matches('u').parse().ok()
}

/// The number of `const NAME = 64u;`, where its type may stand.
fn constant(text: &str, name: &str) -> Option<u32> {
    let value = |line: &str| {
        let rest = line.strip_prefix("const ")?.strip_prefix(name)?;
        let (before, value) = rest.split_once('=')?;
        let is_own = before.trim().is_empty() || before.starts_with(':');
        number(value.trim().trim_end_matches(';')).filter(|_| is_own)
    };
    text.lines().find_map(value)
}
