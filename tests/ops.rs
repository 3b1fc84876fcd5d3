//! Every op on the device against its f64 reference, in every storage type.
use common::support;
use ddim::{
    bench_cases::{FamilyPlan, families},
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{self, Attention, AttentionBackward, Case, Conv2d, FusedConv2d, Input, Op, Prologue},
    passes,
    plan::{Arithmetic, DeviceProfile, MAX_WORKGROUPS, Target},
    value::{ElementType, TensorType, Value},
    verify::{self, Expected},
};
use std::{cell::Cell, collections::HashSet};

mod common;

fn failures(cases: &[Case], check: impl Fn(&Case) -> Result<(), String>) -> String {
    let failed = cases
        .iter()
        .filter_map(|case| check(case).err().map(|error| format!("{}: {error}\n", case.title())));
    failed.collect()
}

/// The cases in every storage. `OP=conv2d` narrows the run to ops whose printed form starts so.
fn selected() -> Vec<Case> {
    let wanted = std::env::var("OP").unwrap_or_default();
    let cases = ops::cases().into_iter().filter(|case| case.op.to_string().starts_with(&wanted));
    cases.flat_map(Case::storages).collect()
}

/// The device, and hardware GPUs with few registers and without a type of f16, and with many: their
/// kernels run anywhere. Kernels of the last differ in their tiles, not in how they read halves.
fn targets(gpu: &Gpu, case: &Case) -> Vec<Target> {
    let own = gpu.target();
    let hardware = |vendor, f16| {
        let profile = DeviceProfile { vendor, ..DeviceProfile::default() };
        Target { subgroup: None, profile, f16: f16 && own.f16, ..own.clone() }
    };
    // Many images are there for the grid, which is folded in one place for all kernels.
    let images = case
        .inputs
        .first()
        .and_then(|input| input.of.shape.first())
        .is_some_and(|&n| n > MAX_WORKGROUPS as usize);
    if images && case.half.is_empty() {
        return vec![own.clone()];
    }
    let mut targets = vec![own.clone(), hardware(0, false)];
    if case.half.iter().all(|&operand| case.inputs[operand].of.element == ElementType::F32) {
        targets.push(hardware(0x10de, true));
    }
    targets
}

/// By every family of kernels, what lowering chooses first. The reference runs once for all of them.
fn agree(gpu: &Gpu, case: &Case) -> Result<(), String> {
    let graph = case.graph().map_err(|error| error.to_string())?;
    let expected = Expected::new(case).map_err(|error| error.to_string())?;
    let mut known = HashSet::new();
    for target in targets(gpu, case) {
        for FamilyPlan { choice, plan, .. } in families(&graph, &target) {
            let plan = plan.map_err(|error| error.to_string())?;
            if !known.insert(plan.hash()) {
                continue;
            }
            expected.check(gpu, &target, &choice).map_err(|error| {
                let kernels = plan.dispatches().map(|d| format!("\n    {}", d.kernel));
                format!("{error}{}", kernels.collect::<String>())
            })?;
        }
    }
    Ok(())
}

/// Every second case from number `first` on: two tests share the cases, and so the processor.
fn every_second_case_agrees(first: usize) {
    let Some(gpu) = support::gpu() else { return };
    let cases: Vec<Case> = selected().into_iter().skip(first).step_by(2).collect();
    let failed = failures(&cases, |case| agree(&gpu, case));
    assert!(
        failed.is_empty(),
        "
{failed}"
    );
}

#[test]
fn even_cases_agree_with_the_reference() {
    every_second_case_agrees(0);
}

#[test]
fn odd_cases_agree_with_the_reference() {
    every_second_case_agrees(1);
}

