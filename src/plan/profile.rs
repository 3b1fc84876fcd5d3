//! What is known of a device beyond its limits and features.
use std::fmt;

/// Where kernels run.
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

/// What kernels are chosen by, beyond limits and features. It steers speed alone: a plan runs on
/// every device that has what it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceProfile {
    /// Where kernels run.
    pub kind: DeviceKind,
    /// The vendor's PCI id; 0 if it is not known.
    pub vendor: u32,
    /// Least and greatest size of a subgroup; 0 if it is not known.
    pub subgroups: [u32; 2],
    /// Processors of a software driver; none if it is not known.
    pub cores: Option<usize>,
}

impl DeviceProfile {
    /// A software driver of which nothing else is known.
    pub const SOFTWARE: Self =
        Self { kind: DeviceKind::Software, vendor: 0, subgroups: [0, 0], cores: None };

    /// Registers of 32 bits that an invocation's tiles may fill. An invocation has 255 on NVIDIA and
    /// 256 on AMD, of which the compiler needs some; on a software driver the stack is as good.
    /// Elsewhere it has 128 (Apple), 192 (Adreno), or as many as the subgroup's size leaves (Intel).
    pub fn registers(&self) -> u32 {
        const NVIDIA: u32 = 0x10de;
        const AMD: u32 = 0x1002;
        if self.is_software() || [NVIDIA, AMD].contains(&self.vendor) { 240 } else { 128 }
    }

    /// Whether kernels run on a CPU.
    pub fn is_software(&self) -> bool {
        self.kind == DeviceKind::Software
    }
}
