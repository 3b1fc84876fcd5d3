//! Several ranks, threads of this process, that train one model: as one rank with as many micro-batches.
use crate::common::{support, tiny};
use ddim::{
    Error,
    data::digits,
    diffusion::schedule::SchedulerConfig,
    error::TrainingError,
    gpu::Gpu,
    pipeline::RunFolder,
    plan::{Dispatch, Plan},
    training::{Collective, Metrics, Optimizer, ThreadRank, Timesteps, Trainer, TrainingOptions},
    value::ElementType,
};
use serde_json::Value as Json;
use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

const LONG: Duration = Duration::from_secs(300);

fn options(ranks: usize, accumulate: usize, timesteps: Timesteps) -> TrainingOptions {
    TrainingOptions { batch: 4, ranks, accumulate, timesteps, ..tiny::options() }
}

fn trainer(gpu: &Gpu, options: TrainingOptions) -> Trainer {
    let scheduler =
        SchedulerConfig { num_train_timesteps: 20, beta_end: 0.3, ..Default::default() };
    Trainer::new(gpu, tiny::unet(Some(10)), scheduler, [8, 8], options).expect("a small model")
}

fn train(trainer: &mut Trainer, steps: u64) -> Result<Vec<Metrics>, Error> {
    let mut heard = Vec::new();
    let hear = |metrics: &[Metrics]| {
        heard.extend(metrics);
        ControlFlow::Continue(())
    };
    trainer.train(&digits(), steps, true, hear)?;
    Ok(heard)
}

type Run = (Vec<Metrics>, Vec<Vec<u32>>);

/// What each rank heard, and its state in the end.
fn together(first: Trainer, steps: u64) -> (Vec<Run>, Trainer) {
    together_as(first, steps, |rank| Box::new(rank))
}

fn together_as(
    mut first: Trainer,
    steps: u64,
    of: impl Fn(ThreadRank) -> Box<dyn Collective>,
) -> (Vec<Run>, Trainer) {
    let mut ranks = ThreadRank::group(first.options().ranks, LONG).into_iter();
    let own = ranks.next().expect("a rank");
    let gpu = first.gpu().clone();
    let others: Vec<Trainer> = ranks
        .map(|rank| {
            let mut other = first.fork(&gpu).expect("a trainer");
            other.join(of(rank)).expect("its rank");
            other
        })
        .collect();
    first.join(of(own)).expect("its rank");
    let run = |trainer: &mut Trainer| {
        let heard = train(trainer, steps).expect("good steps");
        (heard, tiny::state(trainer))
    };
    let runs = thread::scope(|scope| {
        let threads: Vec<_> =
            others.into_iter().map(|mut trainer| scope.spawn(move || run(&mut trainer))).collect();
        let own = run(&mut first);
        let others = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        [own].into_iter().chain(others).collect()
    });
    (runs, first)
}

/// The same within what rounding does to three steps of Adam, the first of which are signs of gradients.
fn close(found: &[Metrics], wanted: &[Metrics]) {
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!(found.step, wanted.step);
        assert!((found.loss - wanted.loss).abs() <= 1e-4 * wanted.loss, "{found:?} {wanted:?}");
    }
    assert!((found[0].loss - wanted[0].loss).abs() <= 1e-5 * wanted[0].loss);
    assert!(
        (found[0].gradient_norm - wanted[0].gradient_norm).abs() <= 1e-4 * wanted[0].gradient_norm
    );
}

#[test]
fn ranks_take_the_steps_of_one_with_as_many_micro_batches() {
    let Some(gpu) = support::gpu() else { return };
    for (timesteps, ranks, accumulate) in
        [(Timesteps::Antithetic, 2, 1), (Timesteps::Importance, 2, 2)]
    {
        let mut alone = trainer(&gpu, options(1, ranks * accumulate, timesteps));
        let wanted = train(&mut alone, 3).expect("good steps");
        let start = || trainer(&gpu, options(ranks, accumulate, timesteps));
        let (runs, mut first) = together(start(), 3);
        close(&runs[0].0, &wanted);
        for run in &runs {
            assert!(*run == runs[0], "every rank has the same bits");
        }
        let memory =
            |of: &mut Trainer| of.graph().memory.map(|m| of.executor().read(m).expect("it"));
        let (found, wanted) = (memory(&mut first), memory(&mut alone));
        for (found, wanted) in found.iter().flatten().zip(wanted.iter().flatten()) {
            assert!((found - wanted).abs() <= 1e-3 * wanted.abs(), "{found} for {wanted}");
        }
        if timesteps == Timesteps::Antithetic {
            assert!(together(start(), 3).0 == runs, "and each run");
        }
    }
}

/// A rank that notes how many numbers it adds up, if it is the first.
struct Noting {
    rank: ThreadRank,
    sums: Arc<Mutex<Vec<usize>>>,
}

impl Collective for Noting {
    fn rank(&self) -> usize {
        self.rank.rank()
    }

    fn ranks(&self) -> usize {
        self.rank.ranks()
    }

    fn sum(&mut self, numbers: &mut [f32]) -> Result<(), TrainingError> {
        if self.rank() == 0 {
            self.sums.lock().expect("no panic").push(numbers.len());
        }
        self.rank.sum(numbers)
    }

