//! What can go wrong.
use ddim::wgpu::hal::DeviceError;

/// Why nothing, or no figure, was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments.
    #[error(
        "usage: compilers check|write|robust CHIP [FOLDER], with CHIP one of {chips}, found {found:?}"
    )]
    Usage {
        /// What there is.
        chips: String,
        /// What was given.
        found: Vec<String>,
    },
    /// The loader found no driver.
    #[error("the Vulkan loader found no adapter: compilers/run starts this with the right driver")]
    NoAdapter,
    /// The driver gave no device.
    #[error("the driver gives no device: {0}")]
    Device(#[from] DeviceError),
    /// The driver refused something.
    #[error("the driver refuses: {0}")]
    Vulkan(#[from] ash::vk::Result),
    /// A name with a zero in it.
    #[error("an entry point's name: {0}")]
    Name(#[from] std::ffi::NulError),
    /// naga refused a kernel.
    #[error("naga refuses {kernel}: {message}")]
    Naga {
        /// Which.
        kernel: String,
        /// Why.
        message: String,
    },
    /// The library refused a graph.
    #[error(transparent)]
    Ddim(#[from] ddim::Error),
    /// A table could not be written.
    #[error("{0}")]
    Text(#[from] std::fmt::Error),
    /// A file could not be written.
    #[error("{0}")]
    File(#[from] std::io::Error),
    /// The results could not be written as JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}
