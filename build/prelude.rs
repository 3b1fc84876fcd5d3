//! The one line of WGSL that stands before every shader: its `enable`s, its tile constants and
//! the storage types `activation4` and `weight4`. The build script checks each shader under it
//! and the crate's `plan` writes it; this file is part of both, so it names neither.

/// The prelude, without a line break, so that line numbers in messages are the shader's own.
///
/// `tiles` are the `// tile:` constants with the values to compile in, `enables` the shader's
/// own [`enables`].
pub fn prelude<'a>(
    activation_f16: bool,
    weight_f16: bool,
    tiles: impl IntoIterator<Item = (&'a str, u32)>,
    enables: impl IntoIterator<Item = &'a str>,
) -> String {
    let f16 = (activation_f16 || weight_f16).then_some("f16");
    let mut text = String::new();
    for name in f16.into_iter().chain(enables) {
        text += &format!("enable {name}; ");
    }
    for (name, value) in tiles {
        text += &format!("const {name} = {value}u; ");
    }
    text + &storage("activation", activation_f16) + &storage("weight", weight_f16)
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

/// The alias `NAME4` and its conversions from and to f32.
fn storage(name: &str, f16: bool) -> String {
    let vector = if f16 { "vec4<f16>" } else { "vec4<f32>" };
    format!(
        "alias {name}4 = {vector}; \
         fn widen_{name}(v: {name}4) -> vec4<f32> {{ return vec4<f32>(v); }} \
         fn narrow_{name}(v: vec4<f32>) -> {name}4 {{ return {vector}(v); }} "
    )
}
