//! What is known of a device beyond its limits and features.
use std::{fmt, time::Duration};

/// Where kernels run.
///
/// Example: [`DeviceProfile`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// A CPU pretending to be a GPU (lavapipe, SwiftShader).
    Software,
    /// A GPU.
    #[default]
    Gpu,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Software => "software driver",
            Self::Gpu => "GPU",
        })
    }
}

/// Rates of a device.
///
/// Example: [`DeviceProfile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rates {
    /// Multiply-adds in f32 a second, of all cores together.
    pub multiply_adds: u64,
    /// Bytes a second between memory and cores.
    pub bytes: u64,
    /// What a launch costs that waits for the one before it.
    pub launch: Duration,
}

/// What kernels are chosen by, beyond limits and features. It steers speed alone: a plan runs on
/// every device that has what it needs.
///
/// ```
/// use ddim::plan::{DEPENDENT_LAUNCH, DeviceKind, DeviceProfile};
///
/// let card = DeviceProfile::named("NVIDIA GeForce RTX 4090").expect("a known GPU");
/// assert_eq!((card.kind, card.cores), (DeviceKind::Gpu, Some(128)));
/// let rates = card.rates.expect("known rates");
/// assert_eq!((rates.bytes, rates.launch), (1_008_000_000_000, DEPENDENT_LAUNCH));
/// // The GPU of a laptop is another one.
/// assert_eq!(DeviceProfile::named("NVIDIA GeForce RTX 4090 Laptop GPU"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceProfile {
    /// Where kernels run.
    pub kind: DeviceKind,
    /// The vendor's PCI id; 0 if it is not known.
    pub vendor: u32,
    /// Least and greatest size of a subgroup; 0 if it is not known.
    pub subgroups: [u32; 2],
    /// What a workgroup runs on, and how many there are: multiprocessors (NVIDIA), compute units
    /// (AMD), Xe-cores, GPU cores; processors of a software driver. None if it is not known.
    pub cores: Option<usize>,
    /// Multiply-adds in f32 that a core starts in a cycle; 0 if it is not known.
    pub lanes: u32,
    /// Registers of 32 bits that a core has; 0 if it is not known.
    pub core_registers: u32,
    /// Bytes of workgroup memory that a workgroup may have.
    pub workgroup_bytes: u32,
    /// Rates, where they are known.
    pub rates: Option<Rates>,
}

impl Default for DeviceProfile {
    fn default() -> Self {
        Self::GPU
    }
}

impl DeviceProfile {
    /// A GPU of which nothing else is known.
    pub const GPU: Self = Self {
        kind: DeviceKind::Gpu,
        vendor: 0,
        subgroups: [0, 0],
        cores: None,
        lanes: 0,
        core_registers: 0,
        workgroup_bytes: 16 << 10,
        rates: None,
    };

    /// A software driver of which nothing else is known.
    pub const SOFTWARE: Self = Self { kind: DeviceKind::Software, ..Self::GPU };

    pub(super) const NVIDIA: u32 = 0x10de;
    pub(super) const AMD: u32 = 0x1002;

    /// Registers of 32 bits that an invocation's tiles may fill. An invocation has 255 on NVIDIA and
    /// 256 on AMD, of which the compiler needs some; on a software driver the stack is as good.
    /// Elsewhere it has 128 (Apple), 192 (Adreno), or as many as the subgroup's size leaves (Intel).
    pub fn registers(&self) -> u32 {
        let many = self.is_software() || [Self::NVIDIA, Self::AMD].contains(&self.vendor);
        if many { 240 } else { 128 }
    }

    /// Whether kernels run on a CPU.
    pub fn is_software(&self) -> bool {
        self.kind == DeviceKind::Software
    }
}
