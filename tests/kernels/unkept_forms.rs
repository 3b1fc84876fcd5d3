//! Forms of weights that each run makes anew: they take no memory between runs and change no result.
use crate::{common::support, prefers::Prefers};
use ddim::{
    Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{Conv2d, Input, Linear, Op},
    passes,
    plan::{Family, Plan, Trigger},
    value::{ElementType, TensorType},
};

/// The operation on an input and on a constant.
fn graph(op: impl Into<Op>, x: &[usize], weight: TensorType) -> Result<Graph, Error> {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(x));
    let weight = graph.constant(weight);
    let y = graph.push(op, &[x, weight])?;
    graph.outputs.push(y);
    Ok(graph)
}

/// Launches of a run whose kernel has this name.
fn launches(plan: &Plan, kernel: &str) -> usize {
    let every_run = plan.sections.iter().filter(|of| of.trigger == Trigger::EveryRun);
    let launches = every_run.flat_map(|section| &section.launches);
    launches.filter(|launch| launch.kernel.to_string().starts_with(kernel)).count()
}

/// The result of a second run.
fn second_run(gpu: &Gpu, plan: Plan, numbers: [&[f32]; 2]) -> Result<Vec<f32>, Error> {
    let (inputs, output) = (plan.inputs.clone(), plan.outputs[0]);
    let mut executor = Executor::new(gpu, plan)?;
    executor.poison()?;
    for (value, numbers) in inputs.into_iter().zip(numbers) {
        executor.write(value, numbers)?;
    }
    executor.run(2)?;
    executor.read(output)
}

fn normal(shape: &[usize], seed: u64) -> Vec<f32> {
    let of = Input::normal(TensorType::f32(shape));
    of.tensor(seed).data.into_iter().map(|number| number as f32).collect()
}

#[test]
fn weights_in_halves_are_widened_where_many_rows_read_them() -> Result<(), Error> {
    let Some(gpu) = support::gpu() else { return Ok(()) };
    if !(gpu.target().profile.is_software() && gpu.target().int64) {
        println!("skipped: no software driver with integers of 64 bits");
        return Ok(());
    }
    let shape = [40, 24];
    for element in [ElementType::F16, ElementType::Bf16] {
        let of = TensorType::f32(&shape).with_element(element);
        let plan = |rows: usize, of| -> Result<Plan, Error> {
            passes::compile(&graph(Linear, &[rows, shape[0]], of)?, gpu.target())
        };
        let (widened, few) = (plan(64, of)?, plan(63, of)?);
        assert_eq!(launches(&widened, "product_wide.forward"), 1);
        assert_eq!(launches(&widened, "panels.forward"), 1, "{element}: each run widens");
        assert_eq!(launches(&few, "product_subgroup.forward"), 1);
        assert_eq!(launches(&few, "panels.forward"), 0, "{element}: the panels are kept");
        // The same products of the same numbers: to the last bit.
        let (x, weight) = (normal(&[64, shape[0]], 1), normal(&shape, 2));
        let rounded: Vec<f32> = weight
            .iter()
            .map(|&number| match element {
                ElementType::F16 => half::f16::from_f32(number).to_f32(),
                _ => half::bf16::from_f32(number).to_f32(),
            })
            .collect();
        let expected = second_run(&gpu, plan(64, TensorType::f32(&shape))?, [&x, &rounded])?;
        assert!(second_run(&gpu, widened, [&x, &weight])? == expected, "{element}");
    }
    Ok(())
}

#[test]
fn large_filters_are_made_in_each_run() -> Result<(), Error> {
    let Some(gpu) = support::gpu() else { return Ok(()) };
    if !gpu.target().profile.is_software() || gpu.target().subgroup.is_none() {
        println!("skipped: no software driver with subgroups");
        return Ok(());
    }
    // Filters of wide tiles take 150 MiB: more than lavapipe binds. Those of narrow ones take 100.
    let (channels, x_of) = (1280, [1, 12, 12, 1280]);
    let weight_of = [3, 3, channels, channels];
    let conv = Conv2d { stride: 1, padding: [1; 4] };
    let graph = graph(conv, &x_of, TensorType::f32(&weight_of))?;
    let target = gpu.binding_at_most(128 << 20).target().clone();
    let plan = passes::compile(&graph, &target)?;
    assert_eq!(launches(&plan, "winograd.filters"), 1, "{plan}");
    let direct = passes::compile_with(&graph, &target, &Prefers(Family::Subgroup))?;
    assert_eq!(launches(&direct, "winograd.filters"), 0);
    let (x, weight) = (normal(&x_of, 1), normal(&weight_of, 2));
    let expected = second_run(&gpu, direct, [&x, &weight])?;
    let found = second_run(&gpu, plan, [&x, &weight])?;
    // Sums of 11,520 products have a deviation of 107; narrow tiles double the rounding error of f32.
    let largest = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest < 107.0 * 1e-5, "{largest}");
    assert!(expected.iter().any(|y| y.abs() > 107.0));
    Ok(())
}
