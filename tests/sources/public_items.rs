//! The library's public items against `tests/golden/public_items.txt`, so that a change of the surface is
//! seen. `REWRITE=1 cargo test --test sources public_items` writes the list anew.
//!
//! The list is read from the sources: what public modules define and export, with public methods,
//! fields and variants. It leaves out what is `#[doc(hidden)]`, and what macros and the build script
//! write: the variants of `Op`, the modules of `shaders`. Each public item shows an example, or names
//! the item or module that shows one.
use std::{collections::BTreeMap, fs, path::Path};
use syn::{
    Attribute, Expr, ExprLit, ImplItem, Item, Lit, Meta, MetaNameValue, TraitItem, Type, UseTree,
    Visibility, spanned::Spanned,
};

/// Types and traits with more than one public path, and why.
const TWICE: [(&str, &str); 1] = [("Error", "the crate's own error stands at its root too")];

type Names = Vec<String>;

/// The modules' children and exports, and all public items, by path; methods by their type's name.
#[derive(Default)]
struct Crate {
    children: BTreeMap<Names, Names>,
    exports: BTreeMap<Names, Vec<(String, Names)>>,
    /// Kind, what follows the name, and fields or variants.
    items: BTreeMap<Names, (&'static str, String, Names)>,
    methods: BTreeMap<String, Names>,
    /// Docs of items, public or not.
    docs: BTreeMap<Names, String>,
    /// Docs of modules in files of their own, public or not.
    heads: BTreeMap<Names, String>,
}

fn join(path: &[String], name: impl ToString) -> Names {
    path.iter().cloned().chain([name.to_string()]).collect()
}

/// The source on one line.
fn text(part: &impl Spanned) -> String {
    let source = part.span().source_text().unwrap_or_default();
    let line = source.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace("( ", "(").replace(", )", ")").replace(" )", ")")
}

fn is_public(visibility: &Visibility, attributes: &[Attribute]) -> bool {
    let hidden = attributes.iter().any(|attribute| text(&attribute.meta) == "doc(hidden)");
    matches!(visibility, Visibility::Public(_)) && !hidden
}

/// The docs among attributes.
fn docs(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(MetaNameValue {
            path,
            value: Expr::Lit(ExprLit { lit: Lit::Str(text), .. }),
            ..
        }) if path.is_ident("doc") => Some(text.value() + "\n"),
        _ => None,
    };
    attributes.iter().filter_map(line).collect()
}

/// Whether docs have an example: a block of code, not of text.
fn has_example(docs: &str) -> bool {
    let mut blocks = docs.lines().map(str::trim).filter(|line| line.starts_with("```")).step_by(2);
    blocks.any(|block| block != "```text")
}

/// Where docs say that their example is: the path in "Example: [`path`]".
fn example_elsewhere(docs: &str) -> Option<Names> {
    let (_, rest) = docs.split_once("Example: [`")?;
    let path = rest.split_once("`]")?.0.trim_end_matches("()");
    Some(path.split("::").filter(|part| *part != "crate").map(String::from).collect())
}

