//! What is timed covers what it says, and lowers without a device.
use ddim::{
    bench_cases::{self, BenchCase, BenchModel},
    ops,
    plan::{Cost, DeviceProfile, Target},
};
use std::collections::{HashMap, HashSet};

#[path = "../../benches/support/names.rs"]
mod names;
#[path = "../../benches/support/set.rs"]
mod set;

/// A GPU with wide bindings, and software drivers.
fn targets() -> [Target; 3] {
    let gpu = Target { max_binding: 4 << 30, ..Target::default() };
    let software = Target { subgroup: Some(8), profile: DeviceProfile::SOFTWARE, ..gpu.clone() };
    [gpu, Target { int64: true, ..software.clone() }, software]
}

fn titles(bench_cases: &[BenchCase]) -> HashSet<String> {
    bench_cases.iter().map(BenchCase::title).collect()
}

#[test]
fn every_work_lowers_in_every_way() {
    for target in targets() {
        let cases = ops::cases();
        let mut all = bench_cases::stable_diffusion(&cases).expect("shapes that fit");
        all.extend(bench_cases::products(&[512], &cases).expect("shapes that fit"));
        all.extend(bench_cases::fusions([2, 16, 32]).expect("shapes that fit"));
        let model = BenchModel::cifar10().expect("a config of ours");
        all.extend(model.bench_cases(8, &target, &cases).expect("it fits"));
        let all = bench_cases::distinct(all);
        assert_eq!(titles(&all).len(), all.len(), "a name is taken twice");
        for case in &all {
            let variants = case.variants(&target);
            let names: HashSet<&str> = variants.iter().map(|way| way.name.as_str()).collect();
            assert_eq!(names.len(), variants.len(), "{}: {names:?}", case.title());
            assert_ne!(case.cost, Cost::default(), "{}", case.title());
            for way in &variants {
                assert!(way.plan.is_ok(), "{} ({}): {:?}", case.title(), way.name, way.plan);
            }
        }
    }
}

#[test]
fn stable_diffusion_is_all_there() {
    let titles = titles(&bench_cases::stable_diffusion(&ops::cases()).expect("shapes that fit"));
    for title in [
        "attention/sd {heads=8} 1x4096x320 1x4096x320 1x4096x320",
        "attention/sd {heads=5} 1x4096x320 1x4096x320 1x4096x320",
        "attention/sd {heads=8} 1x4096x320 1x77x320 1x77x320",
        "conv2d/sd {stride=1 padding=1,1,1,1} 1x64x64x320 3x3x320x320 320",
        "linear/sd 1x77x768 768x1280 1280",
        "group_norm/sd {groups=32 eps=1e-5} 1x8x8x2560 2560 2560",
    ] {
        assert!(titles.contains(title), "{title}");
    }
    let backward =
        |title: &&String| title.starts_with("attention_backward/sd {heads=8} 1x4096x320");
    assert_eq!(titles.iter().filter(backward).count(), 2);
}

#[test]
fn fusions_take_fewer_launches() {
    let [_, software, _] = targets();
    let mut more = Vec::new();
    for case in bench_cases::fusions([2, 16, 32]).expect("shapes that fit") {
        let plans = case.variants(&software).into_iter().map(|way| way.plan.expect("it fits"));
        let launches: Vec<usize> = plans.map(|plan| plan.dispatches().count()).collect();
        if launches[0] >= launches[1] {
            more.push(format!("{}: {launches:?}", case.title()));
        }
    }
    assert!(more.is_empty(), "{more:#?}");
}

/// Of kernels and whole steps: group and name, as `cargo bench` gives them to criterion.
fn benches(kernels: &[BenchCase], target: &Target) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for case in kernels {
        let variants = case.variants(target);
        let families: Vec<&str> = variants.iter().map(|way| way.name.as_str()).collect();
        let names = set::names(case, &families).into_iter();
        all.extend(names.map(|name| (case.group.clone(), name)));
    }
    for (model, batch) in set::models().expect("configs of ours") {
        let groups = ["forward", "unet", "training", "ddim"];
        all.extend(groups.map(|group| (group.to_owned(), model.title(batch))));
    }
    all
}

/// The folder that criterion 0.7 keeps a part of a name in; on Windows case does not tell two apart.
fn folder(part: &str) -> String {
    let replaced = ['?', '"', '/', '\\', '*', '<', '>', ':', '|', '^'];
    let mut name = part.replace(replaced, "_");
    name.truncate(64);
    name.trim_end().to_lowercase()
}

#[test]
fn every_bench_has_a_folder_of_its_own() {
    for target in targets() {
        let kernels = set::kernels(&target).expect("models of ours");
        let mut taken = HashMap::new();
        for (group, name) in benches(&kernels, &target) {
            assert!(name.len() <= 64 && name.is_ascii(), "{} bytes: {name}", name.len());
            let other = taken.insert([folder(&group), folder(&name)], name.clone());
            assert_eq!(other, None, "and {group}/{name} share a folder");
        }
        assert!(taken.len() > 1500, "{}", taken.len());
    }
}

#[test]
fn every_family_runs_without_a_pattern_at_a_shape_of_each_model() {
    for target in targets() {
        let kernels = set::kernels(&target).expect("models of ours");
        let chosen = set::chosen(&kernels, &target);
        let all = benches(&kernels, &target);
        let mut found = HashMap::new();
        for (group, name) in &all {
            let is_chosen = chosen.contains(&format!("{group}/{name}"));
            for model in ["digits-b64", "cifar10-b8"] {
                // Before the model stands the family, if there are several.
                if let Some((family, _)) = name.split_once(&format!("{model} ")) {
                    *found.entry((group, family, model)).or_insert(0) += usize::from(is_chosen);
                }
            }
        }
        // The ops that have several families, without what fusion makes of them.
        let plain = ["conv2d", "linear", "attention", "group_norm"];
        let gradients = ["conv2d_input_gradient", "conv2d_weight_gradient", "attention_backward"];
        let others = ["linear_input_gradient", "linear_weight_gradient"];
        let wanted =
            |group| plain.contains(&group) || gradients.contains(&group) || others.contains(&group);
        for ((group, family, model), times) in found {
            let once = usize::from(wanted(group.as_str()));
            assert_eq!(times, once, "{group}, {family} at a shape of {model}");
        }
        let titles: HashSet<String> =
            all.iter().map(|(group, name)| format!("{group}/{name}")).collect();
        let unknown: Vec<&String> = chosen.difference(&titles).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert!((20..=80).contains(&chosen.len()), "{}", chosen.len());
    }
}
