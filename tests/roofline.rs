//! The ceilings of a device are measured, and kernels stay below them.
use ddim::{
    gpu::{Bound, Roofline},
    plan::Cost,
};
use std::time::Duration;

mod support;

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
    assert_eq!(roofline.bound(compute), Bound::Compute);
    assert_eq!(roofline.least_time(compute), Duration::from_secs(10));
    assert!((roofline.share(compute, Duration::from_secs(20)) - 0.5).abs() < 1e-12);
    let traffic = Cost { flops: 10, bytes: 1000 };
    assert_eq!(roofline.bound(traffic), Bound::Bandwidth);
    assert_eq!(roofline.least_time(traffic), Duration::from_secs(100));
}
