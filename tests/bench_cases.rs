//! What is timed covers what it says, and lowers without a device.
use ddim::{
    bench_cases::{self, BenchCase, BenchModel},
    ops,
    plan::{Cost, DeviceProfile, Target},
};
use std::collections::HashSet;

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
