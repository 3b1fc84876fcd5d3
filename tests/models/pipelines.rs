//! A pipeline folder is judged as a whole: what this crate would draw wrong, it refuses by name. Above
//! 300 lines, for each refusal has its folder.
use crate::common::tiny;
use ddim::{
    diffusion::schedule::{BetaSchedule, SchedulerConfig},
    pipeline::read_model,
};
use std::fs;

/// diffusers' classes whose betas are DDPM's, and first and last beta where the config has none.
const BETAS: [(&str, f64, f64); 21] = [
    ("DDPMScheduler", 1e-4, 0.02),
    ("DDIMScheduler", 1e-4, 0.02),
    ("DDPMParallelScheduler", 1e-4, 0.02),
    ("DDIMParallelScheduler", 1e-4, 0.02),
    ("DDIMInverseScheduler", 1e-4, 0.02),
    ("DEISMultistepScheduler", 1e-4, 0.02),
    ("DPMSolverMultistepScheduler", 1e-4, 0.02),
    ("DPMSolverMultistepInverseScheduler", 1e-4, 0.02),
    ("DPMSolverSinglestepScheduler", 1e-4, 0.02),
    ("DPMSolverSDEScheduler", 0.00085, 0.012),
    ("EulerAncestralDiscreteScheduler", 1e-4, 0.02),
    ("EulerDiscreteScheduler", 1e-4, 0.02),
    ("HeunDiscreteScheduler", 0.00085, 0.012),
    ("KDPM2AncestralDiscreteScheduler", 0.00085, 0.012),
    ("KDPM2DiscreteScheduler", 0.00085, 0.012),
    ("LMSDiscreteScheduler", 1e-4, 0.02),
    ("PNDMScheduler", 1e-4, 0.02),
    ("RePaintScheduler", 1e-4, 0.02),
    ("SASolverScheduler", 1e-4, 0.02),
    ("UniPCMultistepScheduler", 1e-4, 0.02),
    ("UnCLIPScheduler", 1e-4, 0.02),
];

/// Its other classes (0.42), and names that it never had.
const OTHERS: [&str; 31] = [
    "AmusedScheduler",
    "BlockRefinementScheduler",
    "CMStochasticIterativeScheduler",
    "CogVideoXDDIMScheduler",
    "CogVideoXDPMScheduler",
    "ConsistencyDecoderScheduler",
    "CosineDPMSolverMultistepScheduler",
    "DDPMWuerstchenScheduler",
    "DiscreteDDIMScheduler",
    "EntropyBoundScheduler",
    "FlowMapEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "FlowMatchLCMScheduler",
    "HeliosDMDScheduler",
    "HeliosScheduler",
    "IPNDMScheduler",
    "KarrasVeScheduler",
    "LTXEulerAncestralRFScheduler",
    "MiniMaxH3Scheduler",
    "PiflowScheduler",
    "RFD4ProteinaScheduler",
    "SCMScheduler",
    "ScoreSdeVpScheduler",
    "TCDScheduler",
    "VQDiffusionScheduler",
    "MyScheduler",
    "ddpmscheduler",
    "DDPMScheduler ",
    "DDPM",
    "scheduling_ddpm",
    "",
];

