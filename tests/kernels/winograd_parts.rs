//! Minimal filtering part by part: of an image whose spread tiles pass the largest binding, with the same bits; and of
//! images whose spread tiles would take more than they do.
use crate::common::support;
use ddim::{
    Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{Case, Conv2d, Conv2dWeightGradient, GroupNorm, Input, Silu},
    passes,
    plan::Plan,
    value::{ElementType, TensorType},
    verify,
};

/// Large enough for every tensor, too small for the tiles of a whole image.
const BINDING: u64 = 150_000;

/// Launches of a kernel of minimal filtering.
fn launches(plan: &Plan, entry: &str) -> usize {
    let name = format!("winograd.{entry} ");
    plan.dispatches().filter(|launch| launch.kernel.to_string().starts_with(&name)).count()
}

/// Whether minimal filtering is what the device takes, or why not.
fn applies(gpu: &Gpu) -> bool {
    let applies = gpu.target().profile.is_software() && gpu.target().subgroup.is_some();
    if !applies {
        println!("skipped: no software driver with subgroups");
    }
    applies
}

/// Norm, SiLU, convolution, norm: the convolution reads what the first norm scales, and writes the second one's moments.
fn plan(gpu: &Gpu, [height, width]: [usize; 2]) -> Result<Plan, Error> {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[2, height, width, 16]));
    let weight = graph.input(TensorType::f32(&[3, 3, 16, 24]));
    let [scale, shift, scale2, shift2] =
        [16, 16, 24, 24].map(|channels| graph.input(TensorType::f32(&[channels])));
    let norm = GroupNorm { groups: 4, eps: 1e-5.into() };
    let h = graph.push(norm, &[x, scale, shift])?;
    let h = graph.push(Silu, &[h])?;
    let h = graph.push(Conv2d { stride: 1, padding: [1; 4] }, &[h, weight])?;
    let y = graph.push(norm, &[h, scale2, shift2])?;
    graph.outputs = vec![h, y];
    passes::compile(&graph, gpu.target())
}

fn results(gpu: &Gpu, plan: Plan) -> Result<[Vec<f32>; 2], Error> {
    let (inputs, outputs) = (plan.inputs.clone(), plan.outputs.clone());
    let types: Vec<_> = inputs.iter().map(|value| plan.find(*value).expect("an input")).collect();
    let mut executor = Executor::new(gpu, plan)?;
    executor.poison()?;
    for (seed, (value, of)) in inputs.into_iter().zip(types).enumerate() {
        let numbers = Input::normal(of).tensor(seed as u64).data;
        executor.write(value, &numbers.into_iter().map(|x| x as f32).collect::<Vec<_>>())?;
    }
    executor.run(1)?;
    Ok([executor.read(outputs[0])?, executor.read(outputs[1])?])
}

#[test]
fn parts_have_the_bits_of_the_whole() -> Result<(), Error> {
    let Some(gpu) = support::gpu() else { return Ok(()) };
    if !applies(&gpu) {
        return Ok(());
    }
    let small = gpu.binding_at_most(BINDING);
    // Whole squares with moments; an odd number of tile rows; a width that no tile divides.
    for size in [[24, 32], [22, 32], [21, 33]] {
        let (whole, parts) = (plan(&gpu, size)?, plan(&small, size)?);
        assert_eq!(launches(&whole, "input"), 1, "{size:?}");
        // Two images of 11 or 12 rows of tiles, of which 8 or 6 fit at a time.
        assert_eq!(launches(&parts, "input"), 4, "{size:?}");
        let [expected, found] = [results(&gpu, whole)?, results(&small, parts)?];
        assert!(expected == found, "{size:?}");
        assert!(expected.iter().flatten().all(|number| number.is_finite()));
    }
    Ok(())
}

#[test]
fn a_gradient_of_weights_is_summed_in_parts() -> Result<(), Error> {
    let Some(gpu) = support::gpu() else { return Ok(()) };
    if !applies(&gpu) {
        return Ok(());
    }
    let small = gpu.binding_at_most(BINDING);
    let op = Conv2dWeightGradient { stride: 1, padding: [1; 4], kernel: [3, 3], bias: false };
    let case = |element| {
        let of = |channels| TensorType::f32(&[5, 8, 16, channels]).with_element(element);
        let operands = [16, 32].map(|channels| Input::normal(of(channels)));
        Case::new(op, operands.into()).terms(5 * 8 * 16)
    };
    // An image of 16 tiles takes 49,152 bytes: three fit.
    for element in [ElementType::F32, ElementType::F16, ElementType::Bf16] {
        let plan = passes::compile(&case(element).graph()?, small.target())?;
        assert_eq!(launches(&plan, "filters_gradient"), 2, "{element}");
        verify::check_case(&small, &case(element)).expect("the definition's gradient");
        let plan = passes::compile(&case(element).graph()?, gpu.target())?;
        assert_eq!(launches(&plan, "filters_gradient"), 1, "{element}");
    }
    Ok(())
}
