//! The tables of the samplers, in f64 and with no GPU: where they lead a distribution for which the
//! best prediction is known, how they relate to each other, and what they refuse.
use crate::common::tables::{dpm, heun};
use ddim::{
    diffusion::{
        samplers::{
            Churn, DdimOptions, EncodeRule, SamplerKind, SamplerOptions, Step, StepSum, Table,
            VariancePreserving, annealed_langevin_table, ddim_table, ddpm_table, encode_table,
            predictor_corrector_table, probability_flow_table, schedule_levels,
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
        PredictionType::Score => (-epsilon.0 / sigma, -epsilon.1 / sigma),
        PredictionType::ScaledScore => (-epsilon.0, -epsilon.1),
        PredictionType::Flow => (epsilon.0 - image.0, epsilon.1 - image.1),
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
        /// Variance of the noise.
        variance: f64,
    }
    let mut x = Line { slope: 1.0, ..Line::default() };
    // Memories are lines of the start too: samplers that use them add no noise here.
    let mut memory = [(0.0, 0.0); 4];
    for (step, level) in table.steps.iter().zip(levels) {
        let Step { image, next, kept, .. } = *step;
        let (slope, zero) = best(output, level);
        let x0 = (image.x + image.output * slope, image.output * zero);
        let gain = |sum: &StepSum| sum.now.x0 * x0.0 + sum.now.output * slope + sum.now.x;
        let of = |sum: &StepSum| {
            let (gain, add) = (gain(sum), sum.now.x0 * x0.1 + sum.now.output * zero);
            let recalled = sum.memory.iter().zip(memory);
            let own = (gain * x.slope, gain * x.shift + add);
            recalled.fold(own, |all, (weight, of)| (all.0 + weight * of.0, all.1 + weight * of.1))
        };
        assert!(next.memory == [0.0; 4] || x.variance == 0.0);
        let (line, kept_line) = (of(&next), kept.map(|(slot, sum)| (slot, of(&sum))));
        x.variance = gain(&next).powi(2) * x.variance + step.sigma * step.sigma;
        (x.slope, x.shift) = line;
        if let Some((slot, line)) = kept_line {
            memory[slot] = line;
        }
    }
    let variance = (x.slope * start.1).powi(2) + x.variance;
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
        ("heun", heun(&schedule, &list, &output), 0.0015),
        ("dpm-solver++", dpm(&schedule, &list, &output), 0.0024),
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
    let table = annealed_langevin_table(&[level], 2000, 0.01, false, &output).expect("a table");
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
            heun(&schedule, &list, &output),
            dpm(&schedule, &list, &output),
            probability_flow_table(&schedule, &list, &output),
            variance_exploding_table(&levels, &output),
        ]
        .map(|table| {
            let table = table.expect("a table");
            lead(&table, &output, &asked(&schedule, &table), (0.1, 0.9))
        })
    };
    let epsilon = run(PredictionType::Epsilon);
    for other in [
        PredictionType::Sample,
        PredictionType::VPrediction,
        PredictionType::Flow,
        PredictionType::Score,
        PredictionType::ScaledScore,
    ] {
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
    let exact = reference(heun(&schedule, &timesteps(1000), &output));
    type Make = fn(&Schedule, &[usize], &Prediction) -> Result<Table, ScheduleError>;
    let ddim: Make =
        |schedule, list, output| ddim_table(schedule, list, output, &DdimOptions::default());
    for (name, make, least, most) in [
        ("ddim", ddim, 1.5, 3.0),
        ("heun", heun as Make, 3.0, 8.0),
        ("dpm-solver++", dpm as Make, 3.0, 8.0),
    ] {
        let error =
            |count| (reference(make(&schedule, &timesteps(count), &output)).1 - exact.1).abs();
        let ratio = error(25) / error(50);
        assert!((least..most).contains(&ratio), "{name}: {ratio}, {} {}", error(25), error(50));
    }
}

