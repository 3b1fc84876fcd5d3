//! Manifests of reference cases with numbers that nothing can have: each is one failed case, and
//! the program goes on.
use crate::common::support;
use ddim::verify::{Outcome, reference_cases};
use serde_json::{Value as Json, json};
use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
};

/// Numbers that decide how much is computed; the others may be ignored.
const SIZES: [&str; 11] = [
    "steps",
    "T",
    "counts",
    "dim",
    "steps_per_sigma",
    "pairs",
    "groups",
    "heads",
    "stride",
    "pad_left_right_top_bottom",
    "num_train_timesteps",
];

/// A manifest once more for each of its numbers of a size, replaced by `number`.
fn mutated(manifest: &Json, number: &Json) -> Vec<(String, Json)> {
    let config = manifest["config"].as_object().into_iter().flatten();
    let sized = config.filter(|(key, _)| SIZES.contains(&key.as_str()));
    sized
        .map(|(key, value)| {
            let mut mutated = manifest.clone();
            let place = &mut mutated["config"][key];
            match value {
                Json::Array(_) if place[0].is_array() => place[0][0] = number.clone(),
                Json::Array(_) => place[0] = number.clone(),
                _ => *place = number.clone(),
            }
            (key.clone(), mutated)
        })
        .collect()
}

#[test]
fn monstrous_numbers_fail_their_case_alone() {
    let Some(gpu) = support::gpu() else { return };
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let read = |path: &Path| -> Json {
        let text = fs::read_to_string(path).expect("a file of the cases");
        serde_json::from_str(&text).expect("JSON")
    };
    let at = tempfile::tempdir().expect("a folder for the test");
    fs::create_dir(at.path().join("all")).expect("room");
    let (mut entries, mut titles) = (Vec::new(), HashMap::new());
    let mut kinds = BTreeSet::new();
    for entry in read(&cases.join("index.json"))["cases"].as_array().expect("a list") {
        let [group, name] = ["group", "name"].map(|key| entry[key].as_str().expect("a word"));
        let folder = cases.join(group);
        let mut manifest = read(&folder.join(format!("{name}.json")));
        let kind = manifest["kind"].as_str().expect("a word").to_owned();
        // One of each kind; the U-Nets' numbers are in their models' configurations.
        if kind == "unet" || !kinds.insert(kind.clone()) {
            continue;
        }
        manifest["file"] = json!(folder.join(manifest["file"].as_str().expect("a file")));
        if let Some(model) = manifest["model"].as_str() {
            manifest["model"] = json!(cases.join(model));
        }
        for number in [json!(0), json!(-1), json!(1u64 << 40), json!(u64::MAX), json!(1e300)] {
            for (key, manifest) in mutated(&manifest, &number) {
                let name = entries.len().to_string();
                let path = at.path().join(format!("all/{name}.json"));
                fs::write(path, manifest.to_string()).expect("room");
                titles.insert(format!("all/{name}"), format!("{kind}: {key} = {number}"));
                entries.push(json!({"group": "all", "name": name}));
            }
        }
    }
    let index = json!({"cases": entries}).to_string();
    fs::write(at.path().join("index.json"), index).expect("room");
    let mut wrong = Vec::new();
    let hear = |name: &str, outcome: &Outcome, _: usize| {
        let title = &titles[name];
        // No padding is a number that a case may have.
        let sound = title.ends_with("pad_left_right_top_bottom = 0");
        if !sound && !matches!(outcome, Outcome::Failed(_) | Outcome::Skipped(_)) {
            wrong.push(title.clone());
        }
        println!("{title}: {}", outcome.line(name));
    };
    let summary = reference_cases(&gpu, at.path(), &[], hear).expect("all of them");
    assert_eq!(summary.passed + summary.failed + summary.skipped, entries.len());
    assert!(summary.failed > 40, "{summary}");
    assert!(wrong.is_empty(), "{wrong:?}");
}
