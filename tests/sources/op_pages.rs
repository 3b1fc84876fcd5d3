//! The pages in `docs/ops` say what the ops and their shaders say. `UPDATE_GOLDEN=1 cargo test
//! --test sources op_pages` writes them.
use ddim::{
    Error,
    bench_cases::families,
    graph::Graph,
    ops::{self, Case, Operator, Special},
    passes,
    plan::{Access, CooperativeMatrices, DeviceProfile, Dispatch, Storage, Target},
    shaders::ALL,
    value::{TensorType, Value},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// A module of the list in `src/ops/mod.rs`, and its ops by the names of their types.
struct Module {
    path: Vec<String>,
    ops: Vec<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The lines `[theme::module] { Op, Op }`.
fn modules() -> Vec<Module> {
    let list = fs::read_to_string(root().join("src/ops/mod.rs")).expect("the list of ops");
    let entry = |line: &str| {
        let (path, ops) = line.trim().strip_prefix('[')?.strip_suffix('}')?.split_once("] {")?;
        let path = path.split("::").map(str::to_owned).collect();
        Some(Module { path, ops: ops.split(',').map(|op| op.trim().to_owned()).collect() })
    };
    let modules: Vec<Module> = list.lines().filter_map(entry).collect();
    assert!(modules.len() > 30, "the list of ops has another form");
    modules
}

impl Module {
    fn name(&self) -> &str {
        &self.path[self.path.len() - 1]
    }

    /// The text of its file, or of all files of its folder, its own first.
    fn source(&self) -> String {
        let base = self.path.iter().fold(root().join("src/ops"), |path, part| path.join(part));
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let mut files: Vec<PathBuf> = fs::read_dir(&base)
            .map(|entries| entries.map(|entry| entry.expect("a listed file").path()).collect())
            .unwrap_or_default();
        files.sort();
        files.retain(|path| !path.ends_with("mod.rs"));
        let own = [base.with_extension("rs"), base.join("mod.rs")];
        own.iter().chain(&files).map(|path| read(path)).collect()
    }
}

/// Links of rustdoc without their targets.
fn plain(doc: &str) -> String {
    let links = regex::Regex::new(r"\[(`[^`\]]+`)\](\((?:super|crate)[^)]*\))?").expect("sound");
    links.replace_all(doc, "$1").into_owned()
}

/// The comment that ends before line `end`.
fn doc_before(lines: &[&str], end: usize) -> String {
    let is_doc = |line: &&&str| {
        let line = line.trim_start();
        line.starts_with("///") || line.starts_with("#[")
    };
    let comment: Vec<&str> = lines[..end]
        .iter()
        .rev()
        .take_while(is_doc)
        .filter_map(|line| line.trim_start().strip_prefix("///"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    plain(&without_example(comment.into_iter().rev()).join("\n"))
}

/// The lines outside of examples that name no example elsewhere; equations are blocks of text.
fn without_example<'a>(comment: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    // The fence that the block began with.
    let mut block: Option<&str> = None;
    let mut kept: Vec<&str> = comment
        .filter(|line| {
            let within = block;
            if line.starts_with("```") {
                block = if within.is_some() { None } else { Some(line) };
            }
            match within.or(block) {
                Some(fence) => fence == "```text",
                None => !line.starts_with("Example: ["),
            }
        })
        .collect();
    while kept.last().is_some_and(|line| line.is_empty()) {
        kept.pop();
    }
    kept
}

/// What the source says of an op: its comment and its fields with theirs.
fn described(source: &str, op: &str) -> (String, Vec<(String, String)>) {
    let lines: Vec<&str> = source.lines().collect();
    let heads =
        ["pub struct {op};", "pub struct {op} {", "{op}: \""].map(|h| h.replace("{op}", op));
    let is_head = |line: &&str| heads.iter().any(|head| line.trim_start().starts_with(head));
    let at = lines.iter().position(is_head).unwrap_or_else(|| panic!("no {op}"));
    let mut fields = Vec::new();
    if lines[at].ends_with('{') {
        let body = lines[at + 1..].iter().take_while(|line| **line != "}").count();
        for place in at + 1..=at + body {
            let field = lines[place].trim().strip_prefix("pub ").and_then(|f| f.split_once(':'));
            if let Some((name, _)) = field {
                fields.push((name.to_owned(), doc_before(&lines, place).replace('\n', " ")));
            }
        }
    }
    (doc_before(&lines, at), fields)
}

/// The op of this case alone, its operands and its results.
fn alone(case: &Case) -> (Graph, Vec<Value>, Vec<Value>) {
    let mut graph = Graph::new();
    let inputs: Vec<Value> = case.inputs.iter().map(|input| graph.input(input.of)).collect();
    graph.outputs = graph.push_all(case.op.clone(), &inputs).expect("the op takes its cases");
    let outputs = graph.outputs.clone();
    (graph, inputs, outputs)
}

/// The ops that the gradient is made of.
fn gradient(case: &Case) -> String {
    let (mut graph, inputs, outputs) = alone(case);
    let seed = graph.input(graph.type_of(outputs[0]));
    match passes::gradient(&mut graph, outputs[0], seed, &inputs) {
        Err(Error::NotDifferentiable { .. }) => return "none".to_owned(),
        Err(error) => panic!("{}: {error}", case.title()),
        Ok(gradients) if gradients.iter().all(Option::is_none) => return "zero".to_owned(),
        Ok(_) => (),
    }
    let name = |op: &ops::Op| op.to_string().split('{').next().unwrap_or_default().to_owned();
    let made: BTreeSet<String> = graph.equations[1..].iter().map(|e| name(&e.op)).collect();
    if made.is_empty() {
        return "the gradient that arrives".to_owned();
    }
    made.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What the library's comment on [`Special`] says of this promise, in short.
fn promise(special: Special) -> &'static str {
    match special {
        Special::Same => "each element is finite, NaN or infinite as the reference's is",
        Special::NotFinite => "each element is finite where the reference's is",
        Special::Spreads => "may spread to neighbours, and never vanishes",
        Special::NanSpreads => {
            "NaN may spread to neighbours and never vanishes; infinity may vanish"
        }
    }
}

/// A GPU without subgroups, one with them and one with their matrices, and a software driver.
fn targets() -> [Target; 4] {
    let target = |subgroup, profile: DeviceProfile| {
        let int64 = profile.is_software();
        Target { subgroup, profile, f16: true, int64, ..Target::default() }
    };
    let cooperative_matrices = Some(CooperativeMatrices { edge: 16, subgroup: 32 });
    [
        target(None, DeviceProfile::default()),
        target(Some(16), DeviceProfile::default()),
        Target { cooperative_matrices, ..target(None, DeviceProfile::default()) },
        target(Some(8), DeviceProfile::SOFTWARE),
    ]
}

/// What binds a value, in WGSL's words.
fn bound(dispatch: &Dispatch) -> String {
    let binding = |b: &ddim::plan::Binding| {
        let storage = match b.storage {
            Storage::Activation => "activation",
            Storage::Weight => "weight",
            Storage::F32 => "f32",
            Storage::U32 => "u32",
            Storage::Bits => "bits",
        };
        let access = if b.access == Access::Write { ", written" } else { "" };
        format!("{} `{}` ({storage}{access})", b.binding, b.name)
    };
    dispatch.bindings.iter().map(binding).collect::<Vec<_>>().join(", ")
}

/// The workgroup of an entry point, and the numbers behind its names by default.
fn workgroup(shader: &str, entry: &str) -> String {
    let shader = ALL.iter().find(|known| known.name == shader).expect("a shader of the crate");
    let head = shader.source.split(&format!("fn {entry}(")).next().unwrap_or_default();
    let size = head.rsplit("@workgroup_size(").next().and_then(|size| size.split(')').next());
    let size = size.unwrap_or_default();
    let overrides = shader.overrides.iter().map(|(name, number)| (*name, *number));
    let tiles = shader.tiles.iter().map(|(name, number)| (*name, f64::from(*number)));
    let known = overrides.chain(tiles).filter(|(name, _)| size.contains(name));
    let numbers: Vec<String> = known.map(|(name, number)| format!("{name} = {number}")).collect();
    if numbers.is_empty() { size.to_owned() } else { format!("{size} ({})", numbers.join(", ")) }
}

/// Kernels by name: the families that launch them, and what they bind.
type Kernels = BTreeMap<(String, String), (BTreeSet<String>, BTreeSet<String>)>;

fn kernels(cases: &[&Case]) -> Kernels {
    let mut found = Kernels::new();
    for case in cases {
        let (graph, ..) = alone(case);
        for family in targets().iter().flat_map(|target| families(&graph, target)) {
            let plan = family.plan.expect("a case fits");
            for dispatch in plan.dispatches() {
                let kernel = &dispatch.kernel;
                let name = (kernel.shader.to_string(), kernel.entry.to_string());
                let (names, bindings) = found.entry(name).or_default();
                names.extend(family.name.split('+').map(str::to_owned));
                bindings.insert(bound(dispatch));
            }
        }
    }
    found
}

/// The operands and results of a case: the names that kernels give them, and their types.
fn operands(case: &Case) -> String {
    let (graph, inputs, outputs) = alone(case);
    let plan = passes::compile(&graph, &targets()[0]).expect("a case fits");
    let name = |value: Value| {
        let bindings = plan.dispatches().flat_map(|dispatch| &dispatch.bindings);
        let mut own = bindings.filter(|binding| binding.value == Some(value));
        own.next().map_or("in place".to_owned(), |binding| format!("`{}`", binding.name))
    };
    let row = |kind: &str, n: usize, value: Value, of: TensorType| {
        format!("| {kind} {n} | {} | `{of}` |\n", name(value))
    };
    let mut text = "| | in the kernel | type in the first case |\n|---|---|---|\n".to_owned();
    for (n, &value) in inputs.iter().enumerate() {
        text += &row("operand", n, value, graph.type_of(value));
    }
    for (n, &value) in outputs.iter().enumerate() {
        text += &row("result", n, value, graph.type_of(value));
    }
    text
}

fn page(module: &Module, cases: &[Case]) -> String {
    let source = module.source();
    let about = source.lines().map_while(|line| line.strip_prefix("//!"));
    let about = plain(&about.map(str::trim).collect::<Vec<_>>().join(" "));
    // Why a file is long concerns who reads the file.
    let about = about.split(" Above 300 lines").next().unwrap_or_default();
    let mut page = format!("# {}\n\n{about}\n", module.name());
    let mut shaders = BTreeSet::new();
    for op in &module.ops {
        let (doc, fields) = described(&source, op);
        write!(page, "\n## {op}\n\n{doc}\n").expect("a string");
        if !fields.is_empty() {
            page += "\n| attribute | |\n|---|---|\n";
            page.extend(fields.iter().map(|(name, doc)| format!("| `{name}` | {doc} |\n")));
        }
        let variant = format!("{op}(");
        let own = cases.iter().filter(|case| format!("{:?}", case.op).starts_with(&variant));
        let own: Vec<&Case> = own.collect();
        let Some(first) = own.first() else {
            page += "\nNo case of its own: nothing runs.\n";
            continue;
        };
        let halves = own.iter().filter(|case| !case.half.is_empty()).count();
        let most = own.iter().map(|case| case.terms).max().unwrap_or_default();
        write!(
            page,
            "\n{}\n- Printed as `{}`.\n- Gradient: {}.\n- Numbers that are not finite: {}.\n\
             - {} cases, {halves} of them in f16 too. Tolerance: a rounding of the result, and \
             `4 eps sqrt(terms)` of the largest, of at most {most} terms.\n",
            operands(first),
            first.op,
            gradient(first),
            promise(first.op.special()),
            own.len(),
        )
        .expect("a string");
        page += "\n| kernel | workgroup | families | bindings |\n|---|---|---|---|\n";
        for ((shader, entry), (families, bindings)) in kernels(&own) {
            let families = families.into_iter().collect::<Vec<_>>().join(", ");
            let bindings = bindings.into_iter().collect::<Vec<_>>().join("; or ");
            let size = workgroup(&shader, &entry);
            page += &format!("| `{shader}.{entry}` | {size} | {families} | {bindings} |\n");
            shaders.insert(shader);
        }
    }
    for name in shaders {
        let shader = ALL.iter().find(|shader| shader.name == name).expect("a shader of the crate");
        let head = shader.source.lines().map_while(|line| line.strip_prefix("// "));
        let directives = ["import:", "enable:", "tile:", "iterations:"];
        let head: Vec<&str> =
            head.filter(|line| !directives.iter().any(|word| line.starts_with(word))).collect();
        write!(page, "\n## shaders/{name}.wgsl\n\n```text\n{}\n```\n", head.join("\n"))
            .expect("a string");
    }
    page
}

#[test]
fn pages_of_ops_are_current() {
    let (folder, cases) = (root().join("docs/ops"), ops::cases());
    let mut pages = BTreeMap::new();
    let mut index =
        "# Operations\n\nA page per op and its gradient, written by `tests/sources/op_pages.rs` from the ops, \
        their cases and their shaders: not to be edited. Of bindings, `activation` and `weight` are \
        stored as f32, f16 or bf16. Of families, `only` says that there is no choice.\n"
            .to_owned();
    let mut theme = String::new();
    for module in modules() {
        if module.path.len() == 1 || module.path[0] != theme {
            theme.clone_from(&module.path[0]);
            write!(index, "\n## {theme}\n\n").expect("a string");
        }
        let name = format!("{}.md", module.name());
        let text = page(&module, &cases);
        let about = text.lines().nth(2).unwrap_or_default();
        let ops: Vec<String> = module.ops.iter().map(|op| format!("`{op}`")).collect();
        writeln!(index, "- [{}]({name}): {}. {about}", module.name(), ops.join(", "))
            .expect("a string");
        assert!(pages.insert(name, text).is_none(), "two pages of one name");
    }
    pages.insert("README.md".to_owned(), index);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("docs is there");
        for (name, text) in &pages {
            fs::write(folder.join(name), text).expect("a page is written");
        }
    }
    let written = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("a listed page").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("a page"))
    };
    let found: BTreeMap<String, String> =
        fs::read_dir(&folder).expect("docs/ops").map(written).collect();
    let stale: Vec<&String> = pages
        .keys()
        .chain(found.keys())
        .filter(|name| pages.get(*name) != found.get(*name))
        .collect();
    let hint = "UPDATE_GOLDEN=1 cargo test --test sources op_pages writes them";
    assert!(stale.is_empty(), "not current: {stale:?}; {hint}");
}
