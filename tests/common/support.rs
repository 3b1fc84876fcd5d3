//! What the tests share: the device, or its absence said aloud.
use ddim::gpu::{Gpu, GpuOptions};

/// The device to test on. Without an adapter the caller skips, unless `REQUIRE_GPU=1`, as CI
/// sets it: then that is a failure.
pub fn gpu() -> Option<Gpu> {
    match Gpu::new(&GpuOptions::default()) {
        Ok(gpu) => Some(gpu),
        Err(error) if std::env::var("REQUIRE_GPU").as_deref() == Ok("1") => panic!("{error}"),
        Err(_) => {
            println!("skipped: no adapter");
            None
        }
    }
}
