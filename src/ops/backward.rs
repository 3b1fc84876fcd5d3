//! What a gradient rule may ask and do.
use super::Op;
use crate::{
    error::Error,
    graph::Graph,
    plan::Scope,
    value::{TensorType, Value},
};

/// One entry per operand: its gradient, `None` where there is none.
///
/// Example: [`crate::ops::Operator`].
pub type Gradients = Vec<Option<Value>>;

/// The view that one equation's [`vjp`](super::Operator::vjp) has of the backward pass.
///
/// Example: [`crate::ops::Operator`].
pub struct Backward<'a> {
    graph: &'a mut Graph,
    cotangents: Vec<Option<Value>>,
    needs: Vec<bool>,
    scope: Scope,
}

impl<'a> Backward<'a> {
    /// For an equation of scope `scope` whose outputs have these cotangents and whose inputs
    /// need gradients where `needs` says so.
    pub fn new(
        graph: &'a mut Graph,
        cotangents: Vec<Option<Value>>,
        needs: Vec<bool>,
        scope: &Scope,
    ) -> Self {
        Self { graph, cotangents, needs, scope: scope.backward() }
    }

    /// Gradient that arrives at output `output`; `None` if nothing depends on it.
    pub fn cotangent(&self, output: usize) -> Option<Value> {
        self.cotangents[output]
    }

    /// Gradient that arrives at the output of an op that has one.
    ///
    /// # Panics
    /// If there is none: of an op with one output the pass asks only where there is.
    pub fn dy(&self) -> Value {
        let Some(dy) = self.cotangents[0] else { unreachable!("a gradient arrives") };
        dy
    }

    /// Whether anyone wants the gradient of input `input`.
    pub fn needs(&self, input: usize) -> bool {
        self.needs[input]
    }

    /// Type of a value.
    pub fn type_of(&self, value: Value) -> TensorType {
        self.graph.type_of(value)
    }

    /// Appends `op(inputs)` and returns its first output.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub fn push(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Result<Value, Error> {
        Ok(self.push_all(op, inputs)?[0])
    }

    /// Appends `op(inputs)` and returns all outputs.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub fn push_all(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Result<Vec<Value>, Error> {
        self.graph.push_scoped(op.into(), inputs, self.scope.clone())
    }
}
