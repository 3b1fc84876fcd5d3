//! What the Rust side of a shader says, between reading the WGSL and writing the Rust.
use crate::assemble::Tile;

/// Everything that a shader's Rust side says.
pub struct Shader {
    pub name: String,
    /// The comment at the head of the file.
    pub head: String,
    /// Text with imports, without prelude.
    pub source: String,
    pub params: Params,
    /// What storage buffers hold, where that is a struct of shared/.
    pub structs: Vec<Struct>,
    pub overrides: Vec<Override>,
    pub tiles: Vec<Tile>,
    pub entries: Vec<Entry>,
}

/// The struct behind `@binding(0) var<uniform> params`.
pub struct Params {
    /// The module of shared/ that declares it for several shaders.
    pub shared: Option<String>,
    pub members: Vec<Member>,
    /// Size in bytes.
    pub span: u32,
}

/// A struct of f32s in a storage buffer.
pub struct Struct {
    pub name: String,
    /// The module of shared/ that declares it.
    pub shared: String,
    pub members: Vec<Member>,
    /// Size in bytes.
    pub span: u32,
}

pub struct Member {
    pub name: String,
    pub rust: &'static str,
    pub offset: u32,
    pub size: u32,
    pub doc: String,
}

/// A constant that the host may set when it makes a pipeline.
pub struct Override {
    pub name: String,
    pub rust: &'static str,
    /// The default, as Rust writes it, and as pipelines take it.
    pub default: String,
    pub number: f64,
    pub doc: String,
}

pub struct Entry {
    pub name: String,
    pub doc: String,
    pub bindings: Vec<Binding>,
    /// The most iterations of all loops of one invocation, as Rust computes them; none without loops.
    pub iterations: Option<String>,
    /// The invocations of a workgroup, as Rust computes them.
    pub invocations: String,
}

/// How a kernel knows whether an optional operand is there.
pub enum Presence {
    /// The override `HAS_OPERAND`: a pipeline for each.
    Constant(String),
    /// The member `has_operand` of `Params`: one pipeline for both.
    Member(String),
}

/// A storage buffer of an entry point.
pub struct Binding {
    pub binding: u32,
    pub name: String,
    pub doc: String,
    /// Declared `read_write`.
    pub written: bool,
    /// Variant of the crate's `Storage`.
    pub storage: &'static str,
    /// What says whether it is there, of an optional operand.
    pub presence: Option<Presence>,
}
