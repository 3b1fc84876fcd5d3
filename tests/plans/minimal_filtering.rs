//! Where plans for GPUs take minimal filtering, and what it saves by the model of the device.
use ddim::{
    Error,
    bench_cases::BenchModel,
    graph::Graph,
    ops::Conv2d,
    passes,
    plan::{
        Arithmetic, Candidate, CooperativeMatrices, DEPENDENT_LAUNCH, DefaultHeuristic,
        DeviceProfile, Dispatch, Family, KernelSelector, OpClass, Plan, Problem, Target,
    },
    value::TensorType,
};

const FILTERING: [Family; 2] = [Family::Winograd, Family::WinogradNarrow];

/// The usual choice without minimal filtering.
struct Direct;

impl KernelSelector for Direct {
    fn select(&self, target: &Target, problem: &Problem, candidates: &[Candidate]) -> usize {
        let ranked = DefaultHeuristic::ranked(target, problem, candidates);
        let direct = |index: &usize| !FILTERING.contains(&candidates[*index].family);
        ranked.into_iter().find(direct).expect("tiles are for every device")
    }
}

fn h100() -> Target {
    Target::of(DeviceProfile::named("H100").expect("a card of the table"))
}

/// Its caller allows matrix units.
fn with_matrices() -> Target {
    let matrices = CooperativeMatrices { edge: 16, subgroup: 32 };
    Target { cooperative_matrices: Some(matrices), f16: true, ..h100() }
}

/// How often ops of a class, or of any, were given to these families.
fn chosen(plan: &Plan, class: Option<OpClass>, families: &[Family]) -> usize {
    let of = |known: &OpClass| class.is_none_or(|class| *known == class);
    let fits = plan
        .choices
        .iter()
        .filter(|((of_class, family), _)| of(of_class) && families.contains(family));
    fits.map(|(_, times)| times).sum()
}

/// The part of a run's operations that minimal filtering computes.
fn share(plan: &Plan) -> f64 {
    let products = plan.dispatches().filter(|launch| launch.kernel.entry == "batched");
    let flops: u64 = products.map(|launch| launch.cost.flops).sum();
    flops as f64 / plan.cost().flops as f64
}

/// How long a run takes by the model, in milliseconds.
fn predicted(plan: &Plan) -> f64 {
    let predicted = plan.predict().expect("known rates");
    1e3 * predicted.time(DEPENDENT_LAUNCH).as_secs_f64()
}

#[test]
fn large_batches_take_it_and_a_single_image_does_not() -> Result<(), Error> {
    let (model, target) = (BenchModel::cifar10()?, h100());
    // The least part of the operations, and the most time of what a plan without it takes.
    for (batch, least, most) in [(1, 0.0, 1.0), (8, 0.3, 0.95), (64, 0.75, 0.7)] {
        let graph = model.sampling(batch, &target)?.graph;
        let direct = passes::compile_with(&graph, &target, &Direct)?;
        let plan = passes::compile(&graph, &target)?;
        let [before, after] = [&direct, &plan].map(predicted);
        let [many, launches] = [&direct, &plan].map(|of| of.dispatches().count());
        let share = share(&plan);
        println!(
            "{batch} images: {before:.3} ms in {many} launches without, {after:.3} ms in {launches}"
        );
        assert_eq!(chosen(&direct, None, &FILTERING), 0);
        assert_eq!(chosen(&plan, None, &FILTERING) > 0, least > 0.0, "{batch}");
        assert!(share >= least, "{batch}: {share} of the operations");
        assert!(after <= most * before, "{batch}: {after} ms, {before} before");
        // Filters of constants are made once.
        let filters = |launch: &&Dispatch| launch.kernel.entry == "filters";
        assert_eq!(plan.dispatches().filter(filters).count(), 0);
    }
    Ok(())
}

#[test]
fn the_forward_pass_of_training_takes_narrow_tiles_alone() -> Result<(), Error> {
    let model = BenchModel::cifar10()?;
    // Numbers in f32 are no operands of matrices in training.
    for target in [h100(), with_matrices()] {
        let plan = passes::compile(&model.training(64, &target)?.graph, &target)?;
        println!("{}", plan.totals());
        let forward = Some(OpClass::TrainedConvolution);
        assert_eq!(chosen(&plan, forward, &[Family::Winograd]), 0);
        assert!(chosen(&plan, forward, &[Family::WinogradNarrow]) > 0);
        assert!(chosen(&plan, Some(OpClass::InputGradient), &FILTERING) > 0);
    }
    Ok(())
}

#[test]
fn its_products_stay_in_f32_and_matrix_units_go_before_it() -> Result<(), Error> {
    let mut graph = Graph::new();
    let types = [TensorType::f16(&[64, 32, 32, 128]), TensorType::f16(&[3, 3, 128, 128])];
    let inputs = types.map(|of| graph.input(of));
    graph.outputs = graph.push_all(Conv2d { stride: 1, padding: [1; 4] }, &inputs)?;
    let mixed = Target { f16: true, arithmetic: Arithmetic::Mixed, ..h100() };
    let plan = passes::compile(&graph, &mixed)?;
    assert_eq!(chosen(&plan, None, &FILTERING), 1);
    assert_eq!(plan.arithmetic(), Arithmetic::F32);
    let direct = passes::compile_with(&graph, &mixed, &Direct)?;
    assert_eq!(direct.arithmetic(), Arithmetic::Mixed);
    let plan = passes::compile(&graph, &with_matrices())?;
    assert_eq!(chosen(&plan, None, &[Family::Cooperative]), 1);
    Ok(())
}

#[test]
fn a_gpu_of_unknown_rates_takes_none() -> Result<(), Error> {
    let (model, target) = (BenchModel::cifar10()?, Target::default());
    let plan = passes::compile(&model.sampling(64, &target)?.graph, &target)?;
    assert_eq!(chosen(&plan, None, &FILTERING), 0);
    Ok(())
}
