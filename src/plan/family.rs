//! The families of kernels.
use std::fmt;

/// A family of kernels: one way of computing an op. In alphabetical order, in which plans list
/// what was chosen.
///
/// Example: [`crate::plan::KernelSelector`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Matrices that a subgroup multiplies together, with operands rounded to f16:
    /// [`Target::cooperative_matrices`](super::Target::cooperative_matrices).
    Cooperative,
    /// One invocation adds all.
    Serial,
    /// Numbers go round a subgroup by shuffles, sums stay in registers.
    Subgroup,
    /// Tiles in workgroup memory: for every device.
    Tiled,
    /// A tree of sums in workgroup memory.
    Tree,
    /// [`Family::Subgroup`] with two numbers, 64 bits, to a load.
    Wide,
    /// Each lane holds a window of the image.
    Window,
    /// Minimal filtering of tiles of 2x4 pixels.
    Winograd,
    /// Minimal filtering of tiles of 2x2 pixels.
    WinogradNarrow,
}

impl Family {
    /// The name that plans, benches and the table print.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cooperative => "cooperative",
            Self::Serial => "serial",
            Self::Subgroup => "subgroup",
            Self::Tiled => "tiled",
            Self::Tree => "tree",
            Self::Wide => "wide",
            Self::Window => "window",
            Self::Winograd => "winograd",
            Self::WinogradNarrow => "winograd_narrow",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
