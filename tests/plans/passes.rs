//! Passes keep what a graph computes, and their results are held as text.
use crate::common::support;
use ddim::{
    Error,
    error::{LoweringError, ShapeError},
    gpu::Executor,
    graph::Graph,
    ops::{
        Adam, Add, Concat, Conv2d, Input, MeanSquaredError, Op, Pack, Reduction, Scale, Silu, View,
    },
    passes,
    plan::{Access, Plan, Target},
    reference::{Environment, Tensor, evaluate},
    value::{TensorType, Value},
};
use std::{collections::HashMap, fs, path::Path};

/// A graph of about thirty equations, some of them the same, some that nobody reads. Its weights
/// are parts of an arena, and so are three of its results, one of them twice.
fn random_graph(seed: u64) -> Graph {
    // The same numbers on every machine, more than are needed.
    let numbers = Input::uniform(TensorType::f32(&[200]), 0.0, 1.0).tensor(seed).data;
    let mut numbers = numbers.into_iter();
    let mut below = |limit: usize| (numbers.next().expect("enough") * limit as f64) as usize;
    let mut graph = Graph::new();
    let of = TensorType::f32(&[2, 3, 4, 5]);
    let (narrow, wide) = (TensorType::f32(&[3, 3, 5, 5]), TensorType::f32(&[1, 1, 10, 5]));
    let second = View::room(narrow);
    let pack = Pack { offsets: vec![0, second], elements: second + wide.physical_elements() };
    let weights = [graph.input(narrow), graph.input(wide)];
    let arena = graph.push(pack, &weights).expect("they fit");
    let mut view = |offset, of| graph.push(View { offset, of }, &[arena]).expect("inside");
    let (weight, wide) = (view(0, narrow), view(second, wide));
    let mut values = vec![graph.input(of), graph.input(of)];
    for _ in 0..30 {
        // Few values to choose from: equal equations come about by themselves.
        let one = values[below(values.len().min(6))];
        let other = values[below(values.len())];
        let made = match below(5) {
            0 => graph.push(Add, &[one, other]),
            1 => graph.push(Silu, &[one]),
            2 => graph.push(Scale { scale: 0.5.into(), shift: (-0.25).into() }, &[one]),
            3 => graph.push(Conv2d { stride: 1, padding: [1; 4] }, &[one, weight]),
            _ => {
                let both = graph.push(Concat, &[one, other]).expect("images of one size");
                graph.push(Conv2d { stride: 1, padding: [0; 4] }, &[both, wide])
            }
        };
        values.push(made.expect("operands fit"));
    }
    graph.outputs = (0..3).map(|_| values[below(values.len() - 2) + 2]).collect();
    graph.outputs.dedup();
    // Computed in its place, read elsewhere as well, and wanted twice.
    let own = graph.push(Silu, &[values[values.len() - 1]]).expect("any shape");
    let length = View::room(of);
    let pack = Pack { offsets: (0..4).map(|i| i * length).collect(), elements: 4 * length };
    let (shared, twice) = (graph.outputs[0], values[below(values.len())]);
    let packed = graph.push(pack, &[own, shared, twice, twice]).expect("they fit");
    graph.outputs.push(packed);
    graph
}

/// Small, so that no chain of thirty equations grows out of range.
fn contents(graph: &Graph) -> Environment {
    let tensor = |(value, seed): (&Value, u64)| {
        (*value, Input::shifted(graph.type_of(*value), 0.0, 0.2).tensor(seed))
    };
    graph.inputs.iter().zip(1..).map(tensor).collect()
}

#[test]
fn simplify_keeps_every_output() {
    let mut removed = 0;
    for seed in 0..40 {
        let graph = random_graph(seed);
        let simple = passes::simplify(&graph);
        simple.verify().expect("well formed");
        let [before, after] = [&graph, &simple]
            .map(|of| evaluate(of, contents(&graph)).expect("every input is given"));
        for value in &graph.outputs {
            assert_eq!(before[value], after[value], "seed {seed}: {value}\n{graph}\n{simple}");
        }
        removed += graph.equations.len() - simple.equations.len();
        assert_eq!(passes::simplify(&simple).equations, simple.equations, "seed {seed}");
    }
    assert!(removed > 200, "only {removed} equations of 1,200 were superfluous");
}