impl Crate {
    /// The library's sources.
    fn of_library() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = Self::default();
        found.read(&root.join("lib.rs"), &root, &[]);
        found
    }

    fn read(&mut self, file: &Path, folder: &Path, path: &[String]) {
        let source = fs::read_to_string(file).expect("a module's file is there");
        let parsed = syn::parse_file(&source).expect("a file that compiles");
        self.heads.insert(path.to_vec(), docs(&parsed.attrs));
        parsed.items.into_iter().for_each(|item| self.add(item, folder, path));
    }

    fn add(&mut self, item: Item, folder: &Path, path: &[String]) {
        let (visibility, attributes, name, kind) = match &item {
            Item::Mod(of) if of.attrs.iter().any(|a| text(&a.meta) == "cfg(test)") => return,
            Item::Mod(of) => (&of.vis, &of.attrs, of.ident.to_string(), "mod"),
            Item::Struct(of) => (&of.vis, &of.attrs, of.ident.to_string(), "struct"),
            Item::Enum(of) => (&of.vis, &of.attrs, of.ident.to_string(), "enum"),
            Item::Trait(of) => (&of.vis, &of.attrs, of.ident.to_string(), "trait"),
            Item::Fn(of) => (&of.vis, &of.attrs, of.sig.ident.to_string(), "fn"),
            Item::Const(of) => (&of.vis, &of.attrs, of.ident.to_string(), "const"),
            Item::Type(of) => (&of.vis, &of.attrs, of.ident.to_string(), "type"),
            Item::Use(of) => (&of.vis, &of.attrs, String::new(), "use"),
            Item::Macro(of) if of.mac.path.is_ident("operations") => {
                return self.operations(&of.mac.tokens.to_string(), path);
            }
            Item::Impl(of) if of.trait_.is_none() => return self.methods(&of.self_ty, &of.items),
            _ => return,
        };
        let (public, docs) = (is_public(visibility, attributes), docs(attributes));
        let (rest, members) = match item {
            Item::Mod(of) => {
                let (inner, folder) = (join(path, &name), folder.join(&name));
                if public {
                    self.children.entry(path.to_vec()).or_default().push(name);
                }
                let files = [folder.with_extension("rs"), folder.join("mod.rs")];
                match (of.content, files.iter().find(|file| file.exists())) {
                    (Some((_, items)), _) => {
                        items.into_iter().for_each(|item| self.add(item, &folder, &inner));
                    }
                    (None, Some(file)) => self.read(file, &folder, &inner),
                    (None, None) => {}
                }
                return;
            }
            _ if !public => return,
            Item::Use(of) => return self.export(&of.tree, Vec::new(), path),
            Item::Struct(of) => {
                let fields = of.fields.iter().filter(|field| is_public(&field.vis, &field.attrs));
                let named = fields.filter(|field| field.ident.is_some());
                let field = |of: &syn::Field| format!("{}: {}", text(&of.ident), text(&of.ty));
                (text(&of.generics), named.map(field).collect())
            }
            Item::Enum(of) => {
                (text(&of.generics), of.variants.iter().map(|v| v.ident.to_string()).collect())
            }
            Item::Trait(of) => {
                let methods = of.items.iter().filter_map(|item| match item {
                    TraitItem::Fn(of) => Some(text(&of.sig)),
                    _ => None,
                });
                (text(&of.generics), methods.collect())
            }
            Item::Fn(of) => {
                let signature = text(&of.sig);
                (signature.split_once(&name).unwrap_or_default().1.to_owned(), Vec::new())
            }
            Item::Const(of) => (format!(": {}", text(&of.ty)), Vec::new()),
            Item::Type(of) => (format!(" = {}", text(&of.ty)), Vec::new()),
            _ => return,
        };
        self.docs.insert(join(path, &name), docs);
        self.items.insert(join(path, name), (kind, rest, members));
    }

    fn methods(&mut self, of: &Type, items: &[ImplItem]) {
        let Type::Path(of) = of else { return };
        let Some(last) = of.path.segments.last() else { return };
        let methods = items.iter().filter_map(|item| match item {
            ImplItem::Fn(of) => is_public(&of.vis, &of.attrs).then(|| text(&of.sig)),
            ImplItem::Const(of) => is_public(&of.vis, &of.attrs)
                .then(|| format!("const {}: {}", of.ident, text(&of.ty))),
            _ => None,
        });
        self.methods.entry(last.ident.to_string()).or_default().extend(methods);
    }

    /// What a `pub use` exports, as paths from the crate's root.
    fn export(&mut self, tree: &UseTree, mut prefix: Names, path: &[String]) {
        let (name, alias) = match tree {
            UseTree::Group(group) => {
                return group.items.iter().for_each(|of| self.export(of, prefix.clone(), path));
            }
            UseTree::Path(of) => {
                prefix.push(of.ident.to_string());
                return self.export(&of.tree, prefix, path);
            }
            UseTree::Name(of) => (&of.ident, &of.ident),
            UseTree::Rename(of) => (&of.ident, &of.rename),
            UseTree::Glob(_) => return,
        };
        let relative = join(&prefix, name);
        let whole = match relative[0].as_str() {
            "crate" => relative[1..].to_vec(),
            "self" => [path, &relative[1..]].concat(),
            _ => [path, &relative[..]].concat(),
        };
        self.exports.entry(path.to_vec()).or_default().push((alias.to_string(), whole));
    }

    /// The exports of the macro that lists the ops: `[module::of::them] { Their, Names }`.
    fn operations(&mut self, list: &str, path: &[String]) {
        for group in list.split('[').skip(1) {
            let (module, names) = group.split_once(']').expect("a module in brackets");
            let module: Names = module.split("::").map(|part| part.trim().to_owned()).collect();
            let names = names.split(|c: char| !c.is_alphanumeric()).filter(|name| !name.is_empty());
            let whole = |name| (String::from(name), join(&[path, &module].concat(), name));
            self.exports.entry(path.to_vec()).or_default().extend(names.map(whole));
        }
    }

    /// The item that a path leads to, through the exports on its way.
    fn lookup(&self, path: &[String]) -> Option<&(&'static str, String, Names)> {
        let (name, module) = path.split_last()?;
        self.items.get(path).or_else(|| {
            let exports = self.exports.get(module)?;
            let (_, whole) =
                exports.iter().find(|(alias, whole)| alias == name && whole != path)?;
            self.lookup(whole)
        })
    }

    /// The docs of what a path leads to.
    fn docs_of(&self, path: &[String]) -> &str {
        let exported = || {
            let (name, module) = path.split_last()?;
            let (_, whole) = self
                .exports
                .get(module)?
                .iter()
                .find(|(alias, whole)| alias == name && whole != path)?;
            Some(self.docs_of(whole))
        };
        self.docs.get(path).map(String::as_str).or_else(exported).unwrap_or_default()
    }

    /// The public items of a public module and those below it, a line each; and the paths of types
    /// and traits by their names.
    fn list(&self, module: &[String], lines: &mut Names, types: &mut BTreeMap<String, Names>) {
        let own = self.items.keys().filter(|path| path[..path.len() - 1] == *module);
        let own = own.map(|path| (path[path.len() - 1].clone(), path.clone()));
        let exported = self.exports.get(module).into_iter().flatten().cloned();
        for (name, whole) in own.chain(exported) {
            let path = join(module, &name).join("::");
            let Some((kind, rest, members)) = self.lookup(&whole) else {
                lines.push(format!("use {path}"));
                continue;
            };
            lines.push(format!("{kind} {path}{rest}"));
            if ["struct", "enum", "trait"].contains(kind) {
                let methods = self.methods.get(&whole[whole.len() - 1]).into_iter().flatten();
                lines.extend(
                    members.iter().chain(methods).map(|of| format!("{kind} {path} . {of}")),
                );
                types.entry(name).or_default().push(path);
            }
        }
        for child in self.children.get(module).into_iter().flatten() {
            lines.push(format!("mod {}", join(module, child).join("::")));
            self.list(&join(module, child), lines, types);
        }
    }
}

