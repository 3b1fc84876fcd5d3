//! Minimal filtering whose products go by tiles in workgroup memory: every tile, images in parts, a device without subgroups.
use crate::{common::support, prefers::Prefers};
use ddim::{
    Error,
    gpu::{Gpu, GpuOptions},
    ops::{Case, Conv2d, Conv2dInputGradient, Input},
    passes,
    plan::{DeviceProfile, Family, Plan, Target},
    value::TensorType,
    verify::{self, Expected},
};

const FAMILIES: [Family; 2] = [Family::Winograd, Family::WinogradNarrow];

/// A convolution of images `[batch, height, width, in]`.
fn convolution(x: [usize; 4], outputs: usize) -> Case {
    let weight = [3, 3, x[3], outputs];
    let operands = [x, weight].map(|shape| Input::normal(TensorType::f32(&shape)));
    Case::new(Conv2d { stride: 1, padding: [1; 4] }, operands.into()).terms(9 * x[3])
}

/// The gradient of its input.
fn input_gradient([batch, height, width, inputs]: [usize; 4], outputs: usize) -> Case {
    let op = Conv2dInputGradient { stride: 1, padding: [1; 4], height, width, residual: false };
    let operands = [[batch, height, width, outputs], [3, 3, inputs, outputs]]
        .map(|shape| Input::normal(TensorType::f32(&shape)));
    Case::new(op, operands.into()).terms(9 * outputs)
}

/// Rows, and vec4s of columns, of the tile of each launch of products.
fn tiles(plan: &Plan) -> Vec<[u32; 2]> {
    let batched = plan.dispatches().filter(|launch| launch.kernel.entry == "batched");
    let tile = |name, tiles: &[(&str, u32)]| {
        tiles.iter().find(|(known, _)| *known == name).expect("a constant of the shader").1
    };
    batched
        .map(|launch| ["ROWS", "COLUMNS4"].map(|name| tile(name, &launch.kernel.tiles)))
        .collect()
}

fn gpu_target(gpu: &Gpu, profile: DeviceProfile) -> Target {
    Target { subgroup: None, profile, ..gpu.target().clone() }
}

#[test]
fn every_tile_gives_the_convolution() -> Result<(), Error> {
    let Some(gpu) = support::gpu() else { return Ok(()) };
    let h100 = DeviceProfile::named("H100").expect("a card of the table");
    let of_cores = |cores| DeviceProfile { cores: Some(cores), ..h100 };
    let of_vendor = |vendor| DeviceProfile { vendor, ..DeviceProfile::default() };
    // The largest that the channels fill keeps one core busy, the smallest a thousand; without rates registers decide.
    for (profile, outputs, tile) in [
        (of_cores(1), 128, [128, 32]),
        (of_cores(1), 64, [128, 16]),
        (of_vendor(0x10de), 64, [64, 16]),
        (of_vendor(0), 64, [32, 16]),
        (of_cores(1000), 64, [32, 8]),
        (of_cores(1), 16, [64, 4]),
    ] {
        let case = convolution([4, 16, 16, 16], outputs);
        let expected = Expected::new(&case)?;
        let target = gpu_target(&gpu, profile);
        for family in FAMILIES {
            let plan = passes::compile_with(&case.graph()?, &target, &Prefers(family))?;
            assert_eq!(tiles(&plan), [tile], "{family}");
            let checked = expected.check(&gpu, &target, &Prefers(family));
            checked.unwrap_or_else(|error| panic!("{family} {tile:?}: {error}"));
        }
    }
    Ok(())
}

#[test]
fn images_in_parts_give_the_convolution() -> Result<(), Error> {
    let Some(gpu) = support::gpu() else { return Ok(()) };
    // Large enough for every tensor, too small for the tiles of a whole image.
    let target = Target { max_binding: 150_000, ..gpu_target(&gpu, DeviceProfile::default()) };
    let x = [2, 21, 33, 16];
    for case in [convolution(x, 24), input_gradient(x, 24)] {
        let expected = Expected::new(&case)?;
        // Of 11 rows of tiles 6 fit at a time; of narrow tiles, of which a row has 17, 4.
        for (family, parts) in FAMILIES.into_iter().zip([2, 3]) {
            let plan = passes::compile_with(&case.graph()?, &target, &Prefers(family))?;
            assert_eq!(tiles(&plan).len(), 2 * parts, "{family}");
            let checked = expected.check(&gpu, &target, &Prefers(family));
            checked.unwrap_or_else(|error| panic!("{family}, {}: {error}", case.title()));
        }
    }
    Ok(())
}

#[test]
fn a_software_driver_without_subgroups_takes_tiles() -> Result<(), Error> {
    if support::gpu().is_none() {
        return Ok(());
    }
    let gpu = Gpu::new(&GpuOptions { minimal: true, ..GpuOptions::default() })?;
    if !gpu.target().profile.is_software() {
        println!("skipped: no software driver");
        return Ok(());
    }
    let case = convolution([1, 16, 16, 32], 32);
    let plan = passes::compile(&case.graph()?, gpu.target())?;
    assert_eq!(tiles(&plan), [[64, 16]], "{plan}");
    verify::check_case(&gpu, &case).expect("the definition's convolution");
    Ok(())
}
