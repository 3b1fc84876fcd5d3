//! The model of a GPU: what decides how long a launch takes, and the GPUs known by name.
use ddim::{
    bench_cases::BenchModel,
    graph::Graph,
    ops::{Attention, Conv2d, Silu},
    passes,
    plan::{DEVICES, DeviceProfile, Dispatch, Plan, Target},
    value::TensorType,
};
use std::time::Duration;

fn h100() -> DeviceProfile {
    DeviceProfile::named("H100").expect("a card of the table")
}

/// A convolution of so many images of `side` squared pixels.
fn convolving([batch, side, channels]: [usize; 3], profile: DeviceProfile) -> Plan {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[batch, side, side, channels]));
    let weight = graph.input(TensorType::f32(&[3, 3, channels, channels]));
    let conv = Conv2d { stride: 1, padding: [1; 4] };
    graph.outputs = graph.push_all(conv, &[x, weight]).expect("operands of the op");
    passes::compile(&graph, &Target { profile, ..Target::default() }).expect("it fits")
}

/// A launch of the tiled convolution over a square image, the only one of its plan.
fn convolution(side: usize) -> Dispatch {
    // No cores are known: nothing of the launch is fitted to them.
    let plan = convolving([1, side, 64], DeviceProfile::of_vendor(0));
    let mut launches = plan.dispatches();
    launches.next().expect("one launch").clone()
}

fn work(launch: &Dispatch) -> f64 {
    h100().predict(launch).expect("rates are known").work.as_secs_f64()
}

/// The same launch with another grid of workgroups that do as much each.
fn over(launch: &Dispatch, workgroups: u32) -> Dispatch {
    let before = u64::from(launch.workgroups.iter().product::<u32>());
    let grow = |n: u64| n / before * u64::from(workgroups);
    let mut other = launch.clone().workgroups([workgroups, 1, 1]);
    other.executed = grow(launch.executed);
    other.work.flops = grow(launch.work.flops);
    other.work.bytes = grow(launch.work.bytes);
    other
}

#[test]
fn idle_cores_do_not_help() {
    let launch = convolution(32);
    assert_eq!(launch.invocations, 64);
    let one = over(&launch, 1);
    let [alone, all, both, more] = [1, 132, 264, 265].map(|n| work(&over(&one, n)));
    // Durations are whole nanoseconds.
    assert!((alone - all).abs() < 2e-9, "{alone} {all}");
    // Two workgroups of two warps have four schedulers; a third waits for them at times.
    assert!((alone - both).abs() < 2e-9, "{alone} {both}");
    assert!(more > 1.3 * both, "{more} {both}");
    // From sixteen warps, eight workgroups, on a core works at its full rate.
    let [full, twice] = [8, 16].map(|n| work(&over(&one, 132 * n)));
    assert!((twice / full - 2.0).abs() < 1e-3, "{full} {twice}");
    assert!(full < 0.5 * 8.0 * alone, "{full} {alone}");
}

#[test]
fn pixels_past_the_edge_of_a_tile_are_computed_too() {
    // 4x4 pixels are half of a tile of 32, of whose time each takes as much.
    let [small, large] = [4, 8].map(convolution);
    assert_eq!(small.workgroups, [1, 1, 1]);
    assert_eq!(large.workgroups, [1, 2, 1]);
    assert_eq!(2 * small.executed, large.executed);
    assert_eq!(4 * small.work.flops, large.work.flops);
    assert!(large.executed >= large.work.flops);
}

#[test]
fn sums_are_split_where_cores_would_idle() {
    let launches = |of, profile: &str| {
        let profile = DeviceProfile::named(profile).expect("a card of the table");
        let plan = convolving(of, profile);
        let names = plan.dispatches().map(|launch| launch.kernel.entry.to_string());
        let workgroups = plan.dispatches().next().map(|launch| launch.workgroups);
        (names.collect::<Vec<_>>(), workgroups.into_iter().flatten().product::<u32>())
    };
    // 4x4 pixels by 512 channels are 16 tiles of 32x32: an H100 has 132 cores.
    let (names, workgroups) = launches([1, 4, 512], "H100");
    assert_eq!(names, ["split", "fold"]);
    assert!(workgroups >= 64, "{workgroups}");
    // An M1 has 8; a batch of 8 has tiles enough.
    assert_eq!(launches([1, 32, 128], "M1").0, ["forward"]);
    assert_eq!(launches([8, 32, 128], "H100").0, ["forward"]);
    // Little would be won.
    assert_eq!(launches([1, 4, 16], "H100").0, ["forward"]);
}

/// Launches of attention of so many queries and keys in heads of so many channels, planned for an H100.
fn attending([queries, keys, heads, size]: [usize; 4]) -> Vec<Dispatch> {
    let mut graph = Graph::new();
    let of = |tokens| TensorType::f32(&[1, tokens, heads * size]);
    let inputs = [of(queries), of(keys), of(keys)].map(|of| graph.input(of));
    graph.outputs = graph.push_all(Attention::to_all(heads), &inputs).expect("operands of the op");
    let plan = passes::compile(&graph, &Target { profile: h100(), ..Target::default() });
    plan.expect("it fits").dispatches().cloned().collect()
}

#[test]
fn few_queries_share_many_keys() {
    let entries = |of| {
        let entry = |launch: &Dispatch| launch.kernel.entry.to_string();
        attending(of).iter().map(entry).collect::<Vec<_>>()
    };
    assert_eq!(entries([16, 4096, 1, 64]), ["split", "fold"]);
    // Eight heads of 4,096 queries are workgroups enough; of sixteen keys nothing can be cut.
    assert_eq!(entries([4096, 4096, 8, 40]), ["forward"]);
    assert_eq!(entries([16, 16, 1, 64]), ["forward"]);
    let parts = attending([16, 4096, 1, 64])[0].parts;
    assert_eq!(attending([16, 4096, 1, 64])[0].workgroups[0] % parts, 0);
    assert!(parts > 1, "{parts}");
}

