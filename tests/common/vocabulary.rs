//! A small vocabulary in CLIP's format, made here.
#![allow(dead_code, reason = "each test uses a part of it")]
use serde_json::{Map, json};
use std::{fs, path::Path};

/// The letters that stand for bytes: those that are printed themselves, the others from 256 on.
fn letter(byte: u8) -> String {
    let printed = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let before = (0..byte).filter(|byte| !printed(*byte)).count() as u32;
    let code = if printed(byte) { byte.into() } else { 256 + before };
    char::from_u32(code).expect("below 512").to_string()
}

pub const MERGES: [&str; 7] =
    ["c a", "ca t</w>", "a t</w>", "e r</w>", "h er</w>", "' s</w>", "a a"];

/// Tokens in the order of their numbers.
pub fn vocabulary() -> Vec<String> {
    let mut tokens = vec!["<|startoftext|>".to_owned(), "<|endoftext|>".to_owned()];
    for end in ["", "</w>"] {
        tokens.extend((0..=255).map(|byte| letter(byte) + end));
    }
    tokens.extend(MERGES.iter().map(|merge| merge.replace(' ', "")));
    tokens
}

/// The numbers of the tokens.
pub fn numbers() -> Map<String, serde_json::Value> {
    vocabulary().into_iter().zip(0_u32..).map(|(token, id)| (token, id.into())).collect()
}

/// Writes `vocab.json` and `merges.txt` into a folder, of texts of so many tokens that are padded with `!`.
pub fn write(folder: &Path, length: usize) {
    let put = |name: &str, text: String| fs::write(folder.join(name), text).expect("a new file");
    put("vocab.json", json!(numbers()).to_string());
    put("merges.txt", format!("#version: 0.2\n{}\n", MERGES.join("\n")));
    put("tokenizer_config.json", json!({"model_max_length": length}).to_string());
    let map = json!({"pad_token": {"content": "!"}});
    put("special_tokens_map.json", map.to_string());
}