#[test]
fn schedulers_of_other_processes_are_refused() {
    for (class, start, end) in BETAS {
        let config = SchedulerConfig::parse(&format!(r#"{{"_class_name": "{class}"}}"#));
        let config = config.unwrap_or_else(|error| panic!("{class}: {error}"));
        assert_eq!((config.beta_start, config.beta_end), (start, end), "{class}");
        let cosine = class == "UnCLIPScheduler";
        assert_eq!(config.beta_schedule == BetaSchedule::Cosine, cosine, "{class}");
        let given = format!(
            r#"{{"_class_name": "{class}", "beta_start": 0.001, "beta_end": 0.01,
                 "beta_schedule": "scaled_linear", "use_karras_sigmas": true,
                 "use_flow_sigmas": false, "variance_type": null, "timestep_type": "discrete"}}"#
        );
        let config = SchedulerConfig::parse(&given).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((config.beta_start, config.beta_end), (0.001, 0.01), "{class}");
        assert_eq!(config.beta_schedule, BetaSchedule::ScaledLinear, "{class}");
    }
    for class in OTHERS {
        let text = format!(r#"{{"_class_name": "{class}", "beta_start": 0.001}}"#);
        let error = SchedulerConfig::parse(&text).expect_err(class).to_string();
        assert!(error.starts_with("_class_name: expected a scheduler whose betas"), "{error}");
        assert!(error.ends_with(&format!("found {class}")), "{error}");
    }
    for (text, expected) in [
        (
            r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": true}"#,
            "use_dynamic_shifting: expected false, found true",
        ),
        (
            r#"{"_class_name": "UniPCMultistepScheduler", "solver_p": {"a": 1}}"#,
            "solver_p: expected null, found a solver",
        ),
        (
            r#"{"_class_name": "EulerDiscreteScheduler", "interpolation_type": "log_linear"}"#,
            "interpolation_type: expected linear, found log_linear",
        ),
        (
            r#"{"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}"#,
            "timestep_type: expected discrete, found continuous",
        ),
        (
            r#"{"_class_name": "UniPCMultistepScheduler", "prediction_type": "velocity"}"#,
            "prediction_type: unknown variant `velocity`",
        ),
        ("[]", "expected an object, found a list"),
        ("{} {}", "trailing characters"),
    ] {
        let error = SchedulerConfig::parse(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

/// Changes a file of a whole pipeline, and hears why it is refused.
fn refused(file: &str, change: impl FnOnce(String) -> String) -> String {
    let folder = tempfile::tempdir().expect("a folder for the test");
    tiny::pipeline(folder.path());
    read_model(folder.path()).expect("a whole pipeline");
    let path = folder.path().join(file);
    let text = fs::read_to_string(&path).expect("a file of the pipeline");
    fs::write(&path, change(text)).expect("room");
    let error = read_model(folder.path()).expect_err("changed").to_string();
    assert!(error.contains(&path.display().to_string()), "{error} names {file}");
    error
}

#[test]
fn pipelines_with_other_parts_are_refused() {
    const INDEX: &str = "model_index.json";
    let with = |part: &str| {
        let added = format!("{{\n  {part},");
        refused(INDEX, |text| text.replacen('{', &added, 1))
    };
    for (part, class) in [
        ("vae", r#"["diffusers", "AutoencoderKL"]"#),
        ("vqvae", r#"["diffusers", "VQModel"]"#),
        ("movq", r#"["diffusers", "VQModel"]"#),
        ("text_encoder", r#"["transformers", "CLIPTextModel"]"#),
        ("image_encoder", r#"["transformers", null]"#),
        ("super_res_first", r#"["diffusers", "UNet2DModel"]"#),
    ] {
        let error = with(&format!("\"{part}\": {class}"));
        assert!(error.contains(&format!("{part}: expected no such part")), "{error}");
        assert!(error.contains("found ["), "{error}");
    }
    for (from, to, parts) in [
        ("DDPMPipeline", "LDMPipeline", ["_class_name: expected a pipeline", "found LDMPipeline"]),
        ("UNet2DModel", "UNet2DConditionModel", ["unet: expected", "UNet2DConditionModel"]),
        ("DDPMScheduler", "KarrasVeScheduler", ["scheduler: expected", "KarrasVeScheduler"]),
        ("\"unet\"", "\"transformer\"", ["unet: expected", "found none"]),
        ("\"scheduler\"", "\"sampler\"", ["scheduler: expected", "found none"]),
        ("_class_name", "_name", ["expected JSON", "missing field `_class_name`"]),
        ("[\n    \"diffusers\"", "[\n    \"mine\"", ["expected", "\"mine\""]),
    ] {
        let error = refused(INDEX, |text| {
            assert!(text.contains(from), "{text} has {from}");
            text.replacen(from, to, 1)
        });
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    assert!(refused(INDEX, |text| text[..text.len() / 2].into()).contains("EOF"));
    assert!(refused(INDEX, |_| String::new()).contains("EOF"));
    assert!(refused(INDEX, |_| "[]".into()).contains("found a list"));
}

#[test]
fn what_a_pipeline_may_have_beside_opens() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    tiny::pipeline(folder.path());
    let path = folder.path().join("model_index.json");
    let text = fs::read_to_string(&path).expect("its index");
    for (class, scheduler) in [
        ("DDPMPipeline", "DDPMScheduler"),
        ("DDIMPipeline", "DPMSolverMultistepScheduler"),
        ("PNDMPipeline", "PNDMScheduler"),
    ] {
        let text = text.replace("DDPMPipeline", class).replace("DDPMScheduler", scheduler);
        let more = r#"{ "_name_or_path": "somebody/model", "requires_safety_checker": true,
                        "safety_checker": [null, null],"#;
        fs::write(&path, text.replacen('{', more, 1)).expect("room");
        read_model(folder.path()).expect(class);
    }
    fs::remove_file(&path).expect("it was there");
    let error = read_model(folder.path()).expect_err("no index").to_string();
    assert!(error.contains("model_index.json: No such file"), "{error}");
}

#[test]
fn the_channels_are_those_of_the_variance() {
    let learned = |text: String| text.replace("fixed_small", "learned_range");
    let folder = tempfile::tempdir().expect("a folder for the test");
    tiny::pipeline(folder.path());
    let scheduler = folder.path().join("scheduler/scheduler_config.json");
    let text = fs::read_to_string(&scheduler).expect("its config");
    fs::write(&scheduler, learned(text)).expect("room");
    let error = read_model(folder.path()).expect_err("one channel").to_string();
    assert!(error.contains("unet/config.json: out_channels: expected 2, twice"), "{error}");
    assert!(error.ends_with("found 1"), "{error}");

    let unet = folder.path().join("unet/config.json");
    let text = fs::read_to_string(&unet).expect("its config");
    fs::write(&unet, text.replace("\"out_channels\": 1", "\"out_channels\": 2")).expect("room");
    read_model(folder.path()).expect("both channels");
    let error = refused("unet/config.json", |text| {
        text.replace("\"out_channels\": 1", "\"out_channels\": 2")
    });
    assert!(error.contains("out_channels: expected 1, as many as"), "{error}");
}
