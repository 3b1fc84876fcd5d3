//! Writes the Rust side of the shaders.
use crate::shader::{Binding, Entry, Member, Override, Params, Presence, Shader, Struct};
use std::collections::BTreeMap;

/// The text of `shaders.rs`: a module per shader, and the list of them all.
pub fn emit(shaders: &[Shader]) -> String {
    let mut out = String::new();
    for shader in shaders {
        out += &module(shader);
    }
    out += &shared(shaders);
    out += "/// Every shader of the crate, by name.\npub const ALL: &[Shader] = &[\n";
    for shader in shaders {
        out += &listed(shader);
    }
    out + "];\n"
}

/// Parameters and structs that several shaders share: a module per file of shared/.
fn shared(shaders: &[Shader]) -> String {
    let shared = |shader: &'_ Shader| Some((shader.params.shared.clone()?, params(&shader.params)));
    let modules: BTreeMap<_, _> = shaders.iter().filter_map(shared).collect();
    let mut out = "/// Parameters that several shaders share.\npub mod shared {\n".to_owned();
    let structs = shaders.iter().flat_map(|shader| &shader.structs);
    let structs: BTreeMap<_, _> = structs.map(|of| (of.shared.clone(), numbers(of))).collect();
    for (name, params) in modules.into_iter().chain(structs) {
        out +=
            &format!("/// Those of `shaders/shared/{name}.wgsl`.\npub mod {name} {{\n{params}}}\n");
    }
    out + "}\n"
}

/// A struct of numbers, of f32 on the device and of f64 where tables are made.
fn numbers(of: &Struct) -> String {
    let Struct { name, members, span, .. } = of;
    let (mut fields, mut read, mut write) = (String::new(), String::new(), String::new());
    for Member { name, doc: about, offset, .. } in members {
        fields += &format!("{}pub {name}: T,\n", doc(about));
        read += &format!("{name}: numbers[{}],\n", offset / 4);
        write += &format!("numbers[{}] = self.{name};\n", offset / 4);
    }
    let count = span / 4;
    format!(
        "/// The struct of the shaders, of numbers of type `T`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct {name}<T> {{\n{fields}}}
impl {name}<f32> {{
/// Numbers from one to the next in a buffer.
pub const NUMBERS: usize = {count};
}}
impl<T: Copy + Default> {name}<T> {{
/// From numbers in the order of a buffer.
pub fn read(numbers: &[T]) -> Self {{ Self {{\n{read}}} }}
/// The numbers in the order of a buffer.
pub fn write(self) -> [T; {count}] {{
let mut numbers = [T::default(); {count}];
{write}numbers
}}
}}
"
    )
}

fn module(shader: &Shader) -> String {
    let Shader { name, head, source, .. } = shader;
    let mut out = doc(&format!("```text\n{head}\n```"));
    out += &format!(
        "pub mod {name} {{
use crate::{{plan::{{Access, Binding, Dispatch, Storage}}, value::Value}};
/// The WGSL, imports included, without prelude.
pub const SOURCE: &str = {source:?};
"
    );
    out += &match &shader.params.shared {
        Some(module) => format!("pub use super::shared::{module}::Params;\n"),
        None => params(&shader.params),
    };
    out += &overrides(shader);
    for entry in &shader.entries {
        out += &entry_point(shader, entry);
    }
    out + "}\n"
}

/// `struct Params`, padded so that every member lies where WGSL puts it.
fn params(params: &Params) -> String {
    let mut members = String::new();
    let mut asserts = format!("assert!(size_of::<Params>() == {});\n", params.span);
    let (mut end, mut paddings) = (0, 0);
    let mut pad = |members: &mut String, end: u32, offset: u32| {
        if offset > end {
            let words = (offset - end) / 4;
            *members +=
                &format!("/// Unused: alignment.\npub _padding{paddings}: [u32; {words}],\n");
            paddings += 1;
        }
    };
    for member in &params.members {
        let (name, offset) = (&member.name, member.offset);
        pad(&mut members, end, offset);
        members += &format!("{}pub {name}: {},\n", doc(&member.doc), member.rust);
        asserts += &format!("assert!(core::mem::offset_of!(Params, {name}) == {offset});\n");
        end = offset + member.size;
    }
    pad(&mut members, end, params.span);
    format!(
        "/// The uniform parameters.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {{\n{members}}}
const _: () = {{\n{asserts}}};
"
    )
}

