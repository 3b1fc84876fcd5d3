//! `shaders/conv2d_cooperative.wgsl`: matrices that a subgroup multiplies together, for whoever allows operands to be
//! rounded to f16.
use super::direct;
use crate::{
    ops::{
        Lowering,
        conv2d::{Extents, Operands},
    },
    plan::{Candidate, CooperativeMatrices, Family},
    shaders::conv2d_cooperative::{Forward, Overrides},
    value::{ElementType, Value},
};

/// Pixels, and channels, of a workgroup, the most first.
const SIDES: [u32; 2] = [64, 32];

/// Most invocations of a workgroup: WebGPU's limit on every device.
const MOST_LANES: u32 = 256;

/// The largest workgroup, whose subgroups hold two by two matrices each. It has an invocation for each vec4 of a row of
/// weights, at least.
fn workgroup(CooperativeMatrices { edge, subgroup }: CooperativeMatrices) -> Option<Overrides> {
    let mut sides = SIDES.into_iter().map(|side| {
        let beside = side / (2 * edge);
        Overrides { edge, side, lanes: beside * beside * subgroup }
    });
    sides.find(|of| (of.side / 4..=MOST_LANES).contains(&of.lanes))
}

/// Where the device has such matrices. A plan that trains has them for operands that are stored as f16 alone: their
/// gradients have a loss scale, and those in f32 are too small for f16.
pub(super) fn offer(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let overrides = workgroup(lowering.target().cooperative_matrices?)?;
    let Operands { x0: x, weight, bias, embedding, residual, y, .. } = *operands;
    let is_f16 = |value: Value| lowering.type_of(value).element == ElementType::F16;
    let rounds = !is_f16(x) || !is_f16(weight);
    if lowering.trains() && rounds {
        return None;
    }
    let extent = [overrides.side, overrides.side / 4];
    let (params, grid) = direct::params(lowering, extents, operands, extent);
    let kernel = Forward { x, weight, bias, embedding, residual, y };
    Some(Candidate::new(family, vec![kernel.dispatch(params, overrides, grid)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workgroups_of_every_subgroup_fetch_whole_rows() {
        for edge in [8, 16] {
            for subgroup in [4, 8, 16, 32, 64] {
                let of = workgroup(CooperativeMatrices { edge, subgroup });
                let Overrides { side, lanes, .. } = of.expect("one of them fits");
                // Each invocation fetches as many vec4s of either tile.
                let rows_of_x_and_weight = [8, side / 4];
                assert!((side * 8).is_multiple_of(lanes));
                assert!(rows_of_x_and_weight.iter().all(|&vectors| lanes.is_multiple_of(vectors)));
            }
        }
        let wide = CooperativeMatrices { edge: 16, subgroup: 32 };
        assert_eq!(workgroup(wide), Some(Overrides { edge: 16, side: 64, lanes: 128 }));
    }
}