#[test]
fn no_tensor_of_attention_grows_with_the_square_of_the_tokens() {
    let mut graph = Graph::new();
    let inputs = [0; 3].map(|_| graph.input(TensorType::f32(&[1, 4096, 320])));
    graph.outputs = graph.push_all(Attention::to_all(8), &inputs).expect("operands of the op");
    let plan = passes::compile(&graph, &Target { profile: h100(), ..Target::default() });
    let plan = plan.expect("it fits");
    // What launches bind: other ways of computing it leave types that nothing holds.
    let bound = plan.dispatches().flat_map(|launch| &launch.bindings).filter_map(|b| b.value);
    let largest = bound.map(|value| plan.types[value.index()].bytes()).max();
    assert!(largest < Some(4096 * 4096), "{largest:?}");
}

#[test]
fn a_tiny_launch_costs_what_a_launch_costs() {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[64, 64]));
    graph.outputs = graph.push_all(Silu, &[x]).expect("operands of the op");
    let plan = passes::compile(&graph, &Target::of(h100())).expect("it fits");
    let predicted = plan.predict().expect("rates are known");
    let launch = h100().rates.expect("they are known").launch;
    assert_eq!(predicted.launches, 1);
    assert!(predicted.work < launch / 10, "{predicted:?}");
    assert_eq!(predicted.time(Duration::ZERO) + launch, predicted.time(launch));
}

#[test]
fn bytes_bound_what_computes_little() {
    let copy = |elements: usize| {
        let mut graph = Graph::new();
        let x = graph.input(TensorType::f32(&[elements / 64, 64]));
        graph.outputs = graph.push_all(Silu, &[x]).expect("operands of the op");
        passes::compile(&graph, &Target::of(h100())).expect("it fits")
    };
    let seconds = |plan: Plan| plan.predict().expect("rates are known").work.as_secs_f64();
    let elements = 64 << 20;
    let rate = h100().rates.expect("they are known").bytes as f64;
    let least = 8.0 * elements as f64 / rate;
    let found = seconds(copy(elements));
    assert!((found / least - 1.0).abs() < 1e-3, "{found} {least}");
}

#[test]
fn adapters_are_found_by_their_words() {
    for (adapter, name) in [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("AMD Radeon RX 7900 XTX (RADV NAVI31)", "RX 7900 XTX"),
        ("Intel(R) Arc(TM) A770 Graphics (DG2)", "Arc A770"),
        ("Apple M2 Max", "M2 Max"),
        ("Turnip Adreno (TM) 740", "Adreno 740"),
    ] {
        let known = DEVICES.iter().find(|(known, _)| *known == name);
        let (_, profile) = known.expect("the table has it");
        assert_eq!(DeviceProfile::named(adapter), Some(*profile), "{adapter}");
    }
    for other in
        ["NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 3090 Ti", "llvmpipe", ""]
    {
        assert_eq!(DeviceProfile::named(other), None, "{other}");
    }
}

#[test]
fn every_name_of_the_table_is_its_own() {
    for (name, profile) in DEVICES {
        assert_eq!(DeviceProfile::named(name), Some(*profile), "{name}");
        let DeviceProfile { cores, core_registers, lanes, rates, .. } = *profile;
        assert!(cores.is_some_and(|cores| cores > 0), "{name}");
        // What rates go with.
        assert!(rates.is_none() || core_registers > 0 && lanes > 0, "{name}");
        if let (Some(rates), Some(cores)) = (rates, cores) {
            // A clock between 0.9 and 3 GHz: a slip of a digit is none.
            let clock = rates.multiply_adds as f64 / cores as f64 / f64::from(lanes) / 1e9;
            assert!((0.9..3.0).contains(&clock), "{name}: {clock} GHz");
        }
    }
}

#[test]
fn a_device_of_unknown_rates_has_no_prediction() {
    let target = Target::default();
    let step = BenchModel::digits().and_then(|model| model.sampling(1, &target)).expect("it fits");
    let plan = passes::compile(&step.graph, &target).expect("it fits");
    assert_eq!(plan.predict(), None);
}

/// Subgroups enough, sums in eight parts, or nothing to be gained by more of them: what is short of the first two is
/// printed, with what more parts would bring.
#[test]
fn work_of_a_sampling_step_fills_an_h100_or_would_not_gain_by_more_parts() {
    let target = Target::of(h100());
    let model = BenchModel::cifar10().expect("part of the crate");
    assert_eq!(h100().schedulers(), Some(528));
    // A warp for each scheduler, and the four that hide what one waits for.
    for (batch, warps) in [(1, 528), (8, 4 * 528)] {
        let step = model.sampling(batch, &target).expect("it fits");
        let plan = passes::compile(&step.graph, &target).expect("it fits");
        let launches = plan.occupancy().expect("rates are known");
        let whole: f64 = launches.iter().map(|of| of.share).sum();
        assert!(whole >= 0.95, "{whole}");
        let (enough, short): (Vec<_>, Vec<_>) =
            launches.iter().partition(|of| of.is_split_enough(warps));
        let part = enough.iter().map(|of| of.share).sum::<f64>() / whole;
        println!("batch {batch}: {part:.3} of that work, {} of {}", enough.len(), launches.len());
        short.iter().for_each(|of| println!("{of}"));
        let gaining: Vec<_> = short.iter().filter(|of| of.gains_by_parts()).collect();
        assert!(gaining.is_empty(), "batch {batch}: {gaining:?}");
    }
}
