//! The tables of the samplers, in f64 and with no GPU: where they lead a distribution for which the
//! best prediction is known, how they relate to each other, and what they refuse.
use ddim::{
    diffusion::{
        samplers::{
            DdimOptions, EncodeRule, SamplerKind, SamplerOptions, Step, Table, VariancePreserving,
            annealed_langevin_table, ddim_table, ddpm_table, dpm_solver_table, encode_table,
            heun_table, predictor_corrector_table, probability_flow_table, schedule_levels,
            variance_exploding_table,
        },
        schedule::{
            Level, Prediction, PredictionType, Schedule, SchedulerConfig, Spacing, StepRule,
            Variance,
        },
    },
    error::ScheduleError,
};

/// Data: a normal distribution of this mean and deviation.
const MEAN: f64 = 0.3;
const DEVIATION: f64 = 0.5;

/// The best output for `x` at a level, as a slope and a value at zero.
fn best(output: &Prediction, level: &Level) -> (f64, f64) {
    let Level { alpha, sigma, .. } = *level;
    let variance = (DEVIATION * alpha).powi(2) + sigma * sigma;
    let epsilon = (sigma / variance, -sigma * alpha * MEAN / variance);
    let gain = DEVIATION * DEVIATION * alpha / variance;
    let image = (gain, MEAN - gain * alpha * MEAN);
    match output.kind {
        PredictionType::Epsilon => epsilon,
        PredictionType::Sample => image,
        PredictionType::VPrediction => {
            (alpha * epsilon.0 - sigma * image.0, alpha * epsilon.1 - sigma * image.1)
        }
    }
}

/// Mean and deviation after a table without clipping: every update is linear, so that a normal
/// distribution stays one. `x = slope start + shift + noise`.
fn lead(table: &Table, output: &Prediction, levels: &[Level], start: (f64, f64)) -> (f64, f64) {
    #[derive(Clone, Copy, Default)]
    struct Line {
        slope: f64,
        shift: f64,
        /// Variance of the noise in x, in memory, and what they share.
        variance: [f64; 3],
    }
    let (mut x, mut memory) = (Line { slope: 1.0, ..Line::default() }, (0.0, 0.0));
    for (step, level) in table.steps.iter().zip(levels) {
        let Step { image, next, kept, .. } = *step;
        let (slope, zero) = best(output, level);
        let x0 = (image.x + image.output * slope, image.output * zero);
        let of = |weights: ddim::diffusion::schedule::StepWeights| {
            let gain = weights.x0 * x0.0 + weights.output * slope + weights.x;
            (gain, weights.x0 * x0.1 + weights.output * zero)
        };
        let (gain, add) = of(next);
        let (kept_gain, kept_add) = of(kept);
        // Memory is used by samplers without noise alone: it is a line of the start too.
        assert!(step.memory == 0.0 || x.variance[0] == 0.0);
        let (before, remembered) = (x, memory);
        memory = (kept_gain * before.slope, kept_gain * before.shift + kept_add);
        x.slope = gain * before.slope + step.memory * remembered.0;
        x.shift = gain * before.shift + add + step.memory * remembered.1;
        x.variance[0] = gain * gain * before.variance[0] + step.sigma * step.sigma;
    }
    let variance = (x.slope * start.1).powi(2) + x.variance[0];
    (x.slope * start.0 + x.shift, variance.sqrt())
}

fn schedule() -> Schedule {
    Schedule::linear(1000, 1e-4, 0.02)
}

/// The levels of a table's timesteps.
fn asked(schedule: &Schedule, table: &Table) -> Vec<Level> {
    let level = |step: &Step| Level::of(schedule, step.timestep as usize).expect("below 1000");
    table.steps.iter().map(level).collect()
}

fn timesteps(count: usize) -> Vec<usize> {
    Spacing::Linspace.timesteps(1000, count, 0).expect("1 to 1000")
}

/// Every sampler with enough steps reaches mean and deviation of the data. The bounds are half as
/// much again as the errors that the methods have with so many.
#[test]
fn every_sampler_reaches_the_distribution_of_the_data() {
    let (schedule, output) = (schedule(), Prediction::default());
    let list = timesteps(200);
    let levels = schedule_levels(&schedule, &list).expect("signal everywhere");
    let ddim = |eta: f64| DdimOptions { eta, ..DdimOptions::default() };
    let tables = [
        ("ddim", ddim_table(&schedule, &list, &output, &ddim(0.0)), 0.01),
        ("ddim, eta 1", ddim_table(&schedule, &list, &output, &ddim(1.0)), 0.026),
        ("ddpm", ddpm_table(&schedule, &list, &output, Variance::FixedSmall), 0.026),
        ("flow", probability_flow_table(&schedule, &list, &output), 0.075),
        ("heun", heun_table(&schedule, &list, &output), 0.0015),
        ("dpm-solver++", dpm_solver_table(&schedule, &list, &output), 0.0024),
        ("ve-sde", variance_exploding_table(&levels, &output), 0.013),
    ];
    for (name, table, allowed) in tables {
        let table = table.expect(name);
        let (mean, deviation) = lead(&table, &output, &asked(&schedule, &table), (0.0, 1.0));
        let error = (mean - MEAN).abs().max((deviation - DEVIATION).abs());
        assert!(error < allowed, "{name}: mean {mean}, deviation {deviation}, error {error}");
    }
    let process =
        VariancePreserving { beta_min: 0.1, beta_max: 20.0, end: 1e-3, last_timestep: 999.0 };
    for (flow, allowed) in [(false, 0.001), (true, 0.0015)] {
        let table = process.table(500, &output, flow, true).expect("a table");
        let levels: Vec<Level> = process.times(500).map(|t| process.level(t)).collect();
        let (mean, deviation) = lead(&table, &output, &levels, (0.0, 1.0));
        let error = (mean - MEAN).abs().max((deviation - DEVIATION).abs());
        assert!(error < allowed, "vp, flow {flow}: {mean} {deviation} {error}");
    }
}

