//! Matrices that subgroups multiply, and the workgroups that hold them.
use std::fmt;

/// Pixels, and channels, of a workgroup, the most first.
const SIDES: [u32; 2] = [64, 32];

/// Most invocations of a workgroup: WebGPU's limit on every device.
const MOST_LANES: u32 = 256;

/// Square matrices that a subgroup multiplies together, on the matrix units of a GPU: f16 operands, f32 sums.
///
/// ```
/// # use ddim::{graph::Graph, ops::Linear, passes, value::TensorType};
/// use ddim::plan::{CooperativeMatrices, DeviceProfile, Family, OpClass, Target};
///
/// let mut graph = Graph::new();
/// let [x, weight] = [[4096, 512], [512, 512]].map(|of| graph.input(TensorType::f32(&of)));
/// let y = graph.push(Linear, &[x, weight])?;
/// graph.outputs.push(y);
/// let card = Target::of(DeviceProfile::named("RTX 4090").expect("a known GPU"));
/// let matrices = Some(CooperativeMatrices { edge: 16, subgroup: 32 });
/// let plan = passes::compile(&graph, &Target { cooperative_matrices: matrices, ..card.clone() })?;
/// assert_eq!(plan.choices[&(OpClass::Product, Family::Cooperative)], 1);
/// assert_eq!(plan.lacks(&card).len(), 1);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CooperativeMatrices {
    /// Rows and columns of each: 8 or 16.
    pub edge: u32,
    /// Invocations of a subgroup.
    pub subgroup: u32,
}

impl fmt::Display for CooperativeMatrices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { edge, subgroup } = self;
        write!(f, "{edge}x{edge} by {subgroup} lanes")
    }
}

impl CooperativeMatrices {
    /// Pixels and invocations of the largest workgroup of `shaders/conv2d_cooperative.wgsl`, whose subgroups hold two by two
    /// matrices each. It has an invocation for each vec4 of a row of weights, at least.
    pub(crate) fn workgroup(self) -> Option<[u32; 2]> {
        let mut sides = SIDES.into_iter().map(|side| {
            let beside = side / (2 * self.edge);
            [side, beside * beside * self.subgroup]
        });
        sides.find(|[side, lanes]| (side / 4..=MOST_LANES).contains(lanes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workgroups_of_every_subgroup_fetch_whole_rows() {
        for edge in [8, 16] {
            for subgroup in [4, 8, 16, 32, 64] {
                let of = CooperativeMatrices { edge, subgroup }.workgroup();
                let [side, lanes] = of.expect("one of them fits");
                // Each invocation fetches as many vec4s of either tile.
                let rows_of_x_and_weight = [8, side / 4];
                assert!((side * 8).is_multiple_of(lanes));
                assert!(rows_of_x_and_weight.iter().all(|&vectors| lanes.is_multiple_of(vectors)));
            }
        }
        let wide = CooperativeMatrices { edge: 16, subgroup: 32 };
        assert_eq!(wide.workgroup(), Some([64, 128]));
    }
}
