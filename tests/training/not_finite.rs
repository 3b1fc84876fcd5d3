//! Numbers that are not finite end a run with the step and what was bad, and with no images.
use crate::common::{
    support,
    tables::{dpm, heun},
};
use ddim::{
    Error,
    diffusion::{
        ClosureSampler, Evaluation, Sampler,
        samplers::{
            DdimOptions, EncodeRule, Step, StepSum, Table, annealed_langevin_table, ddim_table,
            ddpm_table, encode_table, predictor_corrector_table, probability_flow_table,
            schedule_levels, variance_exploding_table,
        },
        schedule::{
            Prediction, PredictionType, Schedule, SchedulerConfig, Spacing, StepWeights, Threshold,
            Variance,
        },
    },
    error::{FoundIn, NotFinite, ScheduleError},
    gpu::Gpu,
    nn::{Layers, Model, ModelInputs, Weights},
    ops::Scale,
    value::Value,
};

const SHAPE: [usize; 4] = [2, 6, 6, 1];
const ELEMENTS: usize = 2 * 6 * 6;

/// A network that takes a tenth of x for the noise.
struct Tenth;

impl Model for Tenth {
    fn channels(&self) -> usize {
        1
    }

    fn build(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
        layers.push(Scale { scale: 0.1.into(), shift: 0.0.into() }, &[inputs.x])
    }
}

/// A run along `table` of a network that says 0.1 everywhere, but for one number in its step `at`.
fn run(gpu: &Gpu, table: &Table, channels: usize, at: usize, number: f32) -> ClosureSampler {
    let mut sampler = ClosureSampler::new(gpu, SHAPE, channels, table, 3).expect("a small network");
    sampler.begin(0).expect("a device that is there");
    follow(gpu, &mut sampler, at, number);
    sampler
}

fn follow(gpu: &Gpu, sampler: &mut ClosureSampler, at: usize, number: f32) {
    let mut step = 0;
    let predict = |evaluation: &Evaluation| -> Result<(), Error> {
        step += 1;
        let output = &evaluation.output;
        let (rows, columns) = (output.of.rows(), output.of.shape.last());
        let mut numbers = vec![0.0_f32; rows * output.of.pitch()];
        for row in numbers.chunks_exact_mut(output.of.pitch()) {
            row[..columns].fill(0.1);
        }
        if step == at {
            numbers[(rows - 2) * output.of.pitch()] = number;
        }
        let bytes = bytemuck::cast_slice(&numbers);
        gpu.queue().write_buffer(&output.buffer, output.offset, bytes);
        Ok(())
    };
    sampler.run(predict).expect("a device that is there");
}

fn found(sampler: &mut ClosureSampler) -> (usize, usize, FoundIn) {
    match sampler.images() {
        Err(Error::NotFinite(NotFinite::Sampling { step, steps, found_in })) => {
            (step, steps, found_in)
        }
        other => panic!("expected numbers that are not finite, found {other:?}"),
    }
}

/// A table of every sampler for a model that predicts noise; with how many channels its output has.
fn tables() -> Vec<(&'static str, Table, usize)> {
    let schedule = SchedulerConfig::default().schedule().expect("a schedule");
    let list = Spacing::Linspace.timesteps(1000, 4, 0).expect("four steps");
    let levels = schedule_levels(&schedule, &list).expect("signal everywhere");
    let output = Prediction::default();
    // What hides NaN best: the sample follows from the clipped image alone.
    let clipped = Prediction { clip: Some(1.0), ..output };
    let threshold = Threshold { ratio: 0.9, limit: 2.0 };
    let thresholded = Prediction { threshold: Some(threshold), ..output };
    let rederived = DdimOptions { rederive_noise: true, ..DdimOptions::default() };
    let noisy = DdimOptions { eta: 1.0, ..DdimOptions::default() };
    let ddim = |output: &Prediction, options| ddim_table(&schedule, &list, output, options);
    let ddpm = |variance| ddpm_table(&schedule, &list, &clipped, variance);
    let first = EncodeRule::default();
    vec![
        ("ddim", ddim(&clipped, &rederived).expect("a table"), 1),
        ("eta 1", ddim(&clipped, &noisy).expect("a table"), 1),
        ("dynamic thresholding", ddim(&thresholded, &rederived).expect("a table"), 1),
        ("ddpm", ddpm(Variance::FixedSmall).expect("a table"), 1),
        ("learned variance", ddpm(Variance::LearnedRange).expect("a table"), 2),
        (
            "probability flow",
            probability_flow_table(&schedule, &list, &output).expect("a table"),
            1,
        ),
        ("heun", heun(&schedule, &list, &output).expect("a table"), 1),
        ("dpm-solver++", dpm(&schedule, &list, &clipped).expect("a table"), 1),
        ("ve", variance_exploding_table(&levels, &output).expect("a table"), 1),
        (
            "langevin",
            annealed_langevin_table(&levels, 1, 1e-5, false, &output).expect("a table"),
            1,
        ),
        (
            "predictor and corrector",
            predictor_corrector_table(&levels, 1, 0.16, &output).expect("a table"),
            1,
        ),
        ("encoding", encode_table(&schedule, &list, &output, first, 1.0).expect("a table"), 1),
    ]
}

