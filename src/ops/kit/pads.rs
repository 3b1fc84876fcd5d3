//! Zeros in the pad lanes of what a custom shader wrote.
use crate::{
    plan::Dispatch,
    shaders::pads as shader,
    value::{TensorType, Value},
};

/// Zeroes the pad lanes of `y`; nothing to do where it has none.
pub(in crate::ops) fn zero(y: Value, of: TensorType) -> Option<Dispatch> {
    let columns = of.shape.last();
    if columns == of.pitch() || of.rows() == 0 {
        return None;
    }
    let elements = 4 / of.element.bytes();
    let params = shader::Params {
        rows: of.rows() as u32,
        pitch: (of.pitch() / elements) as u32,
        kept: (columns / elements) as u32,
        mask: if columns.is_multiple_of(elements) { 0 } else { 0xffff },
    };
    Some(shader::Forward { y }.over(params, of.rows()).of_bits())
}
