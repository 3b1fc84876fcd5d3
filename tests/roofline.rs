//! The ceilings of a device are measured.
use ddim::gpu::Roofline;

mod support;

#[test]
fn probe() {
    let Some(gpu) = support::gpu() else { return };
    for _ in 0..3 {
    let t = std::time::Instant::now();
    println!("{:?} {:?}", Roofline::measure(&gpu).unwrap(), t.elapsed());
    }
}