#[test]
fn langevin_dynamics_settle_at_the_level() {
    // At one level the chain forgets its start and has the level's own distribution.
    let output = Prediction::default();
    let level = Level::variance_exploding(0.0, 0.4);
    let table = annealed_langevin_table(&[level], 2000, 0.01, &output).expect("a table");
    let levels = vec![level; 2000];
    let (mean, deviation) = lead(&table, &output, &levels, (5.0, 3.0));
    let expected = DEVIATION.hypot(0.4);
    assert!(
        (mean - MEAN).abs() < 1e-3 && (deviation - expected).abs() < 5e-3,
        "{mean} {deviation}"
    );
    assert_eq!(table.start, 1.0);
    let exploding = Level::variance_exploding(0.0, 50.0);
    let table = variance_exploding_table(&[exploding, level], &output).expect("a table");
    assert_eq!(table.start, 50.0);
}

/// Predictions of noise, image and v say the same, so that the tables for them lead to the same.
#[test]
fn the_prediction_changes_nothing() {
    let schedule = schedule();
    let list = timesteps(20);
    let run = |prediction| {
        let output = Prediction { kind: prediction, ..Prediction::default() };
        let eta = DdimOptions { eta: 0.3, ..DdimOptions::default() };
        let levels = schedule_levels(&schedule, &list).expect("signal everywhere");
        [
            ddim_table(&schedule, &list, &output, &eta),
            ddpm_table(&schedule, &list, &output, Variance::FixedLarge),
            heun_table(&schedule, &list, &output),
            dpm_solver_table(&schedule, &list, &output),
            probability_flow_table(&schedule, &list, &output),
            variance_exploding_table(&levels, &output),
        ]
        .map(|table| {
            let table = table.expect("a table");
            lead(&table, &output, &asked(&schedule, &table), (0.1, 0.9))
        })
    };
    let epsilon = run(PredictionType::Epsilon);
    for other in [PredictionType::Sample, PredictionType::VPrediction] {
        for (index, (a, b)) in epsilon.iter().zip(run(other)).enumerate() {
            let error = (a.0 - b.0).abs().max((a.1 - b.1).abs());
            assert!(error < 1e-10, "table {index}, {other}: {a:?} and {b:?}");
        }
    }
}

#[test]
fn heun_and_the_multistep_solver_are_of_second_order() {
    let (schedule, output) = (schedule(), Prediction::default());
    let reference = |table: Result<Table, ScheduleError>| {
        let table = table.expect("a table");
        lead(&table, &output, &asked(&schedule, &table), (0.4, 1.0))
    };
    // The last step, from timestep 0 to the image, is the same for all counts.
    let exact = reference(heun_table(&schedule, &timesteps(1000), &output));
    type Make = fn(&Schedule, &[usize], &Prediction) -> Result<Table, ScheduleError>;
    let ddim: Make =
        |schedule, list, output| ddim_table(schedule, list, output, &DdimOptions::default());
    for (name, make, least, most) in [
        ("ddim", ddim, 1.5, 3.0),
        ("heun", heun_table as Make, 3.0, 8.0),
        ("dpm-solver++", dpm_solver_table as Make, 3.0, 8.0),
    ] {
        let error =
            |count| (reference(make(&schedule, &timesteps(count), &output)).1 - exact.1).abs();
        let ratio = error(25) / error(50);
        assert!((least..most).contains(&ratio), "{name}: {ratio}, {} {}", error(25), error(50));
    }
}

#[test]
fn encoding_is_sampling_backwards() {
    let schedule = schedule();
    for prediction in [PredictionType::Epsilon, PredictionType::VPrediction] {
        let output = Prediction { kind: prediction, ..Prediction::default() };
        let error = |steps: usize| {
            let list = Spacing::Uniform.timesteps(1000, steps, 0).expect("1 to 1000");
            let up = encode_table(&schedule, &list, &output, EncodeRule::Leaving, 1.0);
            let up = up.expect("a table");
            let down = ddim_table(&schedule, &list, &output, &DdimOptions::default());
            let down = down.expect("a table");
            let (x, _) = lead(&up, &output, &asked(&schedule, &up), (0.8, 0.0));
            let (again, _) = lead(&down, &output, &asked(&schedule, &down), (x, 0.0));
            (again - 0.8).abs()
        };
        let errors = [10, 50, 250, 1000].map(error);
        assert!(errors.is_sorted_by(|a, b| a > b) && errors[3] < 0.01, "{errors:?}");
    }
}