    fn end(&mut self, why: &str) {
        self.rank.end(why);
    }
}

/// The part of a micro-batch's launches that is left when the first bucket is complete.
fn left(plan: &Plan) -> f64 {
    let section = plan.sections.iter().find(|of| of.name == Optimizer::GRADIENTS);
    let launches = &section.expect("a step of several parts").launches;
    let adds = |launch: &Dispatch| launch.kernel.shader == "accumulate";
    let first = launches.iter().position(adds).expect("sums");
    (launches.len() - 1 - first) as f64 / launches.len() as f64
}

#[test]
fn gradients_are_added_up_in_buckets_with_the_bits_of_whole_arenas() {
    let Some(gpu) = support::gpu() else { return };
    let steps = 3;
    for (accumulate, precision) in [(1, ElementType::F32), (2, ElementType::F16)] {
        let whole = TrainingOptions { precision, ..options(2, accumulate, Timesteps::Uniform) };
        let start = |bucket| trainer(&gpu, TrainingOptions { bucket, ..whole.clone() });
        let (wanted, first) = together(start(whole.bucket), steps);
        assert!(left(first.plan()) < 0.1, "one bucket is complete at the end");

        let sums = Arc::new(Mutex::new(Vec::new()));
        let noting =
            |rank| -> Box<dyn Collective> { Box::new(Noting { rank, sums: Arc::clone(&sums) }) };
        let (found, first) = together_as(start(4096), steps, noting);
        assert!(found == wanted, "{:?} {:?}", found[0].0, wanted[0].0);
        assert!(together(start(4096), steps).0 == found, "and each run");
        let left = left(first.plan());
        assert!(left > 0.3, "{left} of the launches behind the first bucket");

        // Each step adds up all gradients, and the loss.
        let sums = sums.lock().expect("no panic");
        let of_step = sums.len() / steps as usize;
        assert!(of_step > 5, "{sums:?}");
        assert!(sums.chunks(of_step).all(|own| *own == sums[..of_step]), "{sums:?}");
        let arenas = first.arenas().arenas.iter();
        let elements: usize = arenas.map(|of| of.shape.elements()).sum();
        assert_eq!(sums[..of_step].iter().sum::<usize>(), elements + 1);
    }
}

#[test]
fn a_run_goes_on_with_other_ranks() {
    let Some(gpu) = support::gpu() else { return };
    let (runs, mut first) = together(trainer(&gpu, options(2, 1, Timesteps::Uniform)), 2);
    let folder = tempfile::tempdir().expect("a folder for the test");
    first.save(folder.path(), Json::Null).expect("room");
    let mut whole = trainer(&gpu, options(1, 2, Timesteps::Uniform));
    let wanted = train(&mut whole, 4).expect("good steps");
    close(&runs[0].0, &wanted[..2]);

    let open = RunFolder::open(folder.path()).expect("its checkpoint");
    let (mut alone, resumed) =
        Trainer::resume_with(&gpu, &open, options(1, 2, Timesteps::Uniform), Json::Null)
            .expect("its checkpoint");
    let said = "ranks was 2, is 1".to_owned();
    assert!(resumed.differences.contains(&said), "{:?}", resumed.differences);
    assert_eq!(resumed.settings.history[0].settings.options.ranks, 2);
    let found = train(&mut alone, 4).expect("good steps");
    for (found, wanted) in found.iter().zip(&wanted[2..]) {
        assert!((found.loss - wanted.loss).abs() <= 1e-4 * wanted.loss, "{found:?} {wanted:?}");
    }
}

#[test]
fn a_rank_that_ends_ends_the_others() {
    let Some(gpu) = support::gpu() else { return };
    let mut first = trainer(&gpu, options(2, 1, Timesteps::Uniform));
    let error = train(&mut first, 1).expect_err("one rank of two").to_string();
    assert_eq!(error, "ranks: expected 2, found 1");
    let mut ranks = ThreadRank::group(2, LONG);
    let mut other = ranks.pop().expect("two ranks");
    first.join(Box::new(ranks.pop().expect("two ranks"))).expect("its rank");
    assert_eq!((other.rank(), other.ranks()), (1, 2));
    thread::scope(|scope| {
        scope.spawn(move || other.end("disk full"));
        match train(&mut first, 1).expect_err("the other one has ended") {
            Error::Training(TrainingError::Rank { rank, why }) => {
                assert_eq!((rank, why.as_str()), (1, "disk full"));
            }
            other => panic!("{other}"),
        }
    });
    assert_eq!(first.steps(), 0);
    let three = ThreadRank::group(3, LONG).pop().expect("three ranks");
    let error = first.join(Box::new(three)).expect_err("a refusal").to_string();
    assert_eq!(error, "ranks: expected 2, found 3");
    // Who leaves says why.
    let mut ranks = ThreadRank::group(2, LONG);
    let mut other = ranks.pop().expect("two ranks");
    first.join(Box::new(ranks.pop().expect("two ranks"))).expect("its rank");
    first.leave("stopped");
    let error = other.sum(&mut [1.0]).expect_err("nobody comes").to_string();
    assert_eq!(error, "rank 0: stopped");
}
