//! Functions fit a page, and so do files, unless the file's first comment says why not: "above 300
//! lines", "`name` is above 60 lines", and the reason.
use crate::imports::rust_files;
use std::{fs, path::Path};

/// Most lines of a function, from `fn` to its brace.
const FUNCTION: usize = 60;

/// Most lines of a file without a reason.
const FILE: usize = 300;

/// The words that begin the reason in the first comment of a longer file.
const REASON: &str = "bove 300 lines";

#[test]
fn functions_and_files_fit_a_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "build", "cli/src", "mpi/src"] {
        rust_files(&root.join(folder), &mut files);
    }
    assert!(files.len() > 150, "{}", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a listed file is there");
        let name = file.strip_prefix(root).expect("it was listed under it").display();
        wrong.extend(too_long(&text).into_iter().map(|what| format!("{name}: {what}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is too long in the text of a file as rustfmt leaves it: there a function that begins at an
/// indent ends with the first brace at that indent.
fn too_long(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let comment = text.lines().map_while(|line| line.strip_prefix("//!"));
    let comment = comment.map(str::trim).collect::<Vec<_>>().join(" ");
    if lines.len() > FILE && !comment.contains(REASON) {
        found.push(format!("{} lines, and the first comment does not say why", lines.len()));
    }
    for (start, line) in lines.iter().enumerate() {
        let declared = line.trim_start();
        let indent = &line[..line.len() - declared.len()];
        let Some(name) = declared.split("fn ").nth(1).filter(|_| is_function(declared)) else {
            continue;
        };
        let end = format!("{indent}}}");
        let Some(length) = lines[start..].iter().position(|line| **line == end) else { continue };
        let name = name.split(['(', '<']).next().unwrap_or_default();
        if length + 1 > FUNCTION && !comment.contains(&format!("`{name}` is above 60 lines")) {
            found.push(format!("line {}: {name} has {} lines", start + 1, length + 1));
        }
    }
    found
}

/// Whether a line declares a function that has a body: all before `fn` are qualifiers.
fn is_function(line: &str) -> bool {
    let mut qualifiers = line.split("fn ").next().unwrap_or_default().split_whitespace();
    let known = |word: &str| {
        ["const", "async", "unsafe", "extern", "\"C\""].contains(&word) || word.starts_with("pub")
    };
    line.contains("fn ") && qualifiers.all(known) && !line.ends_with(';') && !line.ends_with("}")
}

#[test]
fn planted_lengths_are_found() {
    let body = |lines: usize| "    let x = 1;\n".repeat(lines);
    let function = |head: &str, lines| format!("{head} {{\n{}}}\n", body(lines));
    for head in ["fn f()", "pub(crate) fn f<T>(x: T)", "pub const unsafe fn f()", "async fn f()"] {
        assert_eq!(too_long(&function(head, FUNCTION - 2)), Vec::<String>::new(), "{head}");
        assert_eq!(too_long(&function(head, FUNCTION - 1)).len(), 1, "{head}");
    }
    // A type of functions, a declaration without a body, and an item that is none.
    for head in ["type F = fn(u32) -> u32;\nstruct S", "trait T", "// fn f()\nmod m"] {
        assert_eq!(too_long(&function(head, 100)), Vec::<String>::new(), "{head}");
    }
    let method = function("    fn f()", 70).replace("\n}\n", "\n    }\n");
    assert_eq!(too_long(&format!("impl S {{\n    fn g() {{}}\n{method}}}\n")).len(), 1);
    let file = "//! About it.\n".to_owned() + &body(FILE);
    assert_eq!(too_long(&file).len(), 1);
    let reasoned = "//! About it. Above 300 lines, for a reason.\n".to_owned() + &body(FILE);
    assert_eq!(too_long(&reasoned), Vec::<String>::new());
}