/// `struct Overrides`: pipeline constants, then tiles.
fn overrides(shader: &Shader) -> String {
    let (mut fields, mut defaults) = (String::new(), String::new());
    let mut field = |name: &str, rust: &str, default: &str, about: &str| {
        let lower = name.to_lowercase();
        let fallback = format!("`{name}` of the shader.");
        let about = if about.is_empty() { &fallback } else { about };
        fields += &format!("{}pub {lower}: {rust},\n", doc(about));
        defaults += &format!("{lower}: {default},\n");
    };
    let (mut constants, mut tiles) = (String::new(), String::new());
    for Override { name, rust, default, doc, .. } in &shader.overrides {
        field(name, rust, default, doc);
        constants += &format!("({name:?}, f64::from(self.{})),\n", name.to_lowercase());
    }
    for tile in &shader.tiles {
        field(&tile.name, "u32", &tile.value.to_string(), &tile.doc);
        tiles += &format!("({:?}, self.{}),\n", tile.name, tile.name.to_lowercase());
    }
    format!(
        "/// Constants that a pipeline is compiled with; the defaults are the shader's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overrides {{\n{fields}}}
impl Default for Overrides {{
fn default() -> Self {{ Self {{\n{defaults}}} }}
}}
impl Overrides {{
fn constants(self, present: &[(&'static str, bool)]) -> Vec<(&'static str, f64)> {{
let mut constants = vec![\n{constants}];
constants.extend(present.iter().map(|(name, present)| (*name, f64::from(*present))));
constants
}}
fn tiles(self) -> Vec<(&'static str, u32)> {{ vec![\n{tiles}] }}
}}
"
    )
}

/// The struct of an entry point's buffers, and how it becomes a dispatch.
fn entry_point(of: &Shader, entry: &Entry) -> String {
    let (shader, Entry { name, bindings, .. }) = (&of.name, entry);
    let (mut fields, mut presence, mut bound) = (String::new(), String::new(), String::new());
    let mut members = String::new();
    for binding in bindings {
        let Binding { binding: number, name, storage, .. } = binding;
        let access = if binding.written { "Write" } else { "Read" };
        let (ty, value) = match &binding.presence {
            Some(presence_of) => {
                match presence_of {
                    Presence::Constant(constant) => {
                        presence += &format!("({constant:?}, self.{name}.is_some()), ");
                    }
                    Presence::Member(member) => {
                        members += &format!("{member}: self.{name}.is_some().into(), ");
                    }
                }
                ("Option<Value>", format!("self.{name}"))
            }
            None => ("Value", format!("Some(self.{name})")),
        };
        fields += &format!("{}pub {name}: {ty},\n", doc(&field_doc(binding)));
        bound += &format!(
            "Binding {{ binding: {number}, name: {name:?}, value: {value}, \
             access: Access::{access}, storage: Storage::{storage} }},\n"
        );
    }
    if !members.is_empty() {
        members = format!("let params = Params {{ {members}..params }};\n");
    }
    let camel = camel(name);
    let over = of.overrides.iter().any(|o| o.name == "WORKGROUP").then(|| over(name));
    let own = if entry.doc.is_empty() { "" } else { "\n\n" };
    let about = format!("The buffers of entry point `{name}`.{own}{}", entry.doc);
    format!(
        "{}#[derive(Clone, Copy, Debug)]
pub struct {camel} {{\n{fields}}}
impl {camel} {{
/// Runs `{name}` on these buffers over a grid of `workgroups`.
pub fn dispatch(self, params: Params, overrides: Overrides, workgroups: [u32; 3]) -> Dispatch {{
let constants = overrides.constants(&[{presence}]);
let bindings = vec![\n{bound}];
{members}{}let params = bytemuck::bytes_of(&params);
Dispatch::new({shader:?}, SOURCE, {name:?}, constants, overrides.tiles(), params, bindings, workgroups).sized({}){}
}}
{}}}
",
        doc(&about),
        entry.iterations.as_ref().map_or(String::new(), |text| iterations(of, text)),
        entry.invocations,
        if entry.iterations.is_some() { ".iterating(iterations)" } else { "" },
        over.unwrap_or_default(),
    )
}

/// What launches an entry point whose workgroups have as many invocations as an override says.
fn over(name: &str) -> String {
    format!(
        "/// Runs `{name}` with the default constants, in at least this many invocations.
pub fn over(self, params: Params, invocations: usize) -> Dispatch {{
let overrides = Overrides::default();
let groups = invocations.div_ceil(overrides.workgroup as usize);
self.dispatch(params, overrides, crate::plan::fold(groups))
}}
"
    )
}

/// The most iterations of an invocation, from the parameters and overrides of the dispatch.
fn iterations(shader: &Shader, text: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let asks = |name: &str| text.split(|c| !is_word(c)).any(|word| word == name);
    let mut known = String::new();
    if asks("halvings") {
        known += "use crate::shaders::halvings;\n";
    }
    let members = shader.params.members.iter().map(|member| ("params", &member.name));
    let overrides = shader.overrides.iter().map(|o| &o.name);
    let constants = overrides.chain(shader.tiles.iter().map(|tile| &tile.name));
    for (place, name) in members.chain(constants.map(|name| ("overrides", name))) {
        if asks(name) {
            known += &format!("let {name} = u128::from({place}.{});\n", name.to_lowercase());
        }
    }
    format!("#[allow(non_snake_case, unused_variables)]\nlet iterations = {{\n{known}{text}\n}};\n")
}

fn field_doc(binding: &Binding) -> String {
    let access = if binding.written { "Written." } else { "Read." };
    let optional = if binding.presence.is_some() { " May be absent." } else { "" };
    let own = if binding.doc.is_empty() { "" } else { " " };
    format!("{access}{optional}{own}{}", binding.doc)
}

/// The shader's line in the list of all.
fn listed(shader: &Shader) -> String {
    let entries = shader.entries.iter().map(|entry| {
        let optional = entry.bindings.iter().filter_map(|binding| match &binding.presence {
            Some(Presence::Constant(constant)) => Some(constant),
            _ => None,
        });
        format!(
            "Entry {{ name: {:?}, bindings: {}, optional: &{:?} }}",
            entry.name,
            entry.bindings.len(),
            optional.collect::<Vec<_>>()
        )
    });
    let overrides: Vec<_> = shader.overrides.iter().map(|o| (&o.name, o.number)).collect();
    let tiles: Vec<_> = shader.tiles.iter().map(|tile| (&tile.name, tile.value)).collect();
    format!(
        "Shader {{ name: {:?}, source: {}::SOURCE, entries: &[{}], overrides: &{overrides:?}, \
         tiles: &{tiles:?} }},\n",
        shader.name,
        shader.name,
        entries.collect::<Vec<_>>().join(", ")
    )
}

/// `text` as a doc comment.
fn doc(text: &str) -> String {
    text.lines().map(|line| format!("/// {line}\n")).collect()
}

/// `snake_case` to `CamelCase`.
fn camel(name: &str) -> String {
    let mut out = String::new();
    for word in name.split('_') {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out += letters.as_str();
    }
    out
}
