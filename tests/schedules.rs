//! Schedules, timestep lists and step tables against the reference cases, with no GPU.
mod case;

use case::Case;
use ddim::diffusion::schedule::{
    BetaSchedule, Schedule, ScheduleError, SchedulerConfig, Spacing, Table, ddim_table,
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

/// Runs a table over the case's toy model in f64.
fn run(case: &Case, table: &Table) -> (Vec<f64>, Vec<f64>) {
    let model = case.config()["model"].as_str().expect("a toy model");
    let keep = case.config()["keep_every"].as_u64().unwrap_or(1) as usize;
    let mean = case.input("mu");
    let noise = case.optional_input("noise");
    let mut x = case.input("x_T");
    let (mut samples, mut images) = (x.clone(), Vec::new());
    for (index, step) in table.steps.iter().enumerate() {
        let a = step.alpha;
        let mut image = vec![0.0; x.len()];
        for element in 0..x.len() {
            let noise = noise.as_ref().map_or(0.0, |noise| noise[index * x.len() + element]);
            let sample = x[element];
            let epsilon = match model {
                "sin" => 0.9 * sample + 0.1 * (3.0 * sample + 0.01 * step.timestep as f64).sin(),
                _ => (1.0 - a).sqrt() * (sample - a.sqrt() * mean[element]) / (0.25 * a + 1.0 - a),
            };
            (image[element], x[element]) = step.apply(table.clip, sample, epsilon, noise);
        }
        if (index + 1) % keep == 0 {
            samples.extend(&x);
            images.extend(image);
        }
    }
    (samples, images)
}

#[test]
fn sampler_tables_reproduce_the_cases() {
    let mut checked = 0;
    for case in Case::group("samplers") {
        let settings = case.config();
        let flag = |key: &str| settings[key].as_bool().unwrap_or(false);
        let other_model = settings["model"] == "unet";
        let other_method = ["use_clipped_model_output", "thresholding", "sigma_hat"].map(flag);
        let other_prediction = settings["prediction_type"].as_str().unwrap_or("epsilon")
            != "epsilon"
            || settings["variance_type"] == "learned_range";
        if other_model || other_prediction || other_method.contains(&true) {
            continue;
        }
        let steps = settings["steps"].as_u64().unwrap_or(0) as usize;
        let eta = settings["eta"].as_f64().unwrap_or(0.0);
        let table = match case.kind() {
            "ddim" => config(&case, "beta_schedule").ddim(steps, eta).expect("a table"),
            "ddpm" => config(&case, "beta_schedule").ddpm(steps).expect("a table"),
            "ddim_paper" if settings["clip"] == false => {
                let quad = settings["skip"] == "quad";
                let spacing = if quad { Spacing::Quad } else { Spacing::Uniform };
                let schedule = Schedule::linear(1000, 1e-4, 0.02);
                let timesteps = spacing.timesteps(1000, steps, 0).expect("a list");
                ddim_table(&schedule, &timesteps, spacing, eta, None, 1.0).expect("a table")
            }
            _ => continue,
        };
        let timesteps: Vec<f64> = table.steps.iter().map(|step| step.timestep as f64).collect();
        assert_eq!(timesteps, case.input("timesteps"), "{}", case.name());
        let (samples, images) = run(&case, &table);
        assert_matches(&case, "xs", &samples);
        assert_matches(&case, "x0_preds", &images);
        checked += 1;
    }
    assert!(checked >= 18, "only {checked} sampler cases were found");
}

#[test]
fn rows_hold_what_the_kernel_reads() {
    let config = SchedulerConfig::default();
    let table = config.ddim(10, 0.5).expect("a table");
    let rows = table.rows();
    assert_eq!(rows.len(), 10 * Table::COLUMNS);
    let (step, row) = (table.steps[3], &rows[3 * Table::COLUMNS..4 * Table::COLUMNS]);
    assert_eq!(row[0], 600.0);
    assert_eq!(row[2], (1.0 / step.alpha.sqrt()) as f32);
    assert_eq!(row[3], 1.0);
    assert_eq!(row[7], step.sigma as f32);
    let unclipped =
        SchedulerConfig { clip_sample: false, ..config }.ddim(10, 0.5).expect("a table");
    assert_eq!(unclipped.rows()[3], f32::MAX);
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
        (r#"{"beta_schedule": "sigmoidal"}"#, "beta_schedule: unknown variant `sigmoidal`"),
        (r#"{"prediction_type": "v_prediction"}"#, "prediction_type: unknown variant"),
        (r#"{"num_train_timesteps": 0}"#, "num_train_timesteps: expected 1 to 1000000, found 0"),
        (r#"{"beta_start": -0.1}"#, "beta_start: expected between 0 and 1, found -0.1"),
        (r#"{"thresholding": true}"#, "thresholding: expected false, found true"),
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
