//! The lines of graph and plan that docs/tour.md shows are what the compiler prints.
use ddim::{
    diffusion::{SamplingGraph, SamplingOptions, schedule::SchedulerConfig},
    models::unet2d::{UNet, UNetConfig},
    passes,
    plan::{DeviceProfile, TABLE, Target},
};

/// Lines of the page's fences of this language.
fn fenced<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let mut blocks = page.split("```").skip(1).step_by(2);
    let block = blocks.find_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    let lines: Vec<&str> = block.expect("the page has such a fence").lines().collect();
    assert!(!lines.is_empty());
    lines
}

#[test]
fn the_tour_shows_what_the_compiler_prints() {
    let root = env!("CARGO_MANIFEST_DIR");
    let page = std::fs::read_to_string(format!("{root}/docs/tour.md")).expect("the page");
    let config = format!("{root}/benches/models/cifar10.json");
    let unet =
        UNet::new(UNetConfig::read(config.as_ref()).expect("a configuration")).expect("a model");
    // lavapipe with subgroups of 8 lanes, as the page says.
    let profile = DeviceProfile::SOFTWARE;
    let target = Target { subgroup: Some(8), int64: true, profile, ..Target::default() };
    let table = SchedulerConfig::default().ddim(50, 0.0).expect("a table");
    let size = [1, 32, 32];
    let options = SamplingOptions::default();
    let step = SamplingGraph::new(&target, &unet, size, &table, &options).expect("a step");
    let plan = passes::compile(&step.graph, &target).expect("a plan");
    let rules = TABLE.iter().filter(|rule| rule.on == target.profile.kind);
    let printed = [
        ("graph", step.graph.to_string()),
        ("plan", plan.to_string()),
        ("families", rules.map(|rule| format!("{rule}\n")).collect()),
    ];
    for (language, printed) in printed {
        for line in fenced(&page, language) {
            assert!(printed.lines().any(|other| other == line), "{language}: {line}");
        }
    }
}
