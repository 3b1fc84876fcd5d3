//! Products of matrices by subgroups: `shaders/product_subgroup.wgsl`, and `product_wide.wgsl`,
//! which loads two numbers at a time.
use crate::{
    ops::{
        Lowering,
        conv2d::{Extents, Operands},
    },
    plan::{Candidate, Dispatch, Family, Packed, fold},
    shaders::{panels, product_subgroup, product_wide},
    value::{ElementType, TensorType, Value},
};

/// Fewest rows of x for which a weight in halves is widened in each run. By estimate that takes as long as it saves with 40.
const WIDENED_ROWS: usize = 64;

/// The panels of a weight: the form that subgroups read, `depth` rows of a lane side by side. Pairs are of f32.
pub(super) fn panels(lowering: &mut Lowering, lanes: u32, depth: u32, weight: Value) -> Packed {
    let of = lowering.type_of(weight);
    let element = if depth == 1 { of.element } else { ElementType::F32 };
    // Weights in halves are there to save memory.
    let kept = of.element == element;
    let (rows, columns4) = (of.rows(), of.pitch() / 4);
    let width = 4 * lanes as usize;
    let panels = TensorType::f32(&[of.pitch().div_ceil(width), rows, width]);
    let name = if depth == 1 { "panels" } else { "panels of pairs" };
    let form = lowering.packed(weight, name, panels.with_element(element), kept);
    let overrides = panels::Overrides { width: lanes, ..Default::default() };
    let params = panels::Params { rows: rows as u32, columns4: columns4 as u32, depth };
    let grid = fold((rows * columns4).div_ceil(overrides.workgroup as usize));
    let kernel = panels::Forward { weight, panels: form };
    Packed { of: weight, form, dispatch: kernel.dispatch(params, overrides, grid), kept }
}

/// Matrix products of one shape, one per pair of matrices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    /// Pairs.
    pub batch: usize,
    /// Rows of x and y.
    pub rows: usize,
    /// Columns of x, rows of the weight.
    pub in_channels: usize,
    /// Columns of the weight and of y.
    pub out_channels: usize,
}

impl Product {
    /// The products by subgroups of this size, of weights of this [`depth`].
    pub fn dispatch(&self, lanes: u32, depth: u32, operands: &Operands) -> Dispatch {
        let most = (32 / lanes).min(4);
        let rows_per_lane = (self.rows.div_ceil(lanes as usize) as u32).clamp(most.min(2), most);
        let row_groups = self.rows.div_ceil((lanes * rows_per_lane) as usize);
        let out_channels4 = self.out_channels.div_ceil(4) as u32;
        let params = product_subgroup::Params {
            rows: self.rows as u32,
            in_channels: self.in_channels as u32,
            split4: operands.split4 as u32,
            out_channels4,
            batch: self.batch as u32,
            row_groups: row_groups as u32,
            silu: operands.activated.into(),
            ..Default::default()
        };
        let Operands { x0, x1, weight, bias, residual, y, .. } = *operands;
        let [y_groups, z_groups, _] = fold(self.batch * row_groups);
        let grid = [out_channels4.div_ceil(lanes), y_groups, z_groups];
        if depth == 2 {
            let overrides = product_wide::Overrides { lanes, rows_per_lane };
            let kernel = product_wide::Forward { x0, x1, weight, bias, residual, y };
            return kernel.dispatch(params, overrides, grid);
        }
        let overrides = product_subgroup::Overrides { lanes, rows_per_lane };
        let kernel = product_subgroup::Forward { x0, x1, weight, bias, residual, y };
        kernel.dispatch(params, overrides, grid)
    }
}

/// The most rows of a weight that a lane can read at once, side by side in its form: two where it
/// reads pairs of numbers as integers of 64 bits.
pub(super) fn depth(lowering: &Lowering, operands: &Operands) -> u32 {
    let Operands { x0, x1, residual, y, .. } = *operands;
    let sources: Vec<Value> = [x0].into_iter().chain(x1).collect();
    let f32 = |value: Value| lowering.type_of(value).element == ElementType::F32;
    let others = [y].into_iter().chain(residual).all(f32);
    if others && lowering.in_pairs(&sources) { 2 } else { 1 }
}

/// Whether a convolution is a product of matrices, and nothing of it goes by the image.
pub(super) fn applies(extents: &Extents, operands: &Operands) -> bool {
    extents.is_product() && operands.embedding.is_none()
}

/// Both families.
pub(super) fn offer(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let lanes = lowering.target().subgroup.filter(|_| applies(extents, operands))?;
    let own = if family == Family::Wide { 2 } else { 1 };
    if own > depth(lowering, operands) {
        return None;
    }
    let is_wide = lowering.type_of(operands.weight).element == ElementType::F32;
    if own == 2 && !is_wide && extents.pixels() < WIDENED_ROWS {
        return None;
    }
    let Extents { in_channels, out_channels, .. } = *extents;
    let product = Product { batch: 1, rows: extents.pixels(), in_channels, out_channels };
    let packed = panels(lowering, lanes, own, operands.weight);
    let operands = Operands { weight: packed.form, ..*operands };
    let dispatch = product.dispatch(lanes, own, &operands);
    Some(Candidate::new(family, vec![dispatch]).with(packed))
}
