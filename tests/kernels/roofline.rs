//! The ceilings of a device are measured, and kernels stay below them.
use crate::common::support;
use ddim::{
    bench_cases,
    gpu::{Bottleneck, Overhead, Roofline, with_checks},
    ops,
    plan::Cost,
};
use std::time::Duration;

#[test]
fn ceilings_are_measured() {
    let Some(gpu) = support::gpu() else { return };
    let Roofline { flops_per_second, bytes_per_second } = Roofline::measure(&gpu).expect("both");
    // Any device that runs a test is faster than this; none that exists does a petaflop in f32.
    assert!((1e8..1e15).contains(&flops_per_second), "{flops_per_second}");
    assert!((1e8..1e14).contains(&bytes_per_second), "{bytes_per_second}");
}

#[test]
fn the_lower_ceiling_bounds() {
    let roofline = Roofline { flops_per_second: 100.0, bytes_per_second: 10.0 };
    let compute = Cost { flops: 1000, bytes: 10 };
    assert_eq!(roofline.bottleneck(compute), Bottleneck::Compute);
    assert_eq!(roofline.least_time(compute), Duration::from_secs(10));
    assert!((roofline.share(compute, Duration::from_secs(20)) - 0.5).abs() < 1e-12);
    let traffic = Cost { flops: 10, bytes: 1000 };
    assert_eq!(roofline.bottleneck(traffic), Bottleneck::Bandwidth);
    assert_eq!(roofline.least_time(traffic), Duration::from_secs(100));
}

#[test]
fn launches_cost_something() {
    let Some(gpu) = support::gpu() else { return };
    let Overhead { dependent, independent } = Overhead::measure(&gpu, 100, false).expect("both");
    for time in [dependent, independent] {
        assert!(time > Duration::ZERO && time < Duration::from_millis(10), "{time:?}");
    }
}

#[test]
fn checks_change_no_result() {
    let Some(gpu) = support::gpu() else { return };
    let cases = bench_cases::products(&[20], &ops::cases()).expect("shapes that fit");
    for way in cases[0].variants(gpu.target()) {
        let plan = way.plan.expect("it fits");
        let results = [plan.clone(), with_checks(plan)].map(|plan| {
            let mut executor = cases[0].executor(&gpu, plan).expect("the device takes it");
            executor.run(1).expect("the device works");
            executor.read(cases[0].graph.outputs[0]).expect("an output")
        });
        assert!(results[0].iter().any(|x| *x != 0.0));
        assert_eq!(results[0], results[1], "{}", way.name);
    }
}
