//! No file imports another that imports it back, directly or through others. An import counts for the
//! file that defines what is imported, not for those that export it again.
use crate::imports::{rust_files, tokens, tree};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    slice,
};

type Module = Vec<String>;

/// What a file imports, and what it exports again under which name.
#[derive(Default)]
struct Source {
    uses: Vec<Module>,
    exports: BTreeMap<String, Module>,
}

/// The language: an op reads and builds graphs, a graph holds ops, and the reference runs them.
const LANGUAGE: [&str; 3] = ["graph", "ops", "reference"];

#[test]
fn files_import_in_no_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (sources, least) in [("src", 100), ("cli/src", 20)] {
        let mut paths = Vec::new();
        rust_files(&root.join(sources), &mut paths);
        let texts: BTreeMap<Module, String> = paths
            .iter()
            .map(|path| {
                let inside = path.strip_prefix(root.join(sources)).expect("it was listed there");
                (module(inside), fs::read_to_string(path).expect("a listed file is there"))
            })
            .collect();
        assert!(texts.len() > least, "{sources}: {}", texts.len());
        let known = |name: &str| {
            LANGUAGE.iter().any(|top| name == *top || name.starts_with(&format!("{top}::")))
        };
        let circles = circles(&texts);
        let wrong: Vec<String> = circles
            .into_iter()
            .filter(|(from, to)| !known(from) && !known(to))
            .map(|(from, to)| format!("{sources}: {from} imports {to}, which imports it back"))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn planted_circles_are_found() {
    let texts = |files: &[(&str, &str)]| -> BTreeMap<Module, String> {
        files.iter().map(|(path, text)| (module(Path::new(path)), text.to_string())).collect()
    };
    let count = |files: &[(&str, &str)]| circles(&texts(files)).len();
    let pair = [("a.rs", "use crate::b::B;"), ("b.rs", "fn f() { crate::a::f() }")];
    assert_eq!(count(&pair), 2);
    let three = [
        ("a.rs", "use crate::m::{y::Y, X};"),
        ("m/mod.rs", "mod x; mod y; pub use x::X;"),
        ("m/x.rs", "use super::y::Y;"),
        ("m/y.rs", "use super::X;"),
    ];
    assert_eq!(count(&three), 2);
    let parent = [("m/mod.rs", "mod x; struct M; fn f() { x::g() }"), ("m/x.rs", "use super::M;")];
    assert_eq!(count(&parent), 2);
    let sound = [
        ("a.rs", "use crate::m::X; // crate::m::y"),
        ("m/mod.rs", "mod x; mod y; pub use self::{x::X, y::Y};"),
        ("m/x.rs", "use super::Y;"),
        ("m/y.rs", "use std::fmt;\n#[cfg(test)]\nmod tests { use crate::a; }"),
    ];
    assert_eq!(count(&sound), 0);
}

/// The module of a file, by its path below the crate's sources.
fn module(path: &Path) -> Module {
    let path = path.with_extension("");
    let mut module: Module = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

/// The imports from which a way leads back.
fn circles(texts: &BTreeMap<Module, String>) -> BTreeSet<(String, String)> {
    let is_module = |path: &[String]| texts.contains_key(path);
    let sources: BTreeMap<&Module, Source> =
        texts.iter().map(|(module, text)| (module, scan(module, text, &is_module))).collect();
    let mut edges: BTreeMap<&Module, BTreeSet<Module>> = BTreeMap::new();
    for (&module, source) in &sources {
        let mut found: BTreeSet<Module> =
            source.uses.iter().map(|path| definer(path, &sources, 0)).collect();
        found.remove(module);
        edges.insert(module, found);
    }
    let leads = |from: &Module, to: &Module| {
        let (mut open, mut seen) = (vec![from], BTreeSet::new());
        while let Some(at) = open.pop() {
            if at == to {
                return true;
            }
            if seen.insert(at) {
                open.extend(edges.get(at).into_iter().flatten());
            }
        }
        false
    };
    let all = edges.iter().flat_map(|(from, tos)| tos.iter().map(move |to| (*from, to)));
    let back = all.filter(|(from, to)| leads(to, from));
    back.map(|(from, to)| (from.join("::"), to.join("::"))).collect()
}

/// The file that defines what a path names.
fn definer(path: &[String], sources: &BTreeMap<&Module, Source>, depth: usize) -> Module {
    let mut module = Module::new();
    for (at, part) in path.iter().enumerate() {
        let child = [&module[..], slice::from_ref(part)].concat();
        if sources.contains_key(&child) {
            module = child;
            continue;
        }
        let exported = sources.get(&module).and_then(|source| source.exports.get(part));
        return match exported.filter(|_| depth < 8) {
            Some(other) => definer(&[other, &path[at + 1..]].concat(), sources, depth + 1),
            None => module,
        };
    }
    module
}

/// The paths in a file that begin with `crate`, `super`, `self` or the name of a child.
fn scan(module: &Module, text: &str, is_module: &dyn Fn(&[String]) -> bool) -> Source {
    let tokens = tokens(text.split("#[cfg(test)]\n").next().unwrap_or_default());
    let mut source = Source::default();
    let mut at = 0;
    while at < tokens.len() {
        let imports = tokens[at] == "use";
        let public = imports && at > 0 && ["pub", ")"].contains(&tokens[at - 1].as_str());
        let mut start = at + usize::from(imports);
        let inside = start > 0 && tokens[start - 1] == "::";
        if inside || tokens.get(start + 1).is_none_or(|next| next != "::") {
            at += 1;
            continue;
        }
        let mut prefix = module.clone();
        match tokens[start].as_str() {
            "crate" => (prefix, start) = (Module::new(), start + 2),
            "self" => start += 2,
            "super" => {
                while tokens[start] == "super" {
                    prefix.pop();
                    start += 2;
                }
            }
            child if is_module(&[&module[..], &[child.to_owned()]].concat()) => {}
            _ => {
                at += 1;
                continue;
            }
        }
        let mut found = Vec::new();
        at = tree(&tokens, start, prefix, &mut found);
        if public {
            source.exports.extend(found.into_iter().filter_map(|p| Some((p.last()?.clone(), p))));
        } else {
            source.uses.extend(found);
        }
    }
    source
}
