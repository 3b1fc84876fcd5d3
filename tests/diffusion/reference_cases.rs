//! The reference cases on the device, through the library's own check of them.
use crate::common::{
    copied::{self, change_last, change_manifest, change_tensors, copies, folder, list, tolerance},
    support,
};
use std::{fs, path::Path};

use ddim::{
    Error,
    error::CasesError,
    gpu::Gpu,
    verify::{Outcome, Summary, reference_cases},
};
use serde_json::{Value, json};

/// The outcomes by name, in the order of the list.
fn run(gpu: &Gpu, folder: &Path, groups: &[&str]) -> (Vec<(String, Outcome)>, Summary) {
    let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
    let mut outcomes = Vec::new();
    let mut of = 0;
    let on_result = |name: &str, outcome: &Outcome, total: usize| {
        outcomes.push((name.into(), outcome.clone()));
        of = total;
    };
    let summary = reference_cases(gpu, folder, &groups, on_result).expect("a folder of cases");
    assert_eq!(outcomes.len(), of);
    (outcomes, summary)
}

#[test]
fn every_case_passes_that_this_crate_computes() {
    let Some(gpu) = support::gpu() else { return };
    let groups = ["ops", "unet", "train", "schedules", "samplers", "vlb", "ldm"];
    let (outcomes, summary) = run(&gpu, &folder("cases"), &groups);
    for (name, outcome) in outcomes.iter().filter(|(_, outcome)| *outcome != Outcome::Passed) {
        println!("{}", outcome.line(name));
    }
    assert_eq!((summary.failed, summary.skipped), (0, 0), "they are listed above");
    let index = fs::read_to_string(folder("cases").join("index.json")).expect("a list of cases");
    let index: Value = serde_json::from_str(&index).expect("the list is JSON");
    let listed = index["cases"].as_array().expect("a list").iter();
    let listed = listed.filter(|case| groups.iter().any(|group| case["group"] == *group)).count();
    assert_eq!(outcomes.len(), listed);
    assert_eq!(summary.passed, listed);
}

#[test]
fn every_further_setting_of_the_u_net_passes() {
    let Some(gpu) = support::gpu() else { return };
    let (outcomes, summary) = run(&gpu, &folder("cases_unet"), &[]);
    assert_eq!(summary, Summary { passed: 4, ..Summary::default() }, "{outcomes:?}");
}

/// Schedulers of diffusers and further objectives of training, those of tests/cases_more; and more
/// options of schedulers by scripts/scheduler-cases.
#[test]
fn every_scheduler_and_objective_passes() {
    let Some(gpu) = support::gpu() else { return };
    let own: &[&str] = &["samplers", "ncsn", "train_more"];
    for (name, groups, passed) in [("cases_more", own, 32), ("cases_schedulers", &[], 42)] {
        let (outcomes, summary) = run(&gpu, &folder(name), groups);
        for (name, outcome) in outcomes.iter().filter(|(_, of)| *of != Outcome::Passed) {
            println!("{}", outcome.line(name));
        }
        assert_eq!(summary, Summary { passed, ..Summary::default() }, "{name}");
    }
}

#[test]
fn files_of_other_projects_open_and_compute_what_they_did() {
    let Some(gpu) = support::gpu() else { return };
    let groups = ["checkpoints", "hostile"];
    let (outcomes, summary) = run(&gpu, &folder("cases_more"), &groups);
    assert_eq!(summary, Summary { passed: 17, ..Summary::default() }, "{outcomes:?}");
}

#[test]
fn text_encoders_and_their_tokenizer_pass() {
    let Some(gpu) = support::gpu() else { return };
    let (outcomes, summary) = run(&gpu, &folder("cases_latent"), &["text"]);
    let skipped = usize::from(!cfg!(feature = "tokenizer"));
    let expected = Summary { passed: 8 - skipped, skipped, ..Summary::default() };
    assert_eq!(summary, expected, "{outcomes:?}");
}

#[test]
fn adapters_change_and_learn_what_they_should() {
    let Some(gpu) = support::gpu() else { return };
    let (outcomes, summary) = run(&gpu, &folder("cases_latent"), &["lora"]);
    assert_eq!(summary, Summary { passed: 6, ..Summary::default() }, "{outcomes:?}");
}

/// Those of `scripts/latent-cases`.
#[test]
fn pipelines_run_from_prompts_and_in_bands() {
    let Some(gpu) = support::gpu() else { return };
    let groups = ["bands", "prompts", "inpaint"];
    let (outcomes, summary) = run(&gpu, &folder("cases_latent"), &groups);
    let skipped = if cfg!(feature = "tokenizer") { 0 } else { 2 };
    let expected = Summary { passed: 6 - skipped, skipped, ..Summary::default() };
    assert_eq!(summary, expected, "{outcomes:?}");
}