/// The case stored in f16, if it may be. Fused convolutions are in their table in f32 alone: where kernels of other
/// families normalize in a launch before, its result is rounded, which the tolerance of f32 products does not allow for.
fn in_f16(mut case: Case) -> Option<Case> {
    if let Op::FusedConv2d(FusedConv2d { load, bias, .. }) = &case.op {
        // Center, scale and shift stand before the weight, a bias behind it.
        let affine = (load.prologue != Prologue::Identity).then_some(load.arity() - 1);
        let bias = bias.then_some(load.arity() + 1);
        for (index, input) in case.inputs.iter_mut().enumerate() {
            if ![affine, bias].contains(&Some(index)) {
                input.of.element = ElementType::F16;
            }
        }
        return Some(case);
    }
    let stored = case.half.first().map(|&operand| case.inputs[operand].of.element);
    (stored == Some(ElementType::F16)).then_some(case)
}

/// The ways of lowering a graph that compute products in f16.
fn mixed_ways(graph: &Graph, target: &Target) -> Result<Vec<FamilyPlan>, String> {
    let mut ways = families(graph, target);
    if let Some(error) = ways.iter().find_map(|way| way.plan.as_ref().err()) {
        return Err(error.to_string());
    }
    ways.retain(|way| way.plan.as_ref().is_ok_and(|of| of.arithmetic() == Arithmetic::Mixed));
    Ok(ways)
}

/// The device, if its shaders have f16.
fn gpu_of_f16() -> Option<Gpu> {
    let gpu = support::gpu()?;
    if !gpu.target().f16 {
        println!("skipped: {} has no f16 in shaders", gpu.info().name);
        return None;
    }
    Some(gpu)
}

/// By every tile and split of a GPU whose registers hold them all.
#[test]
fn products_in_f16_agree_with_the_reference() {
    let Some(gpu) = gpu_of_f16() else { return };
    let profile = DeviceProfile { vendor: 0x10de, ..DeviceProfile::default() };
    let arithmetic = Arithmetic::Mixed;
    let target = Target { subgroup: None, profile, arithmetic, ..gpu.target().clone() };
    let checked = Cell::new(0);
    let check = |case: &Case| {
        let graph = case.graph().map_err(|error| error.to_string())?;
        let ways = mixed_ways(&graph, &target)?;
        if ways.is_empty() {
            return Ok(());
        }
        let expected = Expected::new(case).map_err(|error| error.to_string())?;
        for FamilyPlan { name, choice, .. } in ways {
            let checked_by = expected.check(&gpu, &target, &choice);
            checked_by.map_err(|error| format!("{name}: {error}"))?;
            checked.set(checked.get() + 1);
        }
        Ok(())
    };
    let cases: Vec<Case> = selected().into_iter().filter_map(in_f16).collect();
    let failed = failures(&cases, check);
    assert!(failed.is_empty(), "\n{failed}");
    println!("{} cases, {} ways", cases.len(), checked.get());
    let of_all = std::env::var_os("OP").is_none();
    assert!(!of_all || checked.get() > 100, "{} ways", checked.get());
}

/// Runs a graph planned for an H100 several times; launches of these entry points must be among its own.
fn has_the_same_bits_in_every_run(gpu: &Gpu, graph: &Graph, inputs: &[Value], split: &[&str]) {
    let profile = DeviceProfile::named("H100").expect("a card of the table");
    let target = Target { subgroup: None, profile, ..gpu.target().clone() };
    let plan = passes::compile(graph, &target).expect("it fits");
    for entry in split {
        assert!(plan.dispatches().any(|launch| launch.kernel.entry == *entry), "{entry}");
    }
    let mut executor = Executor::new(gpu, plan).expect("it fits");
    for (seed, value) in (1..).zip(inputs) {
        let numbers = Input::uniform(graph.type_of(*value), -1.0, 1.0).tensor(seed).data;
        let numbers: Vec<f32> = numbers.into_iter().map(|x| x as f32).collect();
        executor.write(*value, &numbers).expect("as many as the tensor has");
    }
    let mut run = || -> Vec<u32> {
        executor.run(1).expect("it runs");
        let read = |value: &Value| executor.read(*value).expect("an output");
        graph.outputs.iter().flat_map(read).map(f32::to_bits).collect()
    };
    let first = run();
    assert!(first.iter().any(|bits| *bits != 0));
    for _ in 0..8 {
        assert!(run() == first, "a run gave other bits");
    }
}

