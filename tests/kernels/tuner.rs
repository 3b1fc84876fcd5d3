//! The tuner on the device, and the files of what it measured.
use crate::common::support;
use ddim::{
    gpu::Gpu,
    graph::Graph,
    ops::Conv2d,
    passes,
    plan::{Arithmetic, Candidate, DefaultHeuristic, KernelSelector, Problem, Target, Tuning},
    tuner,
    value::TensorType,
};
use std::{cell::RefCell, fs, time::Duration};

/// A convolution that several families compute.
fn convolution() -> Result<Graph, ddim::Error> {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[1, 16, 16, 32]));
    let weight = graph.input(TensorType::f32(&[3, 3, 32, 32]));
    let y = graph.push(Conv2d { stride: 1, padding: [1; 4] }, &[x, weight])?;
    graph.outputs.push(y);
    Ok(graph)
}

/// Notes each problem with its candidates, printed, and takes the table's choice.
#[derive(Default)]
struct Noted(RefCell<Vec<(String, Vec<String>, usize)>>);

impl KernelSelector for Noted {
    fn select(&self, target: &Target, problem: &Problem, candidates: &[Candidate]) -> usize {
        let choice = DefaultHeuristic.select(target, problem, candidates);
        let printed = candidates.iter().map(Candidate::to_string).collect();
        self.0.borrow_mut().push((problem.to_string(), printed, choice));
        choice
    }
}

fn winner(problem: &str, candidate: &str) -> Tuning {
    Tuning { winners: [(problem.to_owned(), candidate.to_owned())].into() }
}

#[test]
fn a_plan_takes_the_winner_before_the_table_and_an_unknown_one_never() {
    let Some(gpu) = support::gpu() else { return };
    let graph = convolution().expect("a graph");
    let noted = Noted::default();
    let tabled = passes::compile_with(&graph, gpu.target(), &noted).expect("a plan");
    let (problem, candidates, choice) = noted.0.into_inner().remove(0);
    let others = candidates.iter().enumerate().filter(|(index, _)| *index != choice);
    let mut changed = 0;
    for (_, other) in others {
        let tuned = gpu.tuned(Some(winner(&problem, other)));
        let plan = passes::compile(&graph, tuned.target()).expect("a plan");
        changed += usize::from(plan.hash() != tabled.hash());
    }
    assert_eq!(changed, candidates.len() - 1, "{candidates:?}");
    let foreign = gpu.tuned(Some(winner(&problem, "no such family")));
    assert_eq!(passes::compile(&graph, foreign.target()).expect("a plan").hash(), tabled.hash());
}

#[test]
fn what_wins_is_a_candidate_and_time_is_kept() {
    let Some(gpu) = support::gpu() else { return };
    let graph = convolution().expect("a graph");
    let mut measured = Vec::new();
    let found = tuner::tune(&gpu, &graph, Duration::from_secs(60), |one, total| {
        assert_eq!(total, 1);
        measured.push(one.clone());
    });
    let found = found.expect("a device");
    let [one] = &measured[..] else { panic!("{measured:?}") };
    assert!(one.times.len() > 1 && one.times[0].1.is_some(), "{one:?}");
    let (name, time) = &one.times[one.winner];
    assert!(time.is_some(), "{one:?}");
    assert_eq!(found.winners.get(&one.problem), (one.winner > 0).then_some(name));
    let none =
        tuner::tune(&gpu, &graph, Duration::ZERO, |one, _| panic!("{one:?}")).expect("a device");
    assert_eq!(none, Tuning::default());
}

#[test]
fn a_file_is_read_for_its_device_alone_and_a_damaged_one_is_ignored() {
    let Some(gpu) = support::gpu() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let tuning = winner("a problem", "a family");
    assert_eq!(tuner::load(&gpu, folder.path()), None);
    let path = tuner::save(&gpu, &folder.path().join("new"), &tuning).expect("a file");
    let folder = path.parent().expect("a folder").to_owned();
    assert_eq!(tuner::load(&gpu, &folder), Some(tuning.clone()));
    let text = fs::read_to_string(&path).expect("a file");
    let other = text.replace(env!("CARGO_PKG_VERSION"), "0.0.0");
    assert_ne!(other, text);
    for damaged in [&other, &text[..text.len() / 2], "", "[]", "\u{fffd}"] {
        fs::write(&path, damaged).expect("a file");
        assert_eq!(tuner::load(&gpu, &folder), None, "{damaged}");
    }
    tuner::save(&gpu, &folder, &tuning).expect("a file");
    assert_eq!(tuner::load(&gpu, &folder), Some(tuning.clone()));
    let mixed = gpu.tuned(Some(tuning)).computing_in(Arithmetic::Mixed);
    assert_eq!(mixed.target().tuning, None, "other kernels were timed");
    assert_eq!(tuner::load(&mixed, &folder), None);
}

#[test]
fn a_run_of_the_tuned_plan_gives_what_the_table_gives() {
    let Some(gpu) = support::gpu() else { return };
    let graph = convolution().expect("a graph");
    let noted = Noted::default();
    passes::compile_with(&graph, gpu.target(), &noted).expect("a plan");
    let (problem, candidates, _) = noted.0.into_inner().remove(0);
    let results = |gpu: &Gpu| -> Result<Vec<f32>, ddim::Error> {
        let plan = passes::compile(&graph, gpu.target())?;
        let mut executor = ddim::gpu::Executor::new(gpu, plan)?;
        for (index, &input) in graph.inputs.iter().enumerate() {
            let count = graph.type_of(input).shape.elements();
            let numbers: Vec<f32> =
                (0..count).map(|i| ((i * (7 + index)) % 13) as f32 - 6.0).collect();
            executor.write(input, &numbers)?;
        }
        executor.run(1)?;
        executor.read(graph.outputs[0])
    };
    let expected = results(&gpu).expect("a run");
    let most = expected.iter().fold(0f32, |most, y| most.max(y.abs()));
    for candidate in candidates {
        let tuned = gpu.tuned(Some(winner(&problem, &candidate)));
        for (y, expected) in results(&tuned).expect("a run").iter().zip(&expected) {
            // Winograd's rounding, 3.3 times that of a sum of 288 products.
            assert!((y - expected).abs() <= 1e-5 * most, "{candidate}: {y}, not {expected}");
        }
    }
}
