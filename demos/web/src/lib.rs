//! The digits model in a browser: what the page calls.
//!
//! Numbers of images are RGBA, 8 bits each, as a canvas takes them. Errors are JavaScript's, with this crate's text.
mod model;
mod training;

use ddim::gpu::GpuOptions;
use wasm_bindgen::prelude::*;

/// An open device.
#[wasm_bindgen]
pub struct Gpu(ddim::gpu::Gpu);

#[wasm_bindgen]
impl Gpu {
    /// Opens the browser's device.
    ///
    /// # Errors
    /// If the browser has none.
    pub async fn open() -> Result<Self, JsError> {
        Ok(Self(ddim::gpu::Gpu::new_async(&GpuOptions::default()).await?))
    }

    /// The adapter: its name, if the browser tells it, and whether it runs on the CPU.
    pub fn name(&self) -> String {
        let info = self.0.info();
        let name = if info.name.is_empty() { "a GPU without a name" } else { &info.name };
        match self.0.target().profile.is_software() {
            true => "software, on the CPU".into(),
            false => name.into(),
        }
    }
}

/// Prints panics and the crate's warnings to the console.
#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
    // Only a second logger is refused.
    let _ = console_log::init_with_level(log::Level::Warn);
}

/// Grey levels, -1 to 1, as RGBA.
fn rgba(pixels: &[f32]) -> Vec<u8> {
    let grey = |pixel: &f32| (pixel.clamp(-1.0, 1.0) * 127.5 + 127.5).round() as u8;
    pixels.iter().map(grey).flat_map(|grey| [grey, grey, grey, 255]).collect()
}