/// Whichever part of a sum is done first, the parts are added in their order.
#[test]
fn sums_in_parts_have_the_same_bits_in_every_run() {
    let Some(gpu) = support::gpu() else { return };
    let mut graph = Graph::new();
    let types = [TensorType::f32(&[1, 8, 8, 256]), TensorType::f32(&[3, 3, 256, 64])];
    let inputs = types.map(|of| graph.input(of));
    let conv = Conv2d { stride: 1, padding: [1; 4] };
    graph.outputs = graph.push_all(conv, &inputs).expect("operands of the op");
    has_the_same_bits_in_every_run(&gpu, &graph, &inputs, &["split", "fold"]);
}

/// The same of attention, whose keys, or queries, are cut into slots.
#[test]
fn attention_in_slots_has_the_same_bits_in_every_run() {
    let Some(gpu) = support::gpu() else { return };
    let mut graph = Graph::new();
    let [few, many] = [32, 2048].map(|tokens| TensorType::f32(&[1, tokens, 64]));
    let inputs = [few, many, many, few].map(|of| graph.input(of));
    let [q, k, v, dy] = inputs;
    let forward = graph.push_all(Attention::to_all(1), &[q, k, v]).expect("operands of the op");
    let operands = [q, k, v, forward[0], forward[1], dy];
    let backward = AttentionBackward { heads: 1, causal: false };
    let gradients = graph.push_all(backward, &operands).expect("operands of the op");
    graph.outputs = [forward, gradients].concat();
    has_the_same_bits_in_every_run(&gpu, &graph, &inputs, &["split", "fold", "query_split"]);
    let mut graph = Graph::new();
    let inputs = [many, few, few, many].map(|of| graph.input(of));
    let [q, k, v, dy] = inputs;
    let forward = graph.push_all(Attention::to_all(1), &[q, k, v]).expect("operands of the op");
    let operands = [q, k, v, forward[0], forward[1], dy];
    graph.outputs = graph.push_all(backward, &operands).expect("operands of the op");
    has_the_same_bits_in_every_run(&gpu, &graph, &inputs, &["key_value_split"]);
}

/// All kernel families of the smallest case of each op, with NaN and infinity in its operands.
#[test]
fn numbers_that_are_not_finite_reach_what_the_op_promises() {
    let Some(gpu) = support::gpu() else { return };
    let check = |case: &Case| {
        let graph = case.graph().map_err(|error| error.to_string())?;
        let mut errors = String::new();
        for FamilyPlan { name, choice, .. } in families(&graph, gpu.target()) {
            if let Err(error) = verify::check_special(&gpu, case, &choice) {
                errors += &format!("\n    {name}: {error}");
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    };
    let cases = verify::special_cases(selected());
    println!("{} cases", cases.len());
    let failed = failures(&cases, check);
    assert!(failed.is_empty(), "\n{failed}");
}

/// The same of products in f16, by the device's own kernels of tiles.
#[test]
fn numbers_that_are_not_finite_reach_sums_of_products_in_f16() {
    let Some(gpu) = gpu_of_f16() else { return };
    let gpu = gpu.computing_in(Arithmetic::Mixed);
    let check = |case: &Case| {
        let graph = case.graph().map_err(|error| error.to_string())?;
        for FamilyPlan { name, choice, .. } in mixed_ways(&graph, gpu.target())? {
            let checked = verify::check_special(&gpu, case, &choice);
            checked.map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    };
    let cases = verify::special_cases(selected().into_iter().filter_map(in_f16).collect());
    let failed = failures(&cases, check);
    assert!(failed.is_empty(), "\n{failed}");
}