#[test]
fn classifiers_of_noisy_images_and_what_they_guide_pass() {
    let Some(gpu) = support::gpu() else { return };
    let (outcomes, summary) = run(&gpu, &folder("cases_more"), &["guidance"]);
    assert_eq!(summary, Summary { passed: 5, ..Summary::default() }, "{outcomes:?}");
}

fn only(gpu: &Gpu, folder: &Path) -> Outcome {
    let (mut outcomes, _) = run(gpu, folder, &[]);
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0).1
}

/// An op, its gradients, a loss and an optimizer: each of a kind of its own.
const SAMPLES: [(&str, &str, &str); 4] = [
    ("ops", "conv3x3_s2_p0101_n2_3to4_7x5", "y"),
    ("ops", "conv3x3_s2_p0101_n2_3to4_7x5", "gw"),
    ("ops", "mse", "loss_mean"),
    ("ops", "optim_adamw", "p0_after"),
];

#[test]
fn one_element_beyond_its_tolerance_fails() {
    let Some(gpu) = support::gpu() else { return };
    for (group, name, output) in SAMPLES {
        let case = (group, name);
        let copy = copies(&[case]);
        assert_eq!(only(&gpu, copy.path()), Outcome::Passed, "{name}: a faithful copy");

        // The result is off by at most the tolerance to the other side.
        let atol = tolerance(copy.path(), case, output);
        change_last(copy.path(), case, output, |number| number + 2.5 * atol);
        let Outcome::Failed(text) = only(&gpu, copy.path()) else { panic!("{name}: {output}") };
        assert!(text.starts_with(&format!("{output} ")) && text.contains(" > "), "{text}");

        change_last(copy.path(), case, output, |_| f32::NAN);
        let Outcome::Failed(text) = only(&gpu, copy.path()) else { panic!("{name}: NaN") };
        assert!(text.starts_with(&format!("{output} NaN > ")), "{text}");
    }
}

const SILU: copied::Named = ("ops", "silu");

#[test]
fn nan_on_the_devices_side_fails() {
    let Some(gpu) = support::gpu() else { return };
    let copy = copies(&[SILU]);
    change_last(copy.path(), SILU, "x", |_| f32::NAN);
    let Outcome::Failed(text) = only(&gpu, copy.path()) else { panic!("NaN in x") };
    assert!(text.contains("y NaN > "), "{text}");
}

#[test]
fn damaged_cases_fail_by_name_and_leave_the_others_alone() {
    let Some(gpu) = support::gpu() else { return };
    let fails = |damage: fn(&Path), words: &str| {
        let copy = copies(&[SILU]);
        damage(copy.path());
        let Outcome::Failed(text) = only(&gpu, copy.path()) else { panic!("{words}") };
        assert!(text.contains(words), "{text}");
    };
    let lacking = |folder: &Path| change_tensors(folder, SILU, |t| t.retain(|of| of.name != "x"));
    fails(lacking, "silu.json: x is missing");
    let asking = |folder: &Path| {
        change_manifest(folder, SILU, |manifest| manifest["outputs"]["z"] = json!({ "atol": 1 }));
    };
    fails(asking, "silu.json: z is missing");
    let misnaming =
        |folder: &Path| change_manifest(folder, SILU, |manifest| manifest["file"] = json!("none"));
    fails(misnaming, "ops/none");
    fails(|folder| fs::write(folder.join("ops/silu.json"), "{").expect("room"), "silu.json");

    let copy = copies(&[SILU]);
    list(copy.path(), &[("ops", "gone"), SILU]);
    let (_, summary) = run(&gpu, copy.path(), &["ops"]);
    assert_eq!(summary, Summary { passed: 1, failed: 1, skipped: 0 });
}

#[test]
fn a_group_that_is_not_there_is_an_error() {
    let Some(gpu) = support::gpu() else { return };
    let asked = ["ops".to_owned(), "opps".to_owned()];
    let error =
        reference_cases(&gpu, &folder("cases"), &asked, |_, _, _| {}).expect_err("no group");
    assert!(matches!(&error, Error::Cases(CasesError::Group { asked, .. }) if asked == "opps"));
    assert!(error.to_string().contains("lists no group opps, only ldm, ops, "), "{error}");
    let error =
        reference_cases(&gpu, Path::new("no/such"), &[], |_, _, _| {}).expect_err("no folder");
    assert!(error.to_string().contains("no/such"), "{error}");
}
