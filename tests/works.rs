//! What is timed covers what it says, and lowers without a device.
use ddim::{
    ops,
    plan::{Cost, Target},
    works::{self, Model, Work},
};
use std::collections::HashSet;

/// A GPU with wide bindings, and software drivers.
fn targets() -> [Target; 3] {
    let gpu = Target { max_binding: 4 << 30, ..Target::default() };
    let software = Target { subgroup: Some(8), software: true, ..gpu.clone() };
    [gpu, Target { int64: true, ..software.clone() }, software]
}

fn titles(works: &[Work]) -> HashSet<String> {
    works.iter().map(Work::title).collect()
}

#[test]
fn every_work_lowers_in_every_way() {
    for target in targets() {
        let cases = ops::cases();
        let mut all = works::stable_diffusion(&cases).expect("shapes that fit");
        all.extend(works::products(&[512], &cases).expect("shapes that fit"));
        all.extend(works::fusions([2, 16, 32]).expect("shapes that fit"));
        let model = Model::cifar10().expect("a config of ours");
        all.extend(model.works(8, &target, &cases).expect("it fits"));
        let all = works::distinct(all);
        assert_eq!(titles(&all).len(), all.len(), "a name is taken twice");
        for work in &all {
            let ways = work.ways(&target);
            let names: HashSet<&str> = ways.iter().map(|way| way.name.as_str()).collect();
            assert_eq!(names.len(), ways.len(), "{}: {names:?}", work.title());
            assert_ne!(work.cost, Cost::default(), "{}", work.title());
            for way in &ways {
                assert!(way.plan.is_ok(), "{} ({}): {:?}", work.title(), way.name, way.plan);
            }
        }
    }
}

#[test]
fn stable_diffusion_is_all_there() {
    let titles = titles(&works::stable_diffusion(&ops::cases()).expect("shapes that fit"));
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
    for work in works::fusions([2, 16, 32]).expect("shapes that fit") {
        let plans = work.ways(&software).into_iter().map(|way| way.plan.expect("it fits"));
        let launches: Vec<usize> = plans.map(|plan| plan.dispatches().count()).collect();
        if launches[0] >= launches[1] {
            more.push(format!("{}: {launches:?}", work.title()));
        }
    }
    assert!(more.is_empty(), "{more:#?}");
}