/// EDM's table is algorithm 2 of Karras et al. (2022), written out, for the same noise.
#[test]
fn the_stochastic_sampler_is_algorithm_2() {
    let churn = Churn { amount: 12.0, range: [0.05, 30.0], noise: 1.01 };
    let text = r#"{"_class_name": "EDMEulerScheduler", "sigma_data": 0.6}"#;
    let scheduler = SchedulerConfig::parse(text).expect("a scheduler");
    let steps = 9;
    let options =
        SamplerOptions { steps: Some(steps), churn: Some(churn), ..SamplerOptions::default() };
    let table = SamplerKind::Edm.table(&scheduler, &options).expect("a table");
    assert_eq!(table.steps.len(), 2 * steps - 1);
    let network = |x: f64, noise: f64| 0.4 * x - (x + noise).sin();
    let unit = 0.6_f64;
    let denoised = |x: f64, sigma: f64| {
        let length = sigma.hypot(unit);
        let output = network(x / length, 0.25 * sigma.ln());
        (unit / length).powi(2) * x + sigma * unit / length * output
    };
    let sigma = |index: usize| {
        let root = |sigma: f64| sigma.powf(1.0 / 7.0);
        let share = index as f64 / (steps - 1) as f64;
        (root(80.0) + share * (root(0.002) - root(80.0))).powi(7)
    };
    let drawn = |index: usize| (1.7 * index as f64).cos();
    let mut x = 80.0 * 0.3;
    let mut own = None;
    let mut rows = table.steps.iter();
    for index in 0..steps {
        let now = sigma(index);
        let next = if index + 1 < steps { sigma(index + 1) } else { 0.0 };
        let within = (0.05..=30.0).contains(&now);
        let gamma = if within { (12.0 / steps as f64).min(2_f64.sqrt() - 1.0) } else { 0.0 };
        let hat = now * (1.0 + gamma);
        x += (hat * hat - now * now).sqrt() * 1.01 * drawn(index);
        // The table begins after the first noise, and adds the others at the ends of steps.
        let u = own.get_or_insert(x / hat.hypot(unit));
        assert!((*u * hat.hypot(unit) - x).abs() < 1e-9 * x.abs().max(1.0), "step {index}");
        let slope = (x - denoised(x, hat)) / hat;
        let ahead = x + (next - hat) * slope;
        let kept = follow(rows.next().expect("a row"), u, 0.0, network, drawn(index + 1));
        if next == 0.0 {
            x = ahead;
            assert!((*u - x).abs() < 1e-9, "the image: {u} for {x}");
            break;
        }
        let slope = 0.5 * (slope + (ahead - denoised(ahead, next)) / next);
        x += (next - hat) * slope;
        follow(rows.next().expect("a row"), u, kept, network, drawn(index + 1));
    }
    assert!(rows.next().is_none());
}

/// Takes a step of `x` in f64 and returns what it keeps.
fn follow(
    step: &Step,
    x: &mut f64,
    memory: f64,
    network: impl Fn(f64, f64) -> f64,
    noise: f64,
) -> f64 {
    let output = network(*x, step.timestep);
    let x0 = step.image.x * *x + step.image.output * output;
    let of = |sum: &StepSum| {
        sum.now.x0 * x0 + sum.now.output * output + sum.now.x * *x + sum.memory[0] * memory
    };
    let (next, kept) = (of(&step.next), step.kept.map_or(0.0, |(_, sum)| of(&sum)));
    *x = next + step.sigma * noise;
    kept
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
    let error = said(heun(&schedule, &[], &output));
    assert!(error.contains("timesteps: expected 1 or more, found 0"), "{error}");
    let levels = schedule_levels(&schedule, &[999, 500]).expect("signal everywhere");
    let error = said(predictor_corrector_table(&levels, 1, 0.0, &output));
    assert!(error.contains("snr: expected above 0, found 0"), "{error}");
    let v = Prediction { kind: PredictionType::VPrediction, ..output };
    let error = said(predictor_corrector_table(&levels, 1, 0.16, &v));
    assert!(error.contains("epsilon") && error.contains("v_prediction"), "{error}");
    let error = said(annealed_langevin_table(&levels, 1, -1.0, false, &output));
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
    assert!(SamplerKind::all().count() >= 20);
    for kind in SamplerKind::all() {
        assert_eq!(kind.name().parse::<SamplerKind>().expect("its own name"), kind);
        let table = kind.table(&scheduler, &options).expect("a table");
        table.check().expect("finite coefficients");
        let still = table.steps.iter().all(|step| step.sigma == 0.0);
        assert_eq!(still, kind.is_deterministic(0.0), "{kind}");
        assert!(!kind.is_deterministic(0.5));
    }
    let error = "eule".parse::<SamplerKind>().expect_err("no such sampler").to_string();
    assert!(error.contains("plms, lcm, found eule"), "{error}");
}
