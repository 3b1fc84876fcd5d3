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

    /// Whether kernels run on a CPU.
    pub fn is_software(&self) -> bool {
        self.kind == DeviceKind::Software
    }
}
