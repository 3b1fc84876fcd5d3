//! From a prompt to tokens: byte pair encoding (Sennrich et al. 2016) as CLIP has it.
use super::byte_pairs::BytePairs;
use crate::{
    error::{ConfigError, FileError, Unexpected},
    files,
};
use serde::Deserialize;
use serde_json::Value as Json;
use std::{collections::HashMap, path::Path};
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

const BOS: &str = "<|startoftext|>";
const EOS: &str = "<|endoftext|>";
/// What stands for the end of a word.
const END: &str = "</w>";
const CONTRACTIONS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

/// A text encoder's vocabulary, and how a text is taken apart.
///
/// Texts are taken apart as transformers 5 and the `tokenizers` crate do: composed (NFC), runs of white
/// space as one blank, in lower case letter by letter, nothing removed or repaired.
///
/// ```no_run
/// use ddim::models::clip_text::Tokenizer;
///
/// let tokenizer = Tokenizer::read("model/tokenizer".as_ref())?;
/// let ids = tokenizer.encode("a photograph of an astronaut");
/// assert_eq!(ids.len(), tokenizer.length());
/// println!("{:?}", tokenizer.tokens("an astronaut", 75));
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tokenizer {
    pairs: BytePairs,
    bos: u32,
    eos: u32,
    pad: u32,
    length: usize,
}

/// A `tokenizer.json`.
#[derive(Deserialize)]
struct Whole {
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
}

/// Two tokens that are joined.
#[derive(Deserialize)]
#[serde(untagged, expecting = "two tokens, or both in one text")]
enum Merge {
    Text(String),
    Pair([String; 2]),
}

impl Merge {
    fn pair(&self) -> Option<(&str, &str)> {
        match self {
            Self::Text(text) => text.split_once(' '),
            Self::Pair([left, right]) => Some((left, right)),
        }
    }
}

impl Tokenizer {
    /// Reads `vocab.json` and `merges.txt` of a folder, or its `tokenizer.json`, or that file; beside them
    /// `tokenizer_config.json` and `special_tokens_map.json` say what a text is padded with and how long it
    /// is, else it is 77 tokens and its last token.
    ///
    /// # Errors
    /// If a file is missing or damaged; the error names it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        let vocabulary = folder.join("vocab.json");
        let (named, model) = if path.is_dir() && vocabulary.exists() {
            let merges = text_of(&folder.join("merges.txt"))?;
            let lines = merges.lines().filter(|line| !line.starts_with("#version"));
            let lines = lines.map(str::trim).filter(|line| !line.is_empty());
            let merges = lines.map(|line| Merge::Text(line.to_owned())).collect();
            let vocab = parsed(&vocabulary)?;
            (vocabulary, Model { vocab, merges })
        } else {
            let file = if path.is_dir() { path.join("tokenizer.json") } else { path.into() };
            let Whole { model } = parsed(&file)?;
            (file, model)
        };
        let settings = ["tokenizer_config.json", "special_tokens_map.json"].map(|name| {
            let path = folder.join(name);
            if path.exists() { parsed(&path) } else { Ok(Json::Null) }
        });
        let [config, map] = settings;
        let [config, map] = [config?, map?];
        let made = Self::new(model, &config, &map).map_err(ConfigError::Tokenizer);
        made.map_err(ConfigError::at(&named))
    }

    fn new(model: Model, config: &Json, map: &Json) -> Result<Self, Unexpected> {
        let Model { vocab, merges } = model;
        let id = |token: &str| {
            vocab
                .get(token)
                .copied()
                .ok_or_else(|| Unexpected::new("vocab", token, "no such token"))
        };
        let mut pairs = BytePairs::new(id, END)?;
        for (rank, merge) in merges.iter().enumerate() {
            let Some((left, right)) = merge.pair() else {
                let found = format!("line {}", rank + 1);
                return Err(Unexpected::new("merges", "two tokens in each", found));
            };
            pairs.add([id(left)?, id(right)?], id(&format!("{left}{right}"))?);
        }
        let eos = id(EOS)?;
        // A text, or an object that holds it.
        let pad = |of: &Json| {
            let token = &of["pad_token"];
            token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
        };
        let pad = pad(map).or_else(|| pad(config)).map_or(Ok(eos), |token| id(&token))?;
        let length = config["model_max_length"].as_u64().filter(|length| *length <= 1 << 16);
        let length = length.map_or(77, |length| length as usize);
        Unexpected::check(length >= 2, "model_max_length", "at least 2", length)?;
        Ok(Self { pairs, bos: id(BOS)?, eos, pad, length })
    }

    /// The same with another token after a text's end.
    pub fn padded_with(self, pad: u32) -> Self {
        Self { pad, ..self }
    }

    /// Tokens of every text.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The tokens of a text: its beginning, what fits of its own, its end, and the padding.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = vec![self.bos];
        ids.extend(self.tokens(text, self.length - 2));
        ids.push(self.eos);
        ids.resize(self.length, self.pad);
        ids
    }

    /// The first tokens of a text itself, at most so many.
    pub fn tokens(&self, text: &str, most: usize) -> Vec<u32> {
        let text = normalised(text);
        let mut ids = Vec::new();
        let mut rest = &text[..];
        while !rest.is_empty() && ids.len() < most {
            let special = [(BOS, self.bos), (EOS, self.eos)];
            let found =
                special.iter().filter_map(|(of, id)| Some((rest.find(of)?, *of, *id))).min();
            let (before, token) = match found {
                Some((at, of, id)) => (&rest[..at], Some((at + of.len(), id))),
                None => (rest, None),
            };
            for word in Words(before) {
                self.pairs.encode(word, &mut ids);
                if ids.len() >= most {
                    break;
                }
            }
            let Some((end, id)) = token else { break };
            ids.push(id);
            rest = &rest[end..];
        }
        ids.truncate(most);
        ids
    }
}

/// Composed, runs of white space as one blank, in lower case.
fn normalised(text: &str) -> String {
    let mut blank = false;
    let mut result = String::with_capacity(text.len());
    for letter in text.nfc() {
        if letter.is_whitespace() {
            if !blank {
                result.push(' ');
            }
        } else {
            result.extend(letter.to_lowercase());
        }
        blank = letter.is_whitespace();
    }
    result
}

/// What letters are taken together.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Blank,
    Letter,
    Number,
    Other,
}

impl Kind {
    fn of(letter: char) -> Self {
        match letter.general_category_group() {
            _ if letter.is_whitespace() => Self::Blank,
            GeneralCategoryGroup::Letter => Self::Letter,
            GeneralCategoryGroup::Number => Self::Number,
            _ => Self::Other,
        }
    }
}

/// The words of a text: contractions, runs of letters, single numbers, runs of what is none of these.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.0 = self.0.trim_start_matches(|letter| Kind::of(letter) == Kind::Blank);
        let first = self.0.chars().next()?;
        let kind = Kind::of(first);
        let end = match CONTRACTIONS.iter().find(|of| self.0.starts_with(**of)) {
            Some(contraction) => contraction.len(),
            None if kind == Kind::Number => first.len_utf8(),
            None => self.0.find(|letter| Kind::of(letter) != kind).unwrap_or(self.0.len()),
        };
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(word)
    }
}

fn text_of(path: &Path) -> Result<String, ConfigError> {
    Ok(files::read_text(path).map_err(FileError::at(path))?)
}

fn parsed<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, ConfigError> {
    let read = files::parse_object(&text_of(path)?).map_err(ConfigError::TokenizerJson);
    read.map_err(ConfigError::at(path))
}
