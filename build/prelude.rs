//! The complete text of a shader: one line before it with its `enable`s, its tile constants and the
//! storage types `activation4`, `weight4` and `float4`, and behind it the conversions that these need. Where
//! subgroups multiply matrices, their types `Left`, `Right` and `Sum` stand there too. The build
//! script checks each shader so and the crate's `plan` writes it; this file is part of both, so it
//! names neither.

use std::collections::BTreeMap;

/// What WGSL calls the extension of matrices that a subgroup multiplies together.
pub const COOPERATIVE_MATRIX: &str = "wgpu_cooperative_matrix";

/// The tile of a shader with such matrices that is their edge.
const EDGE: &str = "EDGE";

/// How four numbers lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Four {
    /// `vec4<f32>`.
    F32,
    /// f32 in pairs, a `vec2<u64>`: a software driver charges for a load by the lane and the element, not by its bytes.
    PairedF32,
    /// `vec4<f16>`, where the device has such a type.
    F16,
    /// f16 as halves of a `vec2<u32>`.
    PackedF16,
    /// bf16 as halves of a `vec2<u32>`: WGSL has no such type.
    Bf16,
}

impl Four {
    /// The type in WGSL.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "vec4<f32>",
            Self::PairedF32 => "vec2<u64>",
            Self::F16 => "vec4<f16>",
            Self::PackedF16 | Self::Bf16 => "vec2<u32>",
        }
    }

    /// The module with its conversions, and what they begin with.
    fn module(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::F32 | Self::F16 => None,
            Self::PairedF32 => Some(("pairs", include_str!("../shaders/shared/paired_f32.wgsl"))),
            Self::PackedF16 => Some(("f16", include_str!("../shaders/shared/packed_f16.wgsl"))),
            Self::Bf16 => Some(("bf16", include_str!("../shaders/shared/packed_bf16.wgsl"))),
        }
    }

    /// The alias `NAME4` and its conversions from and to f32.
    fn declare(self, name: &str) -> String {
        let vector = self.name();
        let (widened, narrowed) = match self.module() {
            Some((half, _)) => (format!("{half}_to_f32(v)"), format!("f32_to_{half}(v)")),
            None => ("vec4<f32>(v)".to_owned(), format!("{vector}(v)")),
        };
        format!(
            "alias {name}4 = {vector}; \
             fn widen_{name}(v: {name}4) -> vec4<f32> {{ return {widened}; }} \
             fn narrow_{name}(v: vec4<f32>) -> {name}4 {{ return {narrowed}; }} "
        )
    }
}

/// A shader's `source` with what stands before and behind it. There is no line break before it, so
/// that line numbers in messages are the shader's own.
///
/// `float` is the storage of buffers that hold f32 in every precision: `Four::F32` or `Four::PairedF32`.
/// `factor` is what a kernel multiplies that imports `factors_f32`: `Four::F16`, or else f32. `tiles` are
/// the `// tile:` constants with the values to compile in.
pub fn complete<'a>(
    source: &str,
    [activation, weight, float, factor]: [Four; 4],
    tiles: impl IntoIterator<Item = (&'a str, u32)>,
) -> String {
    let f16 = [activation, weight, factor].contains(&Four::F16).then_some("f16");
    let mut text = String::new();
    for name in f16.into_iter().chain(enables(source)) {
        text += &format!("enable {name}; ");
    }
    let has_matrices = enables(source).any(|name| name == COOPERATIVE_MATRIX);
    for (name, value) in tiles {
        text += &format!("const {name} = {value}u; ");
        if has_matrices && name == EDGE {
            text += &matrices(value);
        }
    }
    let storages = [("activation", activation), ("weight", weight), ("float", float)];
    // Few kernels have buffers of the last.
    let storages = &storages[..if source.contains("float4") { 3 } else { 2 }];
    for (name, four) in storages {
        text += &four.declare(name);
    }
    text += source;
    let modules: BTreeMap<_, _> = storages.iter().filter_map(|(_, four)| four.module()).collect();
    text.extend(modules.into_values());
    if factor == Four::F16 { text.replace(FACTORS_F32, FACTORS_F16) } else { text }
}

/// The module of products in f32 that a kernel imports, and the one of f16 that may stand in its place.
pub const FACTORS_F32: &str = include_str!("../shaders/shared/factors_f32.wgsl");
const FACTORS_F16: &str = include_str!("../shaders/shared/factors_f16.wgsl");

/// The types of both operands of a product of matrices and of its sums: WGSL has a name for each edge.
fn matrices(edge: u32) -> String {
    let alias = |name: &str, scalar: &str, role: &str| {
        format!("alias {name} = coop_mat{edge}x{edge}<{scalar}, {role}>; ")
    };
    alias("Left", "f16", "A") + &alias("Right", "f16", "B") + &alias("Sum", "f32", "C")
}

/// The names after `// enable:` in a shader's text.
pub fn enables(source: &str) -> impl Iterator<Item = &str> {
    directives(source, "enable").flat_map(|names| names.split(',').map(str::trim))
}

/// What follows `// KEY:` on each comment line that begins so.
pub fn directives<'a>(source: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    let head = format!("// {key}:");
    source.lines().filter_map(move |line| line.strip_prefix(&head)).map(str::trim)
}
