//! Parses and validates a shader under one prelude; messages show the shader's own lines.
use crate::assemble::Assembled;
use crate::prelude::{COOPERATIVE_MATRIX, Four, complete, enables};
use naga::{Module, front::wgsl, valid};

/// A module that naga accepts.
pub struct Checked {
    pub module: Module,
    pub info: valid::ModuleInfo,
}

impl Checked {
    /// Parses and validates the shader under one choice of storage types, and of what it multiplies in.
    pub fn new(assembled: &Assembled, storages: [Four; 4]) -> Result<Self, String> {
        let tiles = assembled.tiles.iter().map(|tile| (tile.name.as_str(), tile.value));
        let mut capabilities = valid::Capabilities::SHADER_FLOAT16
            | valid::Capabilities::SHADER_INT64
            | valid::Capabilities::SUBGROUP;
        if enables(&assembled.text).any(|name| name == COOPERATIVE_MATRIX) {
            capabilities |= valid::Capabilities::COOPERATIVE_MATRIX;
        }
        let source = complete(&assembled.text, storages, tiles);

        let place = |location: Option<naga::SourceLocation>| {
            let [activation, weight, float, factor] = storages.map(Four::name);
            let mut note = format!(
                "  with activation4 = {activation}, weight4 = {weight}, float4 = {float}, factor4 = {factor}"
            );
            if let Some(location) = location {
                let line = location.line_number as usize;
                let (path, origin) = assembled.origin(line);
                if path != assembled.path {
                    note += &format!("; line {line} is {path}:{origin}");
                }
            }
            note
        };
        let options = wgsl::Options { parse_doc_comments: true, ..wgsl::Options::new() };
        let module = wgsl::Frontend::new_with_options(options).parse(&source).map_err(|error| {
            let text = error.emit_to_string_with_path(&source, &assembled.path);
            text + &place(error.location(&source))
        })?;
        let info = valid::Validator::new(valid::ValidationFlags::all(), capabilities)
            .validate(&module)
            .map_err(|error| {
                let text = error.emit_to_string_with_path(&source, &assembled.path);
                text + &place(error.location(&source))
            })?;
        Ok(Self { module, info })
    }
}