/// No two values that are alive together share a byte unless one of them is an arena, none shares
/// a buffer with an operand of its own equation, and the sum of the buffers is what the plan says.
fn check_memory(graph: &Graph, plan: &Plan) {
    let arenas: Vec<Value> = graph
        .equations
        .iter()
        .filter(|equation| matches!(equation.op, Op::Pack(_)))
        .map(|equation| equation.outputs[0])
        .collect();
    let has_parts = |value: &Value| arenas.contains(value);
    let mut lives: HashMap<Value, (usize, usize)> = HashMap::new();
    for (index, dispatch) in plan.dispatches().enumerate() {
        let mut written = Vec::new();
        let mut read = Vec::new();
        for binding in &dispatch.bindings {
            let Some(value) = binding.value else { continue };
            lives.entry(value).or_insert((index, index)).1 = index;
            let buffer = plan.placements[value.index()].expect("a bound value has a place").buffer;
            if binding.access == Access::Write { &mut written } else { &mut read }.push(buffer);
        }
        assert!(!read.iter().any(|buffer| written.contains(buffer)), "{}", dispatch.kernel);
    }
    for value in &plan.outputs {
        lives.entry(*value).or_insert((0, 0)).1 = usize::MAX;
    }
    for value in &plan.inputs {
        lives.insert(*value, (0, usize::MAX));
    }
    let lives: Vec<_> = lives.into_iter().collect();
    for (index, (one, (first, last))) in lives.iter().enumerate() {
        for (other, (other_first, other_last)) in &lives[index + 1..] {
            let place = |value: &Value| {
                let placement = plan.placements[value.index()].expect("placed");
                let bytes = plan.types[value.index()].bytes();
                (placement.buffer, placement.offset, placement.offset + bytes)
            };
            let (one_place, other_place) = (place(one), place(other));
            let meet = one_place.0 == other_place.0
                && one_place.1 < other_place.2
                && other_place.1 < one_place.2;
            if has_parts(one) || has_parts(other) {
                continue;
            }
            let together = first <= other_last && other_first <= last;
            assert!(!(meet && together), "{one} and {other} share {one_place:?} {other_place:?}");
        }
    }
    assert_eq!(plan.buffers.iter().map(|buffer| buffer.bytes).sum::<u64>(), plan.peak_bytes());
    assert!(plan.live_bytes <= plan.peak_bytes() && plan.peak_bytes() <= plan.unplanned_bytes);
}

#[test]
fn values_alive_together_lie_apart() {
    let mut saved = 0;
    for seed in 0..40 {
        let graph = random_graph(seed);
        let plan = passes::compile(&graph, &Target::default()).expect("a plan");
        check_memory(&graph, &plan);
        saved += plan.unplanned_bytes - plan.peak_bytes();
    }
    assert!(saved > 0, "no two values shared a buffer");
}

#[test]
fn values_that_share_a_slot_side_by_side_lie_apart() {
    let (target, mut saved) = (Target::default(), 0);
    for seed in 0..40 {
        let graph = random_graph(seed);
        let whole = passes::compile(&graph, &target).expect("a plan");
        let refused = passes::compile_within(&graph, &target, 1);
        let Err(Error::Lowering(LoweringError::Memory { least, .. })) = refused else {
            panic!("seed {seed}: {refused:?}")
        };
        let plan = passes::compile_within(&graph, &target, least).expect("that much is enough");
        check_memory(&graph, &plan);
        saved += whole.peak_bytes() - plan.peak_bytes().min(whole.peak_bytes());
    }
    assert!(saved > 0, "no two values lay side by side");
}

