//! The floors of the crate: a module imports only from floors below its own.
use crate::imports::{rust_files, tokens, tree};
use std::{fs, path::Path};

/// Each module and its floor; the longest name that fits a path decides. The plan of the house
/// stands in ARCHITECTURE.md.
const FLOORS: [(&str, &str); 27] = [
    ("value", "0"),
    ("error", "0"),
    ("files", "0"),
    ("clock", "0"),
    ("plan", "1"),
    ("shaders", "1"),
    ("graph", "2"),
    ("ops", "2"),
    ("reference", "2"),
    ("passes", "3"),
    ("gpu", "4a"),
    ("nn", "4b"),
    ("models", "4c"),
    ("weights", "4c"),
    ("data", "4b"),
    ("pipeline", "4d"),
    ("diffusion::schedule", "4b"),
    ("diffusion::streams", "4b"),
    ("diffusion", "5"),
    ("training", "5"),
    ("classifier", "6"),
    ("pictures", "4b"),
    ("sampling", "6"),
    ("latent", "6"),
    ("verify", "7"),
    ("bench_cases", "6"),
    ("tuner", "7"),
];

#[test]
fn every_module_imports_from_below() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > 20, "{files:?}");
    let mut wrong = Vec::new();
    for file in files {
        let source = fs::read_to_string(&file).expect("a listed file is there");
        let path = file.strip_prefix(&root).expect("it was listed under it");
        wrong.extend(violations(&path.to_string_lossy(), &source));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn planted_violations_are_found() {
    let planted = [
        ("gpu/executor.rs", "use crate::{plan::Plan, graph::{self, Graph}};"),
        ("gpu/mod.rs", "fn f() { crate::ops::cases(); }"),
        ("nn/layers.rs", "use crate::gpu::Gpu;"),
        ("nn/model.rs", "use crate::models::unet2d::UNet;"),
        ("passes/memory.rs", "use super::lower::lower;"),
        ("diffusion/schedule/table.rs", "use super::super::sampler::Sampler;"),
        ("value.rs", "use crate::plan::Plan;"),
        ("value.rs", "use crate::error::Error;"),
        ("error/mod.rs", "use crate::graph::Graph;"),
        ("error/gpu.rs", "use crate::files;"),
        ("ops/silu.rs", "use crate::passes::simplify;"),
        ("models/unet2d/mod.rs", "use crate::training::Trainer;"),
        ("pipeline/mod.rs", "use crate::training::Settings;"),
        ("weights/mod.rs", "use wgpu::Buffer;"),
        ("helpers.rs", "pub fn help() {}"),
        ("plan.rs", "use crate::helpers::help;"),
    ];
    for (path, source) in planted {
        assert!(!violations(path, source).is_empty(), "{path}: {source}");
    }
    let sound = [
        ("gpu/executor.rs", "use crate::{error::Error, plan::{Plan, Target}, value::Value};"),
        ("gpu/executor.rs", "use super::{Gpu, transfer}; use wgpu::Buffer;"),
        ("passes/mod.rs", "mod lower; pub use lower::Lowered; use crate::graph::Graph;"),
        ("passes/memory.rs", "use super::lowered::Lowered; use crate::plan::Plan;"),
        ("ops/silu.rs", "use super::{Case, row::Row}; use crate::reference::Tensor as T;"),
        ("ops/mod.rs", "pub(crate) fn f() {}"),
        (
            "plan.rs",
            "//! crate::ops::Op\nconst A: &str = \"crate::gpu::Gpu, wgpu\"; /* crate::ops */",
        ),
        ("plan.rs", "const QUOTE: char = '\"'; fn f<'a>(x: &'a str) {} // crate::ops::Op"),
        ("value.rs", "#[cfg(test)]\nmod tests { use crate::ops::cases; }"),
        ("diffusion/sampler.rs", "use super::samplers::Table; use crate::gpu::Gpu;"),
        ("error/shape.rs", "use super::Error; use crate::value::TensorType;"),
        ("files.rs", "use crate::error::JsonError;"),
        ("lib.rs", "pub mod gpu; pub use crate::error::Error; pub use wgpu;"),
    ];
    for (path, source) in sound {
        assert_eq!(violations(path, source), Vec::<String>::new(), "{path}: {source}");
    }
}

/// What a file, named by its path under `src/`, imports that it may not.
fn violations(file: &str, source: &str) -> Vec<String> {
    let module: Vec<&str> = file.trim_end_matches(".rs").split(['/', '\\']).collect();
    let module = match module.as_slice() {
        // The top floor sees all.
        ["lib"] => return Vec::new(),
        [parents @ .., "mod"] => parents,
        whole => whole,
    };
    let Some((own, floor)) = place(module) else {
        return vec![format!("src/{file} stands on no floor")];
    };
    let tokens = tokens(source.split("#[cfg(test)]\nmod ").next().unwrap_or_default());
    let mut wrong = Vec::new();
    if own != "gpu" && tokens.iter().any(|token| token == "wgpu") {
        wrong.push(format!("src/{file} names wgpu; only gpu does"));
    }
    for import in imports(&tokens, module) {
        let import: Vec<&str> = import.iter().map(String::as_str).collect();
        let shown = import.join("::");
        let Some((other, below)) = place(&import) else {
            wrong.push(format!("src/{file} imports crate::{shown}, which stands on no floor"));
            continue;
        };
        let allowed = match (floor, below) {
            ("0", "0") => position(other) <= position(own),
            ("3", "3") => !is_other_pass(module, &import),
            ("1", "1") | ("2", "2") => true,
            ("4c" | "4d", "4b") | ("4d", "4c") => true,
            ("4a", below) => own == other || below < "2",
            (floor, below) => own == other || below[..1] < floor[..1],
        };
        if !allowed {
            wrong.push(format!("src/{file} (floor {floor}) imports crate::{shown} ({below})"));
        }
    }
    wrong
}

/// Where a module stands in [`FLOORS`]: on floor 0 each imports from those before it.
fn position(module: &str) -> usize {
    FLOORS.iter().position(|(name, _)| *name == module).unwrap_or(usize::MAX)
}

/// Whether a pass names another; `passes/mod.rs` orders them, `passes/lowered.rs` holds the types
/// that they share.
fn is_other_pass(module: &[&str], import: &[&str]) -> bool {
    let is_module = |name: &&&str| name.starts_with(|first: char| first.is_lowercase());
    module.len() > 1
        && import
            .get(1)
            .filter(is_module)
            .is_some_and(|name| *name != module[1] && *name != "lowered")
}

/// The entry of [`FLOORS`] that a module path belongs to.
fn place(path: &[&str]) -> Option<(&'static str, &'static str)> {
    let path = path.join("::") + "::";
    let fitting = FLOORS.iter().filter(|(name, _)| path.starts_with(&format!("{name}::")));
    fitting.max_by_key(|(name, _)| name.len()).copied()
}

/// The paths that begin with `crate` or `super`, in `use`s and elsewhere, from the crate's root.
fn imports(tokens: &[String], module: &[&str]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let starts = at == 0 || tokens[at - 1] != "::";
        if starts && tokens.get(at + 1).is_some_and(|next| next == "::") {
            let mut prefix: Vec<String> = match tokens[at].as_str() {
                "crate" => Vec::new(),
                "super" => module.iter().map(ToString::to_string).collect(),
                _ => continue,
            };
            let mut at = at;
            while tokens[at] == "super" || tokens[at] == "crate" {
                if tokens[at] == "super" {
                    prefix.pop();
                }
                at += 2;
            }
            tree(tokens, at, prefix, &mut found);
        }
    }
    found
}
