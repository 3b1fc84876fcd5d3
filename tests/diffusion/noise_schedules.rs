//! Noise schedules, lists of timesteps and the bound's table against closed forms, with no GPU. Above 300
//! lines, for each schedule has its formula.
use ddim::{
    diffusion::{
        samplers::{Table, VariancePreserving, annealed_langevin_table, predictor_corrector_table},
        schedule::{
            BetaSchedule, Level, Prediction, PredictionType, Respacing, Schedule, SchedulerConfig,
            Spacing, StepRule, Threshold, Variance, given_timesteps, vlb_levels,
        },
    },
    error::{ScheduleError, Unexpected},
    training::{Diffusion, TrainingObjective},
};

/// Tables of one formula in f64 agree to a few roundings of their largest element.
#[track_caller]
fn assert_close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (place, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= 1e-13 * want.abs().max(1e-3), "{place}: {got} for {want}");
    }
}

/// The schedule of a name for 1,000 timesteps and DDPM's betas.
fn named(name: &str) -> Schedule {
    let text = format!(r#"{{"beta_schedule": "{name}"}}"#);
    SchedulerConfig::parse(&text).expect(name).schedule().expect(name)
}

#[test]
fn small_schedules_by_hand() {
    let quadratic = Schedule::scaled_linear(3, 0.01, 0.25);
    assert_close(quadratic.betas(), &[0.01, 0.09, 0.25]);
    assert_close(quadratic.alphas_cumprod(), &[0.99, 0.99 * 0.91, 0.99 * 0.91 * 0.75]);

    let constant = Schedule::constant(4, 0.5);
    assert_eq!(constant.betas(), [0.5; 4]);
    assert_eq!(constant.alphas_cumprod(), [0.5, 0.25, 0.125, 0.0625]);

    let reciprocal = Schedule::reciprocal(4);
    assert_eq!(reciprocal.betas(), [1.0 / 4.0, 1.0 / 3.0, 1.0 / 2.0, 1.0]);
    assert_close(reciprocal.alphas_cumprod(), &[0.75, 0.5, 0.25, 0.0]);

    // Half way between at 0; 1 / (1 + e^6) of the way at -6.
    let sigmoid = Schedule::sigmoid(3, 0.1, 0.3);
    let edge = 0.2 / (1.0 + 6.0_f64.exp());
    assert_close(sigmoid.betas(), &[0.1 + edge, 0.2, 0.3 - edge]);
}

#[test]
fn long_schedules_by_their_closed_forms() {
    // The product of 1 - 1/(T - t) telescopes.
    let signal: Vec<f64> = (0..1000).map(|t| f64::from(999 - t) / 1000.0).collect();
    assert_close(named("jsd").alphas_cumprod(), &signal);
    let powers: Vec<f64> = (1..=1000).map(|t| 0.98_f64.powi(t)).collect();
    assert_close(named("const").alphas_cumprod(), &powers);
    // Symmetric about its middle: t and 999 - t add up to both ends.
    let sigmoid = named("sigmoid");
    let sums: Vec<f64> = (0..1000).map(|t| sigmoid.betas()[t] + sigmoid.betas()[999 - t]).collect();
    assert_close(&sums, &[0.0201; 1000]);
    let root = |t: usize| 0.01 + (0.02_f64.sqrt() - 0.01) * t as f64 / 999.0;
    let quadratic: Vec<f64> = (0..1000).map(|t| root(t).powi(2)).collect();
    assert_close(named("quad").betas(), &quadratic);
}

#[test]
fn names_and_aliases_mean_the_same() {
    for (first, second) in [
        ("quad", "scaled_linear"),
        ("quadratic", "scaled_linear"),
        ("cosine", "squaredcos_cap_v2"),
        ("constant", "const"),
        ("reciprocal", "jsd"),
    ] {
        assert_eq!(named(first), named(second));
        let parsed = |name: &str| name.parse::<BetaSchedule>().expect(name);
        assert_eq!(parsed(first), parsed(second));
    }
    let names = ["linear", "scaled_linear", "squaredcos_cap_v2", "const", "jsd", "sigmoid"];
    for (index, name) in names.into_iter().enumerate() {
        for other in &names[..index] {
            assert_ne!(named(name), named(other), "{name} and {other}");
        }
        let config = SchedulerConfig {
            beta_schedule: name.parse().expect(name),
            ..SchedulerConfig::default()
        };
        assert!(config.to_json().contains(&format!(r#""beta_schedule": "{name}""#)));
    }
    let error = "cosin".parse::<BetaSchedule>().expect_err("no such name").to_string();
    for part in ["beta_schedule", "cosin", "linear", "sigmoid", "jsd", "const"] {
        assert!(error.contains(part), "{error} lacks {part}");
    }
    let error = "quadric".parse::<Spacing>().expect_err("no such name").to_string();
    for part in ["spacing", "quadric", "leading", "uniform", "quad,", "quadratic"] {
        assert!(error.contains(part), "{error} lacks {part}");
    }
    for name in ["leading", "trailing", "linspace", "uniform", "quad", "quadratic"] {
        assert_eq!(name.parse::<Spacing>().expect(name).to_string(), name);
    }
}

#[test]
fn signal_falls_and_the_posterior_is_that_of_equation_7() {
    let rescaled = Schedule::linear(1000, 1e-4, 0.02).with_zero_terminal_snr();
    assert!(rescaled.alphas_cumprod()[999].abs() < 1e-15);
    assert_close(&rescaled.alphas_cumprod()[..1], &[1.0 - 1e-4]);
    let names = ["linear", "quad", "cosine", "const", "jsd", "sigmoid"];
    for schedule in names.map(named).into_iter().chain([rescaled]) {
        let signal = schedule.alphas_cumprod();
        assert!(signal.windows(2).all(|pair| pair[0] > pair[1]));
        assert!(signal.iter().all(|alpha| (0.0..1.0).contains(alpha)));
        let variance = schedule.posterior_variance();
        let mean = schedule.posterior_mean_coefficients();
        for t in 1..1000 {
            // Bayes' rule: the precisions of q(x_t | x_{t-1}) and q(x_{t-1} | x_0) add up.
            let (beta, before) = (schedule.betas()[t], signal[t - 1]);
            let precision = (1.0 - beta) / beta + 1.0 / (1.0 - before);
            assert!((variance[t] * precision - 1.0).abs() < 1e-9, "timestep {t}");
            let (from_x0, from_x) = mean[t];
            let x0 = variance[t] * before.sqrt() / (1.0 - before);
            let x = variance[t] * (1.0 - beta).sqrt() / beta;
            assert!((from_x0 - x0).abs() < 1e-9 && (from_x - x).abs() < 1e-9, "timestep {t}");
        }
        let logarithm = schedule.posterior_log_variance_clipped();
        assert_eq!(logarithm[0], logarithm[1]);
        assert_close(&logarithm[1..], &variance[1..].iter().map(|v| v.ln()).collect::<Vec<_>>());
    }
}

#[test]
fn the_papers_quadratic_spacing_ends_at_the_noisiest() {
    let ascending = |train, count| {
        let mut list = Spacing::Quadratic.timesteps(train, count, 0).expect("a list");
        list.reverse();
        list
    };
    // floor(10 i^2) of timesteps counted from 1.
    assert_eq!(ascending(1000, 10), [9, 39, 89, 159, 249, 359, 489, 639, 809, 999]);
    // floor(i^2 / 2.5): 0, 1, 3, 6, 10; the first would be no timestep.
    assert_eq!(ascending(10, 5), [0, 1, 2, 5, 9]);
    assert_eq!(ascending(10, 10), (0..10).collect::<Vec<_>>());
    assert_eq!(ascending(1000, 1), [999]);
    for count in [2, 7, 50, 99, 500, 999, 1000] {
        let list = ascending(1000, count);
        assert_eq!((list.len(), list[count - 1]), (count, 999));
        assert!(list.windows(2).all(|pair| pair[0] < pair[1]), "{count}: {list:?}");
    }
    assert_eq!(Spacing::Quadratic.rule(), StepRule::NextEntry);
}

#[test]
fn guided_diffusions_respacing() {
    let list = |text: &str, train| {
        let mut list = text.parse::<Respacing>().expect(text).timesteps(train).expect(text);
        list.reverse();
        list
    };
    assert_eq!(list("ddim50", 1000), (0..1000).step_by(20).collect::<Vec<_>>());
    // The least stride with four entries: 0, 3, 6, 9.
    assert_eq!(list("ddim4", 10), [0, 3, 6, 9]);
    assert_eq!(list("ddim334", 1000), (0..1000).step_by(3).collect::<Vec<_>>());
    // One section is a linspace with Python's rounding: strides of 9/4.
    assert_eq!(list("5", 10), [0, 2, 4, 7, 9]);
    // Sections of 4, 3 and 3 timesteps.
    assert_eq!(list("2,1,3", 10), [0, 3, 4, 7, 8, 9]);
    let sections = list("10,15,20", 300);
    assert_eq!(sections.len(), 45);
    assert_eq!((sections[0], sections[9], sections[10], sections[24]), (0, 99, 100, 199));
    assert_eq!((sections[1], sections[11]), (11, 107));
    assert_eq!("10, 15,20".parse::<Respacing>().expect("counts").to_string(), "10,15,20");

    for (text, parts) in [
        ("ddim", &["timestep_respacing", "ddimN", "\"ddim\""][..]),
        ("10,,20", &["timestep_respacing", "10,15,20"]),
        ("fast", &["fast"]),
    ] {
        let error = text.parse::<Respacing>().expect_err(text).to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    for (text, parts) in [
        ("ddim7", &["integer stride", "10", "ddim7"][..]),
        ("ddim11", &["ddim11"]),
        ("ddim0", &["ddim0"]),
        ("6,5", &["at most 5", "6"]),
        ("0,0", &["at least one", "0,0"]),
    ] {
        let error = text.parse::<Respacing>().expect(text).timesteps(10).expect_err(text);
        let error = error.to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn timesteps_of_ones_own() {
    assert_eq!(given_timesteps(&[0, 5, 9], 10).expect("rising"), [9, 5, 0]);
    assert_eq!(given_timesteps(&[9, 5, 0], 10).expect("falling"), [9, 5, 0]);
    assert_eq!(given_timesteps(&[3], 10).expect("one"), [3]);
    for (list, parts) in [
        (&[][..], &["timesteps", "at least one"][..]),
        (&[3, 10], &["below 10", "10"]),
        (&[1, 4, 4, 7], &["increasing", "4 after 4"]),
        (&[1, 4, 3, 7], &["increasing", "3 after 4"]),
        (&[7, 2, 3, 1], &["decreasing", "3 after 2"]),
        (&[5, 5], &["5 after 5"]),
    ] {
        let error = given_timesteps(list, 10).expect_err("no list of timesteps").to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{list:?}: {error}");
    }
}

#[test]
fn betas_outside_their_range_are_named() {
    for (betas, parts) in [
        (vec![], &["betas", "at least one"][..]),
        (vec![0.1, 1.0], &["betas", "between 0 and 1", "1 at timestep 1"]),
        (vec![0.0], &["0 at timestep 0"]),
        (vec![0.1, 0.2, -0.5], &["-0.5 at timestep 2"]),
        (vec![f64::NAN], &["NaN"]),
    ] {
        let error = Schedule::from_betas(betas).expect_err("no betas").to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    let config = |trained_betas: &str| {
        let text = format!(r#"{{"num_train_timesteps": 2, "trained_betas": {trained_betas}}}"#);
        SchedulerConfig::parse(&text)
    };
    let given = config("[0.25, 0.5]").expect("betas").schedule().expect("a schedule");
    assert_eq!(given.alphas_cumprod(), [0.75, 0.375]);
    let error = config("[0.25, 1.5]").expect_err("past 1").to_string();
    assert!(error.contains("1.5 at timestep 1"), "{error}");
    let error = SchedulerConfig::parse(r#"{"num_train_timesteps": 0}"#).expect_err("none");
    assert!(error.to_string().contains("num_train_timesteps: expected 1 to"), "{error}");
}

#[test]
fn levels_of_the_bound_stand_for_every_timestep_once() {
    let all: Vec<(usize, usize)> = (0..1000).map(|t| (t, 1)).collect();
    assert_eq!(vlb_levels(1000, 1000).expect("all"), all);
    for (train, count) in [(1000, 2), (1000, 50), (1000, 999), (10, 4), (2, 2)] {
        let levels = vlb_levels(train, count).expect("2 to all");
        assert_eq!((levels.len(), levels[0]), (count, (0, 1)));
        let mut next = 1;
        for (timestep, stands_for) in &levels[1..] {
            assert!((next..next + stands_for).contains(timestep), "{train} {count}: {levels:?}");
            next += stands_for;
        }
        assert_eq!(next, train);
    }
    for count in [0, 1, 1001] {
        let error = vlb_levels(1000, count).expect_err("too few or many").to_string();
        assert!(error.contains("2 to 1000") && error.contains(&count.to_string()), "{error}");
    }
}

#[test]
fn rows_of_the_bound() {
    let schedule = Schedule::linear(1000, 1e-4, 0.02);
    let output = |prediction| Prediction { kind: prediction, ..Prediction::default() };
    let rows = |prediction, variance| {
        let rows = schedule.vlb_rows(&output(prediction), variance).expect("a table");
        rows.as_chunks::<5>().0.to_vec()
    };
    let small = rows(PredictionType::Epsilon, Variance::FixedSmall);
    let large = rows(PredictionType::VPrediction, Variance::FixedLarge);
    let learned = rows(PredictionType::Sample, Variance::LearnedRange);
    let (signal, posterior) = (schedule.alphas_cumprod(), schedule.posterior_variance());
    // Rounded to f32 once.
    let close = |got: f32, want: f64| (f64::from(got) - want).abs() <= 1e-6 * want.abs().max(1e-6);
    for t in 1..1000 {
        let snr = |t: usize| signal[t] / (1.0 - signal[t]);
        // Half the fall of the signal-to-noise ratio: Kingma et al. 2021, equation 14.
        assert!(close(small[t][2], 0.5 * (snr(t - 1) - snr(t))), "timestep {t}");
        assert_eq!((small[t][3], learned[t][3]), (0.0, large[t][3]));
        let span = (schedule.betas()[t] / posterior[t]).ln();
        assert!((f64::from(large[t][3]) - span).abs() < 1e-6, "timestep {t}");
        assert!(close(small[t][4], posterior[t].powf(-0.5)), "timestep {t}");
        assert!(close(small[t][0], signal[t].powf(-0.5)), "timestep {t}");
        assert!(close(small[t][1], -(1.0 / signal[t] - 1.0).sqrt()), "timestep {t}");
        assert_eq!((learned[t][0], learned[t][1]), (0.0, 1.0));
        assert!(close(large[t][0], signal[t].sqrt()), "timestep {t}");
        assert!(close(large[t][1], -(1.0 - signal[t]).sqrt()), "timestep {t}");
    }
    // The decoder: the posterior's variance at timestep 1 unless a network says otherwise.
    assert_eq!((large[0][3], large[0][4]), (0.0, large[1][4]));
    let span = (1e-4 / posterior[1]).ln();
    assert!((f64::from(learned[0][3]) - span).abs() < 1e-6);

    let jsd = Schedule::reciprocal(10);
    let refused = jsd.vlb_rows(&output(PredictionType::Epsilon), Variance::FixedSmall);
    assert!(matches!(refused, Err(ScheduleError::NoSignal { timestep: 9 })), "{refused:?}");
    let rows = jsd.vlb_rows(&output(PredictionType::VPrediction), Variance::FixedLarge);
    assert!(rows.expect("no division by the signal").iter().all(|number| number.is_finite()));
    let threshold = Some(Threshold { ratio: 0.995, limit: 1.0 });
    let refused =
        jsd.vlb_rows(&Prediction { threshold, ..Prediction::default() }, Variance::FixedSmall);
    assert!(refused.expect_err("no bound").to_string().contains("thresholding"));
    let refused = Schedule::constant(1, 0.5).vlb_rows(&Prediction::default(), Variance::FixedSmall);
    assert!(refused.expect_err("no bound").to_string().contains("2 or more, found 1"));
}

#[test]
fn the_prior_is_the_divergence_from_a_standard_normal() {
    // N(sqrt(a) x0, 1 - a) from N(0, 1): (a x0^2 + (1 - a) - 1 - ln(1 - a)) / 2.
    let schedule = Schedule::constant(3, 0.5);
    let want = 0.5 * (0.125 * 0.3 + 0.875 - 1.0 - 0.875_f64.ln());
    assert!((schedule.prior_nats(0.3) - want).abs() < 1e-15);
    assert_eq!(Schedule::reciprocal(5).prior_nats(0.3), 0.0);
}

/// Each of these overflowed, or asked for more memory than there is.
#[test]
fn huge_counts_are_refused_by_name_before_anything_is_made_of_them() {
    const HUGE: [usize; 3] = [1 << 40, 1 << 62, usize::MAX];
    let refused = |key: &str, result: Result<usize, ScheduleError>| match result {
        Err(ScheduleError::Value(Unexpected { name: found, expected, .. })) => {
            assert_eq!(found, key);
            assert!(expected.contains("to ") || expected.contains("below"), "{key}: {expected}");
        }
        other => panic!("{key}: {other:?}"),
    };
    let steps = |table: Result<Table, ScheduleError>| table.map(|table| table.steps.len());
    let process =
        VariancePreserving { beta_min: 0.1, beta_max: 20.0, end: 1e-3, last_timestep: 999.0 };
    let levels = [Level::variance_exploding(0.0, 2.0), Level::variance_exploding(1.0, 1.0)];
    let output = Prediction::default();
    for huge in HUGE {
        let config = SchedulerConfig { steps_offset: huge, ..SchedulerConfig::default() };
        refused("steps_offset", config.timesteps(10).map(|list| list.len()));
        refused("steps_offset", steps(config.ddim(10, 0.0)));
        let text = format!(r#"{{"num_train_timesteps": {huge}}}"#);
        refused("num_train_timesteps", SchedulerConfig::parse(&text).map(|_| 0));
        let config = SchedulerConfig { num_train_timesteps: huge, ..SchedulerConfig::default() };
        refused("num_train_timesteps", config.schedule().map(|schedule| schedule.timesteps()));
        refused("num_train_timesteps", config.timesteps(10).map(|list| list.len()));
        refused("num_train_timesteps", vlb_levels(huge, 10).map(|list| list.len()));
        for spacing in [
            Spacing::Leading,
            Spacing::Trailing,
            Spacing::Linspace,
            Spacing::Uniform,
            Spacing::Quad,
            Spacing::Quadratic,
        ] {
            let of = |train, count| spacing.timesteps(train, count, 0).map(|list| list.len());
            refused("num_train_timesteps", of(huge, huge));
            refused("num_train_timesteps", of(huge, 1));
            refused("steps", of(1000, huge));
        }
        for respacing in [Respacing::Ddim(10), Respacing::Sections(vec![huge])] {
            refused("num_train_timesteps", respacing.timesteps(huge).map(|list| list.len()));
        }
        refused("steps", steps(process.table(huge, &output, false, false)));
        refused("correctors", steps(predictor_corrector_table(&levels, huge, 0.16, &output)));
        refused(
            "steps a level",
            steps(annealed_langevin_table(&levels, huge, 0.1, false, &output)),
        );
    }
    // The limits themselves are taken.
    let most = Table::MAX_STEPS;
    assert_eq!(steps(process.table(most, &output, true, false)).ok(), Some(most));
    let table = predictor_corrector_table(&levels, most / 2 - 1, 0.16, &output);
    assert_eq!(steps(table).ok(), Some(most));
    assert_eq!(
        steps(annealed_langevin_table(&levels, most / 2, 0.1, false, &output)).ok(),
        Some(most)
    );
    let all = Schedule::MAX_TIMESTEPS;
    assert_eq!(Spacing::Leading.timesteps(all, all, 0).map(|list| list.len()).ok(), Some(all));
}

/// `dx = -beta/2 x dt + g dw`: the mean falls by `beta/2` of itself, the variance by `beta` of itself and
/// grows by `g^2`. Integrated by Runge's and Kutta's method from time 0.
fn moments(of: &TrainingObjective, beta: impl Fn(f64) -> f64, start: f64, end: f64) -> [f64; 2] {
    const STEPS: usize = 20_000;
    let slope = |time: f64, [mean, variance]: [f64; 2]| {
        let g = of.diffusion(time).expect("an equation").g;
        [-0.5 * beta(time) * mean, g * g - beta(time) * variance]
    };
    let (width, mut state) = (end / STEPS as f64, [1.0, start]);
    for step in 0..STEPS {
        let (time, half) = (step as f64 * width, 0.5 * width);
        let moved = |by: f64, slope: [f64; 2]| [state[0] + by * slope[0], state[1] + by * slope[1]];
        let first = slope(time, state);
        let second = slope(time + half, moved(half, first));
        let third = slope(time + half, moved(half, second));
        let fourth = slope(time + width, moved(width, third));
        state = std::array::from_fn(|i| {
            state[i] + width / 6.0 * (first[i] + 2.0 * (second[i] + third[i]) + fourth[i])
        });
    }
    state
}

#[test]
fn stochastic_equations_have_the_moments_that_their_coefficients_give() {
    let (least, most) = (0.1, 20.0);
    let betas = |time: f64| least + time * (most - least);
    let linear: &dyn Fn(f64) -> f64 = &betas;
    let none: &dyn Fn(f64) -> f64 = &|_| 0.0;
    for (name, of) in TrainingObjective::ALL {
        let (beta, start) = match of {
            TrainingObjective::VeSde { sigma_min, .. } => (none, sigma_min * sigma_min),
            TrainingObjective::VpSde { .. } | TrainingObjective::SubVpSde { .. } => (linear, 0.0),
            _ => continue,
        };
        for time in [0.05, 0.4, 1.0] {
            let Diffusion { mean, deviation, g } = of.diffusion(time).expect("an equation");
            let [wanted, variance] = moments(&of, beta, start, time);
            // What Runge's and Kutta's steps leave is far below.
            let close =
                |got: f64, wanted: f64| (got - wanted).abs() <= 1e-9 * wanted.abs().max(1e-3);
            assert!(close(mean, wanted), "{name} at {time}: {mean} for {wanted}");
            assert!(close(deviation * deviation, variance), "{name} at {time}: {variance}");
            // The squared error of the score has the weight of its variance, or g^2: in units of the noise 1, or
            // g^2 over the variance. Where errors are summed, half of it.
            for (summed, half) in [(false, 1.0), (true, 0.5)] {
                for (of, weight) in
                    [(of, 1.0), (of.with_likelihood().expect("one"), g * g / variance)]
                {
                    let level = of.level(time, summed);
                    let unit = level.wanted[1].abs();
                    let score = if name == "ve-sde" { 1.0 / deviation } else { 1.0 };
                    assert!(
                        close(unit, score) && level.wanted[0] == 0.0,
                        "{name} at {time}: {unit}"
                    );
                    assert!(close(level.weight * unit * unit, half * weight), "{name} at {time}");
                    assert!(level.shown == [mean, deviation], "{name} at {time}");
                    let told = if name == "ve-sde" { deviation } else { 999.0 * time };
                    assert!(close(level.timestep, told), "{name} at {time}: {}", level.timestep);
                }
            }
        }
    }
}
