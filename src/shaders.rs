//! The Rust side of the WGSL in `shaders/`, written by the build script from the WGSL alone: per
//! file a module with its parameters, its overrides, and one struct per entry point with one
//! field per buffer, that becomes a [`Dispatch`](crate::plan::Dispatch).
//!
//! ```
//! use ddim::{graph::Graph, shaders::{ALL, silu}, value::TensorType};
//!
//! let mut graph = Graph::new();
//! let of = TensorType::f32(&[100, 8]);
//! let [x, y] = [(); 2].map(|()| graph.input(of));
//! let params = silu::Params { vectors: of.vectors() as u32 };
//! let dispatch = silu::Forward { x, y }.over(params, of.vectors());
//! assert_eq!(dispatch.workgroups, [4, 1, 1]); // 200 vec4s, 64 a workgroup
//! assert!(ALL.iter().any(|shader| shader.source == dispatch.kernel.source));
//! ```

/// A shader as the build script saw it; [`ALL`] lists them.
///
/// ```
/// use ddim::shaders::ALL;
///
/// let silu = ALL.iter().find(|shader| shader.name == "silu").expect("silu.wgsl");
/// assert!(silu.source.contains("fn forward"));
/// let forward = silu.entries.iter().find(|entry| entry.name == "forward").expect("its entry");
/// assert_eq!(forward.bindings, 2);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Shader {
    /// The file's name, without extension.
    pub name: &'static str,
    /// WGSL with its imports, without prelude.
    pub source: &'static str,
    /// Its entry points.
    pub entries: &'static [Entry],
    /// Pipeline constants and their defaults.
    pub overrides: &'static [(&'static str, f64)],
    /// Constants of the prelude and their defaults.
    pub tiles: &'static [(&'static str, u32)],
}

/// An entry point of a [`Shader`].
///
/// Example: [`Shader`].
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// How many storage buffers it uses.
    pub bindings: usize,
    /// The overrides that say which of its optional operands are there.
    pub optional: &'static [&'static str],
}

/// Iterations of a loop that halves `lanes` until there is one, its last look included: what the
/// shaders say of their trees.
fn halvings(lanes: u128) -> u128 {
    u128::from(lanes.max(1).ilog2()) + 1
}

pub use generated::*;

#[allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    clippy::derivable_impls,
    clippy::doc_lazy_continuation,
    reason = "the comments are the shaders' own, written for readers of WGSL"
)]
mod generated {
    use crate::shaders::{Entry, Shader};
    include!(concat!(env!("OUT_DIR"), "/shaders.rs"));
}
