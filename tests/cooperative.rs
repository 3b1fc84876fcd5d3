//! Products and convolutions by cooperative matrices: every case that the family takes, on an adapter that lists them. Of
//! software drivers that is Mesa's lavapipe of version 26, which `compilers/drivers` unpacks: `scripts/test` runs this program
//! there, with `REQUIRE_COOPERATIVE_MATRICES=1`. Elsewhere it says what is lacking.
use common::square::Square;
use ddim::{
    Error,
    error::GpuError,
    gpu::{Executor, Gpu, GpuOptions},
    graph::Graph,
    ops::{self, Case, Op},
    passes,
    plan::{Candidate, DefaultHeuristic, DeviceProfile, Family, KernelSelector, Problem, Target},
    value::TensorType,
    verify::{self, Expected},
};
use std::{env, fmt::Write};

mod common;

/// The family wherever it is offered, else the table's choice.
struct Matrices;

impl KernelSelector for Matrices {
    fn select(&self, target: &Target, problem: &Problem, candidates: &[Candidate]) -> usize {
        let own = candidates.iter().position(|of| of.family == Family::Cooperative);
        own.unwrap_or_else(|| DefaultHeuristic.select(target, problem, candidates))
    }
}

/// The adapter, if kernels multiply by its matrix units.
fn gpu() -> Option<Gpu> {
    let options = GpuOptions { cooperative_matrices: true, ..GpuOptions::default() };
    let why = match Gpu::new(&options) {
        Ok(gpu) => {
            let lacking = gpu.cooperative_matrices().err().map(str::to_owned);
            let Some(why) = lacking else { return Some(gpu) };
            format!("{}: {why}", gpu.info().name)
        }
        Err(error) => error.to_string(),
    };
    let required = env::var("REQUIRE_COOPERATIVE_MATRICES").as_deref() == Ok("1");
    assert!(!required, "{why}");
    println!("skipped: {why}");
    None
}

/// The device, and a GPU without a type of f16 in storage.
fn targets(gpu: &Gpu) -> [Target; 2] {
    let packed = Target { f16: false, profile: DeviceProfile::default(), ..gpu.target().clone() };
    [gpu.target().clone(), packed]
}

/// Whether the family computes the case, or a part of it.
fn is_taken(case: &Case, target: &Target) -> bool {
    let graph = case.graph().expect("the op takes its own cases");
    let plan = passes::compile_with(&graph, target, &Matrices).expect("it fits");
    plan.choices.keys().any(|(_, family)| *family == Family::Cooperative)
}

/// What failed of the cases that the family takes, a line each, and how many these are.
fn failures<E: std::fmt::Display>(
    cases: impl IntoIterator<Item = Case>,
    target: &Target,
    check: impl Fn(&Case) -> Result<(), E>,
) -> (String, usize) {
    let (mut failed, mut taken) = (String::new(), 0);
    for case in cases.into_iter().filter(|case| is_taken(case, target)) {
        taken += 1;
        if let Err(error) = check(&case) {
            writeln!(failed, "{}: {error}", case.title()).expect("a string");
        }
    }
    (failed, taken)
}

#[test]
fn every_case_that_the_family_takes_agrees_with_the_reference() {
    let Some(gpu) = gpu() else { return };
    for target in targets(&gpu) {
        let cases = ops::cases().into_iter().flat_map(Case::storages);
        let (failed, taken) =
            failures(cases, &target, |case| Expected::new(case)?.check(&gpu, &target, &Matrices));
        println!("{taken} cases by {:?}", target.cooperative_matrices);
        assert!(taken > 150, "{taken} cases");
        assert!(failed.is_empty(), "\n{failed}");
    }
}

#[test]
fn numbers_that_are_not_finite_reach_what_the_op_promises() {
    let Some(gpu) = gpu() else { return };
    let cases = ops::cases().into_iter().flat_map(Case::storages).collect();
    let (failed, taken) = failures(verify::special_cases(cases), gpu.target(), |case| {
        verify::check_special(&gpu, case, &Matrices)
    });
    assert!(taken > 0);
    assert!(failed.is_empty(), "\n{failed}");
}

#[test]
fn nothing_is_rounded_unasked() {
    let Some(asked) = gpu() else { return };
    let name = asked.info().name.clone();
    let plain = Gpu::new(&GpuOptions { adapter: Some(name), ..GpuOptions::default() });
    let plain = plain.expect("it was opened before");
    assert_eq!(plain.target().cooperative_matrices, None);
    assert_eq!(plain.cooperative_matrices(), Err("they were not asked for"));
    // A plan of the one does not run on the other.
    let case = ops::cases().into_iter().find(|case| is_taken(case, asked.target()));
    let graph = case.expect("the family takes some").graph().expect("its own case");
    let plan = passes::compile_with(&graph, asked.target(), &Matrices).expect("it fits");
    match Executor::new(&plain, plan) {
        Err(Error::Gpu(GpuError::Target { lacks, .. })) => {
            assert!(lacks.contains("cooperative matrices of "), "{lacks}");
        }
        other => panic!("{:?}", other.err()),
    }
}

/// A matrix past the end of its buffer: nothing at run time would bound what it loads.
const PAST_THE_END: &str = "
// enable: wgpu_cooperative_matrix
struct Params { factor: f32, vectors: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(64)
fn forward() {
    let matrix = coopLoadT<coop_mat8x8<f32, C>>(&x[1u], params.vectors);
    coopStoreT(matrix, &y[0u], 2u);
}
";

#[test]
fn matrices_of_a_callers_own_text_need_its_word() {
    let Some(gpu) = common::support::gpu() else { return };
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[2, 4]));
    let op = Square { source: PAST_THE_END, ..Square::default() };
    let y = graph.push(Op::custom(op), &[x]).expect("any shape will do");
    graph.outputs.push(y);
    let plan = passes::compile(&graph, gpu.target()).expect("it fits");
    match Executor::new(&gpu, plan) {
        Err(Error::Gpu(GpuError::Custom { message, .. })) => {
            assert!(message.contains("without_checks"), "{message}");
        }
        other => panic!("{:?}", other.err()),
    }
}
