//! Sums split among slots: partial results of fixed pieces, added in the order of the pieces, so
//! that a result has the same bits on every run.
use crate::{
    ops::Lowering,
    plan::{Dispatch, fold as fold_grid},
    shaders::fold_slots as shader,
    value::{TensorType, Value},
};

/// Where the `slots` partial results of `y` go: `y` itself if there is but one.
pub(in crate::ops) fn slots(lowering: &mut Lowering, slots: usize, y: Value) -> Value {
    if slots == 1 {
        return y;
    }
    let of = lowering.type_of(y);
    lowering.scratch(TensorType::f32(&[slots * of.rows(), of.shape.last()]))
}

/// Adds the slots of `partial` into `y`; nothing to do for one slot.
pub(in crate::ops) fn fold(
    lowering: &Lowering,
    slots: usize,
    partial: Value,
    y: Value,
) -> Option<Dispatch> {
    if slots == 1 {
        return None;
    }
    let elements4 = lowering.type_of(y).vectors();
    let (slots, elements4) = (slots as u32, elements4 as u32);
    let params = shader::Params { slots, elements4, ..Default::default() };
    let overrides = shader::Overrides::default();
    let grid = fold_grid(elements4.div_ceil(overrides.workgroup) as usize);
    Some(shader::Forward { partial, total: y }.dispatch(params, overrides, grid))
}

/// Adds the slots of two partial results into theirs, as many of each, in one launch; nothing to do
/// for one slot.
pub(in crate::ops) fn fold_both(
    lowering: &Lowering,
    slots: usize,
    [partial, total]: [Value; 2],
    [other_partial, other_total]: [Value; 2],
) -> Option<Dispatch> {
    let [elements4, other4] = [total, other_total].map(|y| lowering.type_of(y).vectors() as u32);
    let params = shader::Params { slots: slots as u32, elements4, other4 };
    let kernel = shader::Both { partial, total, other_partial, other_total };
    (slots > 1).then(|| kernel.over(params, (elements4 + other4) as usize))
}
