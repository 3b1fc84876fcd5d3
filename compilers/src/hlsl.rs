//! HLSL as wgpu makes it of trusted kernels for DX12, for a compiler that is not naga.
use crate::{error::Error, spirv};
use ddim::{
    plan::{Elements, Kernel},
    shaders,
};
use naga::back::hlsl;

/// The HLSL of every entry point of every shader in f32, by the names of both: `silu.forward`. Of shader
/// model 5.1, which has no subgroups and their matrices, no 64-bit integers and no f16.
///
/// # Errors
/// If naga refuses a text: the tests of the library accepted it.
pub fn texts() -> Result<Vec<(String, String)>, Error> {
    let mut texts = Vec::new();
    for shader in shaders::ALL {
        let lacking = ["subgroupShuffle", "subgroupAdd", "subgroupMax", "u64", "f16;", "coopLoad"];
        if lacking.iter().any(|word| shader.source.contains(word)) {
            continue;
        }
        for entry in shader.entries {
            let kernel = Kernel {
                shader: shader.name.into(),
                source: shader.source.into(),
                entry: entry.name.into(),
                overrides: shader.overrides.to_vec(),
                tiles: shader.tiles.to_vec(),
                elements: Elements::default(),
            };
            texts.push((format!("{}.{}", shader.name, entry.name), hlsl(&kernel)?));
        }
    }
    Ok(texts)
}

fn hlsl(kernel: &Kernel) -> Result<String, Error> {
    let (module, info) = spirv::resolved(kernel)?;
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V5_1,
        special_constants_binding: Some(hlsl::BindTarget { space: 1, ..Default::default() }),
        zero_initialize_workgroup_memory: false,
        restrict_indexing: false,
        force_loop_bounding: false,
        ..hlsl::Options::default()
    };
    let entry = Some((naga::ShaderStage::Compute, kernel.entry.to_string()));
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions { entry_point: entry })
        .write(&module, &info, None)
        .map_err(|error| spirv::refused(kernel, error))?;
    Ok(text)
}