#[test]
fn plans_compute_what_the_graph_says() {
    let Some(gpu) = support::gpu() else { return };
    for seed in 0..8 {
        let graph = random_graph(seed);
        let plan = passes::compile(&graph, gpu.target()).expect("a plan");
        let mut executor = Executor::new(&gpu, plan).expect("an executor");
        executor.poison().expect("poisoned");
        let contents = contents(&graph);
        for (value, Tensor { data, .. }) in &contents {
            let data: Vec<f32> = data.iter().map(|x| *x as f32).collect();
            executor.write(*value, &data).expect("written");
        }
        executor.run(1).expect("run");
        let want = evaluate(&graph, contents).expect("every input is given");
        for value in &graph.outputs {
            let got = executor.read(*value).expect("read");
            let scale = want[value].max_abs();
            for (got, want) in got.iter().zip(&want[value].data) {
                let error = (f64::from(*got) - want).abs();
                // Thirty equations of f32, each with sums of at most 45 terms.
                let bound = 30.0 * 4.0 * 45_f64.sqrt() * f64::from(f32::EPSILON) * scale;
                assert!(error <= bound, "seed {seed}: {value} {got} for {want}");
            }
        }
    }
}

/// `tests/golden/NAME.txt`, or with `UPDATE_GOLDEN=1` that file anew.
fn hold(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).expect("the golden file is ours");
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden, text, "{name}: UPDATE_GOLDEN=1 accepts what is new");
}

/// A convolution trained by Adam, with an equation twice and one for nobody.
#[test]
fn golden_texts() {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[2, 8, 8, 3]));
    let target = graph.input(TensorType::f32(&[2, 8, 8, 5]));
    let weight = graph.input(TensorType::f32(&[3, 3, 3, 5]));
    let first = graph.input(TensorType::f32(&[3, 3, 3, 5]));
    let second = graph.input(TensorType::f32(&[3, 3, 3, 5]));
    let row = graph.input(TensorType::f32(&[4]));
    let norm = graph.input(TensorType::f32(&[4]));
    graph.enter("layer");
    let activated = graph.push(Silu, &[x]).expect("fits");
    graph.push(Silu, &[target]).expect("fits");
    let again = graph.push(Silu, &[x]).expect("fits");
    let conv = Conv2d { stride: 1, padding: [1; 4] };
    let one = graph.push(conv, &[activated, weight]).expect("fits");
    let other = graph.push(conv, &[again, weight]).expect("fits");
    let y = graph.push(Add, &[one, other]).expect("fits");
    graph.leave();
    let mean = MeanSquaredError { reduction: Reduction::Mean };
    let loss = graph.push(mean, &[y, target]).expect("fits");
    let seed = graph.input(graph.type_of(loss));
    let gradient = passes::gradient(&mut graph, loss, seed, &[weight]).expect("a gradient")[0];
    let adam = Adam {
        beta1: 0.9.into(),
        beta2: 0.999.into(),
        epsilon: 1e-8.into(),
        weight_decay: 0.0.into(),
        decoupled: false,
        ema: false,
        halves: None,
    };
    let operands = [row, norm, gradient.expect("it depends"), weight, first, second];
    let states = graph.push_all(adam, &operands).expect("fits");
    for (state, next) in [weight, first, second].into_iter().zip(states) {
        graph.update(state, next);
    }
    graph.outputs.push(loss);
    graph.verify().expect("well formed");
    hold("graph", &graph.to_string());
    let simple = passes::simplify(&graph);
    hold("simplified", &simple.to_string());
    let plan = passes::compile(&graph, &Target::default()).expect("a plan");
    // Without the hash, which every edit of a shader changes.
    let text = plan.to_string();
    hold("plan", text.split("plan hash").next().expect("the first part"));
}

#[test]
fn callers_can_match_what_does_not_fit() {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[1, 4, 4, 8]));
    let weight = graph.input(TensorType::f32(&[3, 3, 8, 8]));
    let bias = graph.input(TensorType::f32(&[4]));
    let conv = Conv2d { stride: 1, padding: [1; 4] };
    match graph.push(conv, &[x; 4]) {
        Err(Error::Shape(ShapeError::Count { expected, found, .. })) => {
            assert_eq!((expected.as_str(), found), ("2 or 3", 4));
        }
        other => panic!("{other:?}"),
    }
    match graph.push(conv, &[x, weight, bias]) {
        Err(Error::Shape(ShapeError::Operand { op, operand, expected, found, operands })) => {
            assert_eq!([op, operand].map(|text| text == "conv2d" || text == "bias"), [true; 2]);
            assert_eq!([expected, found], ["f32[8]", "f32[4]"]);
            assert_eq!(operands.len(), 3);
        }
        other => panic!("{other:?}"),
    }
}
