//! Schedules, timestep lists and step tables against the reference cases, with no GPU.

use crate::common::case::Case;
use ddim::{
    diffusion::schedule::{BetaSchedule, PredictionType, Schedule, SchedulerConfig, Spacing},
    error::ScheduleError,
};

fn assert_matches(case: &Case, output: &str, got: &[f64]) {
    if let Err(message) = case.compare(output, got) {
        panic!("{message}");
    }
}

#[test]
fn schedules_of_the_cases() {
    for case in Case::group("schedules").filter(|case| case.kind() == "schedule") {
        let schedule = config(&case, "schedule").schedule().expect("a schedule");
        assert_matches(&case, "betas", schedule.betas());
        assert_matches(&case, "alphas_cumprod", schedule.alphas_cumprod());
        if case.has_output("posterior_variance") {
            let (from_x0, from_x): (Vec<_>, Vec<_>) =
                schedule.posterior_mean_coefficients().into_iter().unzip();
            assert_matches(&case, "posterior_variance", &schedule.posterior_variance());
            assert_matches(&case, "posterior_mean_coef1", &from_x0);
            assert_matches(&case, "posterior_mean_coef2", &from_x);
            let logarithm = schedule.posterior_log_variance_clipped();
            assert_matches(&case, "posterior_log_variance_clipped", &logarithm);
        }
    }
}

/// The scheduler settings of a case; `schedule` is its name for the beta schedule.
fn config(case: &Case, schedule: &str) -> SchedulerConfig {
    let mut config = case.config().clone();
    let keys = config.as_object_mut().expect("a config is an object");
    for (from, to) in [
        (schedule, "beta_schedule"),
        ("zero_terminal_snr", "rescale_betas_zero_snr"),
        ("T", "num_train_timesteps"),
    ] {
        if let Some(value) = keys.remove(from) {
            keys.insert(to.into(), value);
        }
    }
    SchedulerConfig::parse(&config.to_string()).expect("a case's settings are valid")
}

#[test]
fn cosine_betas_grow_to_the_clip() {
    let schedule = Schedule::cosine(1000);
    assert!(schedule.betas().iter().all(|beta| *beta > 0.0 && *beta <= 0.999));
    assert!(schedule.betas().is_sorted());
    assert_eq!(schedule.betas()[999], 0.999);
}

#[test]
fn timesteps_are_the_exact_integers_of_the_cases() {
    let case = Case::read("schedules", "timesteps");
    for count in [5, 7, 10, 20, 50, 100, 1000] {
        for (name, spacing, offset) in [
            ("leading", Spacing::Leading, 0),
            ("leading_offset1", Spacing::Leading, 1),
            ("trailing", Spacing::Trailing, 0),
            ("linspace", Spacing::Linspace, 0),
            ("uniform", Spacing::Uniform, 0),
            ("quad", Spacing::Quad, 0),
        ] {
            let got = spacing.timesteps(1000, count, offset).expect("1 to 1000 steps");
            let got: Vec<f64> = got.into_iter().map(|t| t as f64).collect();
            assert_matches(&case, &format!("{name}_{count}"), &got);
        }
    }
}

#[test]
fn settings_survive_writing_and_reading() {
    let config = SchedulerConfig {
        beta_schedule: BetaSchedule::Cosine,
        set_alpha_to_one: false,
        timestep_spacing: Spacing::Trailing,
        ..Default::default()
    };
    let text = config.to_json();
    assert!(text.contains("\"squaredcos_cap_v2\""), "{text}");
    assert_eq!(SchedulerConfig::parse(&text).expect("its own text"), config);
    let sparse =
        SchedulerConfig::parse(r#"{"_class_name": "DDPMScheduler", "tensor_format": "pt"}"#);
    assert_eq!(sparse.expect("keys may be missing, or unknown"), SchedulerConfig::default());
}

#[test]
fn faults_name_their_key() {
    for (text, expected) in [
        (r#"{"beta_end": "high"}"#, "beta_end: invalid type"),
        (r#"{"beta_schedule": "cubic"}"#, "beta_schedule: unknown variant `cubic`"),
        (r#"{"prediction_type": "noise"}"#, "prediction_type: unknown variant `noise`"),
        (r#"{"num_train_timesteps": 0}"#, "num_train_timesteps: expected 1 to 1000000, found 0"),
        (r#"{"beta_start": -0.1}"#, "beta_start: expected between 0 and 1, found -0.1"),
        (r#"{"sample_max_value": 0.5}"#, "sample_max_value: expected 1 or above, found 0.5"),
        (r#"{"trained_betas": [0.1]}"#, "trained_betas: expected 1000 numbers, found 1"),
        (r#"{"beta_start": 0.1"#, "EOF"),
    ] {
        let error = SchedulerConfig::parse(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let config = SchedulerConfig::default();
    for error in [config.ddim(0, 0.0), config.ddim(1001, 0.0), config.ddim(10, -0.5)] {
        assert!(matches!(error, Err(ScheduleError::Value { .. })));
    }
    let zero_snr = SchedulerConfig {
        rescale_betas_zero_snr: true,
        timestep_spacing: Spacing::Trailing,
        ..Default::default()
    };
    assert!(matches!(zero_snr.ddim(10, 0.0), Err(ScheduleError::NoSignal { timestep: 999 })));
}

#[test]
fn infinite_ranges_clip_nothing_and_keys_of_2022_are_read() {
    let parse = |text| SchedulerConfig::parse(text).expect(text);
    let config = parse(r#"{"clip_sample": true, "clip_sample_range": Infinity}"#);
    assert_eq!(config.clip(), None);
    let config = parse(r#"{"thresholding": true, "sample_max_value": Infinity}"#);
    assert_eq!(config.sample_max_value, f64::from(f32::MAX));
    for bad in [r#"{"clip_sample_range": -Infinity}"#, r#"{"sample_max_value": NaN}"#] {
        SchedulerConfig::parse(bad).expect_err(bad);
    }
    assert_eq!(parse(r#"{"predict_epsilon": false}"#).prediction_type, PredictionType::Sample);
    let both = r#"{"predict_epsilon": false, "prediction_type": "epsilon"}"#;
    assert_eq!(parse(both).prediction_type, PredictionType::Epsilon);
}