#[test]
fn the_public_items_are_those_of_the_list() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut lines, mut types) = (Names::new(), BTreeMap::new());
    Crate::of_library().list(&[], &mut lines, &mut types);
    lines.sort();
    lines.dedup();
    assert!(lines.len() > 500, "{}", lines.len());
    let twice: Vec<_> = types.iter().filter(|(_, paths)| paths.len() > 1).collect();
    let allowed = |name: &str| TWICE.iter().any(|(known, _)| *known == name);
    assert!(twice.iter().all(|(name, _)| allowed(name)), "public twice: {twice:?}");

    let golden = root.join("tests/golden/public_items.txt");
    let text = lines.join("\n") + "\n";
    if std::env::var("REWRITE").is_ok() {
        fs::write(&golden, &text).expect("room for the list");
    }
    let known = fs::read_to_string(&golden).unwrap_or_default();
    let known: Vec<&str> = known.lines().collect();
    let gone = known.iter().filter(|line| !lines.iter().any(|found| found == *line));
    let new = lines.iter().filter(|line| !known.contains(&line.as_str()));
    let changes: Vec<String> =
        gone.map(|line| format!("- {line}")).chain(new.map(|line| format!("+ {line}"))).collect();
    assert!(changes.is_empty(), "REWRITE=1 rewrites the list:\n{}", changes.join("\n"));
}

#[test]
fn every_public_item_has_an_example_or_names_one() {
    let (found, mut lines) = (Crate::of_library(), Names::new());
    found.list(&[], &mut lines, &mut BTreeMap::new());
    // Whether it is a module, and its path.
    let public: Vec<(bool, Names)> = lines
        .iter()
        .filter(|line| !line.contains(" . ") && !line.starts_with("use "))
        .map(|line| {
            let (kind, rest) = line.split_once(' ').expect("a kind and a path");
            let path = rest.split(['(', '<', ' ']).next().unwrap_or_default();
            let path = path.trim_end_matches(':').split("::").map(String::from).collect();
            (kind == "mod", path)
        })
        .collect();
    let modules = public.iter().filter(|(is_module, _)| *is_module).count();
    assert!(modules > 25 && public.len() - modules > 450, "{modules} of {}", public.len());
    // A module by its path, another item by its name.
    let shows = |path: &Names| {
        let mut items = found.docs.iter().filter(|(item, _)| item.last() == path.last());
        found.heads.get(path).is_some_and(|head| has_example(head))
            || items.any(|(_, docs)| has_example(docs))
    };
    let without = public.iter().filter(|(is_module, path)| match is_module {
        true => !found.heads.get(path).is_some_and(|head| has_example(head)),
        false => {
            let docs = found.docs_of(path);
            !has_example(docs) && !example_elsewhere(docs).is_some_and(|path| shows(&path))
        }
    });
    let without: Names = without.map(|(_, path)| path.join("::")).collect();
    assert!(without.is_empty(), "without an example:\n{}", without.join("\n"));
}

#[test]
fn examples_are_blocks_of_code_or_links() {
    for (docs, has) in [
        ("About it.", false),
        ("```text\ny = f(x)\n```", false),
        ("```text\ny = f(x)\n```\n```no_run\nf();\n```", true),
        (" ```\n f();\n ```", true),
    ] {
        assert_eq!(has_example(docs), has, "{docs}");
    }
    for (docs, path) in [
        ("About it. Example: [`crate::gpu`].", Some("gpu")),
        ("Example: [`open()`]", Some("open")),
        ("Example: [`Graph::input`].", Some("Graph::input")),
        ("See [`Graph`].", None),
    ] {
        assert_eq!(example_elsewhere(docs).map(|path| path.join("::")).as_deref(), path, "{docs}");
    }
}
