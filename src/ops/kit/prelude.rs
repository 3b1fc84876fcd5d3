//! What the file of nearly every op uses.
pub(in crate::ops) use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{
        Backward, Case, Counter, Dice, Gradients, Input, Lowering, MANY_IMAGES, Operator, Special,
        kit::{Check, Elementwise, ONE_WORKGROUP, display, elementwise_cost, example_key, fitted},
    },
    plan::{Cost, Dispatch, fold},
    reference::Tensor,
    value::{ElementType, Float, TensorType, Value},
};
