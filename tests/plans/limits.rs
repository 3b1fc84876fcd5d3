//! What operations are given that does not fit them: other element types, attributes and extents
//! at their limits and past them, indices past a table. Each is refused by type or computed right.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use crate::{attributes, common::support};
use ddim::{
    Error,
    error::{GraphError, LoweringError},
    gpu::Gpu,
    graph::Graph,
    ops::{self, Case, Fill, Input, Op, Operator},
    passes,
    plan::{DeviceProfile, Target},
    value::{ElementType, Shape, TensorType},
    verify,
};
use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// What is longer would be work on tensors that the op should have refused.
const LONGEST: Duration = Duration::from_secs(2);

/// Elements of the largest tensor that the reference is asked for.
const COMPARED: usize = 1 << 16;

/// The case with operands of other types; given numbers are repeated as often as they have to be.
fn retyped(case: &Case, types: &[TensorType]) -> Case {
    // The sums of other extents may be longer, and cancel where those of the case do not.
    let mut case = case.clone().terms(64 * case.terms);
    for (input, &of) in case.inputs.iter_mut().zip(types) {
        if let Fill::Values(values) = &input.fill
            && input.of.shape != of.shape
            && of.shape.elements() <= COMPARED
        {
            let numbers = values.iter().copied().cycle().take(of.shape.elements());
            *input = Input::values(of, numbers.collect());
        }
        input.of = of;
    }
    case
}

/// Whether the op refuses the case. What it takes must compile for every target that has room for
/// it, whatever the grid, and agree with the reference where a device can run it.
fn refuses(gpu: Option<&Gpu>, case: &Case) -> Result<bool, String> {
    let Ok(outputs) = case.op.infer(&case.types()) else { return Ok(true) };
    let graph = case.graph().map_err(|error| error.to_string())?;
    let tensors = || case.types().into_iter().chain(outputs.iter().copied());
    for target in targets() {
        let start = Instant::now();
        let compiled = passes::compile(&graph, &target);
        let took = start.elapsed();
        if took > LONGEST {
            return Err(format!("took {took:?} to compile for {target:?}"));
        }
        match compiled {
            Ok(_) => (),
            Err(Error::Lowering(LoweringError::Storage { .. })) => {
                return Err(format!("{} is not refused by infer", case.title()));
            }
            Err(Error::Lowering(error @ LoweringError::Grid { .. })) => {
                return Err(format!("is refused for its grid: {error}"));
            }
            Err(Error::Lowering(_)) => return Ok(false),
            Err(error) => return Err(format!("{error}, for {target:?}")),
        }
    }
    let small = tensors().all(|of| of.shape.elements() <= COMPARED);
    // The gaps of an arena are zero because its buffer begins so; a check fills it with NaN.
    let compared = small && !matches!(case.op, Op::Pack(_));
    if let Some(gpu) = gpu.filter(|_| compared)
        && case.tensors().iter().all(|tensor| tensor.max_abs().is_finite())
    {
        verify::check_case(gpu, case).map_err(|error| error.to_string())?;
    }
    Ok(false)
}

/// The complaints about these cases, and how many were refused and taken.
fn complaints(gpu: Option<&Gpu>, cases: &[Case]) -> (Vec<String>, [usize; 2]) {
    let (mut found, mut counts) = (Vec::new(), [0; 2]);
    for case in cases {
        let result = catch_unwind(AssertUnwindSafe(|| refuses(gpu, case)));
        match result.unwrap_or_else(|_| Err("panics".to_owned())) {
            Ok(refused) => counts[usize::from(!refused)] += 1,
            Err(message) => found.push(format!("{}: {message}", case.title())),
        }
    }
    (found, counts)
}

/// A small device, a software driver that offers every family, and one that binds anything.
fn targets() -> [Target; 3] {
    let small = Target { f16: true, ..Target::default() };
    let wide = Target {
        subgroup: Some(8),
        profile: DeviceProfile::SOFTWARE,
        int64: true,
        ..small.clone()
    };
    let large = Target { max_binding: u64::MAX, ..wide.clone() };
    [small, wide, large]
}

/// The case with each operand in each other storage.
fn swapped(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    for operand in 0..case.inputs.len() {
        for element in [ElementType::F32, ElementType::F16, ElementType::Bf16, ElementType::U32] {
            let mut types = case.types();
            if types[operand].element != element {
                types[operand].element = element;
                all.push(retyped(case, &types));
            }
        }
    }
    all
}