#[test]
fn every_sampler_names_the_step_of_an_output_that_is_not_finite() {
    let Some(gpu) = support::gpu() else { return };
    for (name, table, channels) in tables() {
        let steps = table.steps.len();
        for (at, number) in [(1, f32::NAN), (2, f32::INFINITY), (4, f32::NEG_INFINITY)] {
            let found = found(&mut run(&gpu, &table, channels, at, number));
            assert_eq!(found, (at, steps, FoundIn::Output), "{name}: {number} in step {at}");
        }
        let mut sampler = run(&gpu, &table, channels, 2, f32::NAN);
        found(&mut sampler);
        // What the bad run left behind counts for nothing in the next.
        sampler.begin(0).expect("a device that is there");
        follow(&gpu, &mut sampler, 0, 0.0);
        let again = sampler.images().expect("finite numbers");
        let fresh = run(&gpu, &table, channels, 0, 0.0).images().expect("finite numbers");
        assert_eq!(again, fresh, "{name}");
    }
}

#[test]
fn starts_and_results_that_are_not_finite_are_named() {
    let Some(gpu) = support::gpu() else { return };
    for (name, table, channels) in tables() {
        let mut sampler =
            ClosureSampler::new(&gpu, SHAPE, channels, &table, 3).expect("a small network");
        let mut start = vec![0.5; ELEMENTS];
        start[40] = f32::NAN;
        sampler.begin_from(0, &start).expect("as many numbers");
        follow(&gpu, &mut sampler, 0, 0.0);
        assert_eq!(found(&mut sampler).0, 1, "{name}");
        assert_eq!(found(&mut sampler).2, FoundIn::Sample, "{name}");
    }
    let of_x = |x| StepWeights { x, ..StepWeights::default() };
    let stays = Step { next: of_x(1.0).into(), ..Step::default() };
    let grows = Step { next: of_x(1e30).into(), ..stays };
    let keeps = Step { kept: Some((1, of_x(1e30).into())), ..stays };
    let uses = Step { next: StepSum { memory: [0.0, 1.0, 0.0, 0.0], ..stays.next }, ..stays };
    for (steps, at) in [(vec![stays, grows, stays], 2), (vec![keeps, uses], 1)] {
        let table = Table::new(steps, &Prediction::default());
        let mut sampler = ClosureSampler::new(&gpu, SHAPE, 1, &table, 3).expect("a small network");
        sampler.begin_from(0, &[1e20; ELEMENTS]).expect("as many numbers");
        follow(&gpu, &mut sampler, 0, 0.0);
        let found = found(&mut sampler);
        assert_eq!(found, (at, table.steps.len(), FoundIn::Result), "{table:?}");
    }
}

/// The check costs neither a launch nor a wait.
#[test]
fn images_are_read_with_one_wait() {
    let Some(gpu) = support::gpu() else { return };
    let table = SchedulerConfig::default().ddim(5, 0.0).expect("five steps");
    let mut sampler = Sampler::new(&gpu, &Tenth, &Weights::default(), [2, 6, 6], &table, None, 0)
        .expect("a small network");
    sampler.begin(0).expect("a device that is there");
    sampler.advance(5).expect("a device that is there");
    let before = sampler.executor().stats();
    sampler.images().expect("finite numbers");
    let after = sampler.executor().stats();
    assert_eq!((after.waits, after.maps), (before.waits + 1, before.maps + 1));
}

/// Samplers that step in `x / alpha` refuse to start where alpha is 0; the others sample.
#[test]
fn a_level_without_signal_is_refused_or_drawn_from() {
    let Some(gpu) = support::gpu() else { return };
    let config = r#"{"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": true}"#;
    let schedule: Schedule =
        SchedulerConfig::parse(config).and_then(|config| config.schedule()).expect("a schedule");
    let list = Spacing::Trailing.timesteps(1000, 4, 0).expect("four steps");
    assert_eq!(schedule.alphas_cumprod()[list[0]], 0.0);
    for prediction in [PredictionType::VPrediction, PredictionType::Sample] {
        let output = Prediction { kind: prediction, ..Prediction::default() };
        for refused in [
            probability_flow_table(&schedule, &list, &output),
            heun(&schedule, &list, &output),
            schedule_levels(&schedule, &list)
                .and_then(|levels| variance_exploding_table(&levels, &output)),
        ] {
            assert!(matches!(refused, Err(ScheduleError::NoSignal { timestep: 999 })));
        }
        let options = DdimOptions { eta: 1.0, ..DdimOptions::default() };
        for table in [
            ddim_table(&schedule, &list, &output, &options),
            ddpm_table(&schedule, &list, &output, Variance::FixedSmall),
            dpm(&schedule, &list, &output),
        ] {
            let table = table.expect("a limit");
            run(&gpu, &table, 1, 0, 0.0).images().expect("finite numbers");
        }
    }
    // A table that somebody made otherwise is refused before it runs.
    let next = StepWeights { x: 1e39, ..StepWeights::default() }.into();
    let step = Step { next, ..Step::default() };
    let table = Table::new(vec![Step::default(), step], &Prediction::default());
    let refused = ClosureSampler::new(&gpu, SHAPE, 1, &table, 3).err();
    let expected = |error: &Error| {
        matches!(error, Error::Schedule(ScheduleError::Coefficient { step: 2, .. }))
    };
    assert!(refused.as_ref().is_some_and(expected), "{refused:?}");
}