#[test]
fn eta_one_over_every_timestep_is_ddpm() {
    let config = SchedulerConfig { clip_sample: false, ..Default::default() };
    let ddim = config.ddim(1000, 1.0).expect("a table");
    let ddpm = config.ddpm(1000).expect("a table");
    for (implicit, ancestral) in ddim.steps.iter().zip(&ddpm.steps) {
        assert!((implicit.sigma - ancestral.sigma).abs() < 1e-9);
        let (x, epsilon) = (0.7, -0.3);
        let (_, a) = implicit.apply(None, x, epsilon, 0.0);
        let (_, b) = ancestral.apply(None, x, epsilon, 0.0);
        assert!((a - b).abs() < 1e-9, "timestep {}: {a} and {b}", implicit.timestep);
    }
}

#[test]
fn rows_hold_what_the_kernel_reads() {
    let config = SchedulerConfig::default();
    let table = config.ddim(10, 0.5).expect("a table");
    let rows = table.rows();
    assert_eq!(rows.len(), 10 * Table::COLUMNS);
    let (step, row) = (table.steps[3], &rows[3 * Table::COLUMNS..4 * Table::COLUMNS]);
    assert_eq!(row[0], 600.0);
    assert_eq!([row[1], row[2]], [step.image.x as f32, step.image.output as f32]);
    assert_eq!(row[3], 1.0);
    assert_eq!(row[7], step.sigma as f32);
    let unclipped = SchedulerConfig { clip_sample: false, ..config.clone() };
    assert_eq!(unclipped.ddim(10, 0.5).expect("a table").rows()[3], f32::MAX);
    let thresholded = SchedulerConfig { thresholding: true, ..config };
    let table = thresholded.ddim(10, 0.5).expect("a table");
    assert_eq!((table.clip, table.threshold.is_some()), (None, true));
}

#[test]
fn faults_are_named() {
    let (schedule, output) = (schedule(), Prediction::default());
    let said = |table: Result<Table, ScheduleError>| table.expect_err("a fault").to_string();
    for (eta, found) in [(-0.5, "-0.5"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let options = DdimOptions { eta, ..DdimOptions::default() };
        let error = said(ddim_table(&schedule, &[999, 0], &output, &options));
        assert!(error.contains("eta: expected 0 or above") && error.contains(found), "{error}");
    }
    let options = DdimOptions { rule: StepRule::NextEntry, ..DdimOptions::default() };
    let error = said(ddim_table(&schedule, &[10, 20], &output, &options));
    assert!(error.contains("timesteps: expected at most 10 after 10, found 20"), "{error}");
    let error = said(ddim_table(&schedule, &[1000], &output, &options));
    assert!(error.contains("timestep: expected below 1000, found 1000"), "{error}");
    let error = said(heun_table(&schedule, &[], &output));
    assert!(error.contains("timesteps: expected 1 or more, found 0"), "{error}");
    let levels = schedule_levels(&schedule, &[999, 500]).expect("signal everywhere");
    let error = said(predictor_corrector_table(&levels, 1, 0.0, &output));
    assert!(error.contains("snr: expected above 0, found 0"), "{error}");
    let v = Prediction { kind: PredictionType::VPrediction, ..output };
    let error = said(predictor_corrector_table(&levels, 1, 0.16, &v));
    assert!(error.contains("epsilon") && error.contains("v_prediction"), "{error}");
    let error = said(annealed_langevin_table(&levels, 1, -1.0, &output));
    assert!(error.contains("epsilon: expected above 0, found -1"), "{error}");
    let zero = schedule.with_zero_terminal_snr();
    assert!(matches!(
        schedule_levels(&zero, &[999]),
        Err(ScheduleError::NoSignal { timestep: 999 })
    ));
    assert!(ddim_table(&zero, &[999, 500], &v, &DdimOptions::default()).is_ok());
}

#[test]
fn every_sampler_says_whether_it_draws_noise() {
    let scheduler = SchedulerConfig::default();
    let options = SamplerOptions { steps: Some(7), ..SamplerOptions::default() };
    assert!(SamplerKind::all().count() >= 11);
    for kind in SamplerKind::all() {
        assert_eq!(kind.name().parse::<SamplerKind>().expect("its own name"), kind);
        let table = kind.table(&scheduler, &options).expect("a table");
        table.check().expect("finite coefficients");
        let still = table.steps.iter().all(|step| step.sigma == 0.0);
        assert_eq!(still, kind.is_deterministic(0.0), "{kind}");
        assert!(!kind.is_deterministic(0.5));
    }
    let error = "euler".parse::<SamplerKind>().expect_err("no such sampler").to_string();
    assert!(error.contains("langevin, found euler"), "{error}");
}