#[test]
fn element_types_are_part_of_every_op() {
    let gpu = support::gpu();
    let every: Vec<Case> = ops::cases().iter().flat_map(swapped).collect();
    let some: Vec<Case> = few().iter().flat_map(swapped).collect();
    let (mut found, [refused, taken]) = complaints(None, &every);
    found.extend(complaints(gpu.as_ref(), &some).0);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(refused > 1000 && taken > 20, "{refused} refused, {taken} taken");
}

/// The first two cases of each op; not those of numbers so small that f32 has no tolerance there.
fn few() -> Vec<Case> {
    let (mut seen, mut few) = (HashSet::new(), Vec::new());
    for case in ops::cases().into_iter().filter(|case| !case.title().ends_with("(extremes)")) {
        let printed = case.op.to_string();
        let name = printed.split('{').next().unwrap_or_default().to_owned();
        if seen.insert((name.clone(), 0)) || seen.insert((name, 1)) {
            few.push(case);
        }
    }
    few
}

fn with_extent(shape: &Shape, axis: usize, extent: usize) -> Vec<usize> {
    let mut extents = shape.to_vec();
    extents[axis] = extent;
    extents
}

/// An extent of one operand, or of all operands that have it, at the limits and past them.
fn stretched(case: &Case) -> Vec<Case> {
    let types = case.types();
    let distinct: HashSet<usize> = types.iter().flat_map(|of| of.shape.to_vec()).collect();
    let numbers = |extent: usize| {
        let near = [extent - 1, extent + 1, 2 * extent];
        attributes::NUMBERS.into_iter().chain(near).filter(move |&other| other != extent)
    };
    let mut all = Vec::new();
    for (operand, of) in types.iter().enumerate() {
        for axis in 0..of.shape.len() {
            for extent in numbers(of.shape[axis]) {
                let mut types = types.clone();
                types[operand] = of.with_shape(&with_extent(&of.shape, axis, extent));
                all.push(retyped(case, &types));
            }
        }
    }
    for extent in distinct {
        for other in numbers(extent) {
            let swap = |of: &TensorType| {
                let extents = of.shape.iter().map(|&e| if e == extent { other } else { e });
                of.with_shape(&extents.collect::<Vec<_>>())
            };
            all.push(retyped(case, &types.iter().map(swap).collect::<Vec<_>>()));
        }
    }
    all
}

#[test]
fn extents_at_their_limits_are_refused_or_computed() {
    let gpu = support::gpu();
    let all: Vec<Case> = few().iter().flat_map(stretched).collect();
    let (found, [refused, taken]) = complaints(gpu.as_ref(), &all);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(refused > 1000 && taken > 100, "{refused} refused, {taken} taken");
}

fn with_op(case: &Case, op: Op) -> Case {
    let mut case = case.clone();
    case.op = op;
    case
}

#[test]
fn attributes_at_their_limits_are_refused_or_computed() {
    let gpu = support::gpu();
    let mut all = Vec::new();
    for case in few() {
        let ops = attributes::changed(&case.op);
        all.extend(ops.into_iter().map(|op| with_op(&case, op)));
    }
    let (found, [refused, taken]) = complaints(gpu.as_ref(), &all);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(refused > 300 && taken > 100, "{refused} refused, {taken} taken");
}

/// Labels, timesteps, numbers of images and steps that no table has.
#[test]
fn indices_past_a_table_stay_in_it() {
    let gpu = support::gpu();
    // The largest is that of f32 below 2^32.
    let far = [0.0, 1e9, f64::from(u32::MAX - 255), 7.0, f64::from(1_u32 << 31), 5.0, 3.0];
    let mut all = Vec::new();
    for case in ops::cases() {
        for (operand, input) in case.inputs.iter().enumerate() {
            let counts =
                input.of.element == ElementType::U32 || matches!(input.fill, Fill::Below(_));
            if counts && input.of.shape.elements() <= COMPARED {
                let mut case = case.clone();
                let numbers = far.iter().copied().cycle().take(input.of.shape.elements());
                case.inputs[operand] = Input::values(input.of, numbers.collect());
                all.push(case);
            }
        }
    }
    let (found, [refused, taken]) = complaints(gpu.as_ref(), &all);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(refused == 0 && taken > 50, "{refused} refused, {taken} taken");
}

#[test]
fn inputs_that_no_kernel_counts_are_refused() {
    for extents in [&[0][..], &[3, 0], &[usize::MAX, 2], &[1 << 32, 1 << 32, 4], &[1 << 30, 1]] {
        let mut graph = Graph::new();
        let of = TensorType::f32(extents);
        graph.input(of);
        let error = passes::compile(&graph, &Target::default()).unwrap_err();
        assert!(matches!(error, Error::Graph(GraphError::Size { .. })), "{of}: {error}");
    }
}
