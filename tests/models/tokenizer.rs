//! Tokens of texts, with a small vocabulary made here.
#![cfg(feature = "tokenizer")]
use crate::common::vocabulary::{self, MERGES, vocabulary};
use ddim::models::clip_text::Tokenizer;
use serde_json::json;
use std::{fs, path::Path};

const BOS: u32 = 0;
const EOS: u32 = 1;

/// Writes the files of both kinds into folders of their names.
fn write(folder: &Path) {
    for name in ["two", "one"] {
        fs::create_dir(folder.join(name)).expect("a new folder");
    }
    vocabulary::write(&folder.join("two"), 8);
    let merges: Vec<Vec<&str>> = MERGES.iter().map(|merge| merge.split(' ').collect()).collect();
    let model = json!({"type": "BPE", "vocab": vocabulary::numbers(), "merges": merges});
    let whole = json!({"model": model}).to_string();
    fs::write(folder.join("one/tokenizer.json"), whole).expect("a new file");
}

/// The tokens of a text, in words.
fn tokens(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let known = vocabulary();
    tokenizer.tokens(text, 1000).into_iter().map(|id| known[id as usize].clone()).collect()
}

#[test]
fn texts_are_taken_apart_and_joined_by_the_merges() {
    let folder = tempfile::tempdir().expect("a new folder");
    write(folder.path());
    for name in ["two", "one", "one/tokenizer.json"] {
        let tokenizer = Tokenizer::read(&folder.path().join(name)).expect("a whole vocabulary");
        let is = |text: &str, expected: &[&str]| {
            assert_eq!(tokens(&tokenizer, text), expected, "{name}: {text:?}");
        };
        is("", &[]);
        is(" \t\n", &[]);
        is("cat", &["cat</w>"]);
        is("a CAT  her\u{a0}hat", &["a</w>", "cat</w>", "her</w>", "h", "at</w>"]);
        // Pairs join from the left.
        is("aaaa", &["aa", "a", "a</w>"]);
        is("cat's ''s", &["cat</w>", "'s</w>", "'", "'</w>", "s</w>"]);
        is("12 c3", &["1</w>", "2</w>", "c</w>", "3</w>"]);
        is("?!cat.", &["?", "!</w>", "cat</w>", ".</w>"]);
        // Composed: two bytes.
        is("e\u{301}", &["Ã", "©</w>"]);
        is("a<|endoftext|>cat", &["a</w>", "<|endoftext|>", "cat</w>"]);
    }
}

#[test]
fn a_text_has_a_beginning_an_end_and_a_length() {
    let folder = tempfile::tempdir().expect("a new folder");
    write(folder.path());
    let two = Tokenizer::read(&folder.path().join("two")).expect("a whole vocabulary");
    let of = |token: &str| vocabulary().iter().position(|of| of == token).expect("known") as u32;
    let (cat, pad) = (of("cat</w>"), of("!"));
    assert_eq!(two.encode("cat"), [BOS, cat, EOS, pad, pad, pad, pad, pad]);
    // An end is never cut off.
    assert_eq!(two.encode(&"cat ".repeat(9)), [BOS, cat, cat, cat, cat, cat, cat, EOS]);
    let one = Tokenizer::read(&folder.path().join("one")).expect("a whole vocabulary");
    assert_eq!(one.encode("cat")[..3], [BOS, cat, EOS]);
    assert_eq!(one.encode("cat"), [&[BOS, cat][..], &[EOS; 75]].concat());
}

#[test]
fn a_long_word_takes_no_longer_than_its_letters() {
    let folder = tempfile::tempdir().expect("a new folder");
    write(folder.path());
    let tokenizer = Tokenizer::read(&folder.path().join("two")).expect("a whole vocabulary");
    // With a walk over the word for each merge: 10^11 steps.
    assert_eq!(tokenizer.tokens(&"ca".repeat(300_000), 10).len(), 10);
}

#[test]
fn what_a_vocabulary_lacks_is_named() {
    let folder = tempfile::tempdir().expect("a new folder");
    write(folder.path());
    let refused = |file: &str, text: &str, word: &str| {
        fs::write(folder.path().join("two").join(file), text).expect("a file");
        let error = Tokenizer::read(&folder.path().join("two")).expect_err(text).to_string();
        assert!(error.contains(word), "{error}");
    };
    refused("merges.txt", "c a\nca q\n", "caq");
    refused("merges.txt", "c a\ncat\n", "line 2");
    refused("vocab.json", "{\"a\": 0}", "vocab");
    refused("vocab.json", "{\"a\": ", "vocab.json");
}
