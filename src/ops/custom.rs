//! What the dispatches of a custom op may bind.
use super::{Lowering, Operator, kit::pads};
use crate::{
    error::{Error, LoweringError},
    graph::Equation,
    plan::{Access, Dispatch},
    value::Value,
};
use std::collections::HashSet;

/// The values of a custom op's equation.
pub(super) struct Own {
    operands: HashSet<Value>,
    results: HashSet<Value>,
    /// Index of the first scratch value that belongs to it.
    first_scratch: usize,
    /// Results and scratch values that a dispatch has written.
    written: HashSet<Value>,
}

impl Lowering<'_> {
    /// Lowers the equation of a custom op, whose dispatches are held to what
    /// [`Operator::lower`] says.
    ///
    /// # Errors
    /// Those of the op; if a dispatch binds a value that it may not, or a result stays unwritten.
    pub(crate) fn custom(&mut self, equation: &Equation) -> Result<(), Error> {
        self.custom = Some(Own {
            operands: equation.inputs.iter().copied().collect(),
            results: equation.outputs.iter().copied().collect(),
            first_scratch: self.types.len(),
            written: HashSet::new(),
        });
        let result = equation.op.lower(self, equation);
        let own = self.custom.take();
        result?;
        let unwritten = |value: &&Value| {
            let written = own.as_ref().is_none_or(|own| own.written.contains(value));
            !written && self.type_of(**value).bytes() > 0
        };
        match equation.outputs.iter().find(unwritten) {
            None => Ok(()),
            Some(&value) => {
                let (kernel, problem) =
                    (equation.op.to_string(), "is a result that nothing writes");
                Err(LoweringError::Misbound { kernel, value, problem }.into())
            }
        }
    }

    /// Checks what a dispatch of a custom op binds, and notes what it writes.
    pub(super) fn check_custom(&mut self, dispatch: &Dispatch) -> Result<(), LoweringError> {
        let Some(own) = &self.custom else { return Ok(()) };
        let bound: Vec<(Value, Access)> =
            dispatch.bindings.iter().filter_map(|b| Some((b.value?, b.access))).collect();
        for (n, &(value, access)) in bound.iter().enumerate() {
            let scratch = (own.first_scratch..self.types.len()).contains(&value.index());
            let form = self.forms.values().any(|form| *form == value);
            let made = scratch || form || own.results.contains(&value);
            let shared = bound[..n].iter().any(|&(other, earlier)| {
                other == value && (earlier, access) != (Access::Read, Access::Read)
            });
            let written = own.written.contains(&value) || self.made.contains(&value);
            let problem = match access {
                _ if !made && !own.operands.contains(&value) => {
                    "is no operand, result or scratch value of the equation"
                }
                _ if shared => "is bound twice, once for writing or more",
                Access::Write if !made => "is an operand, which may only be read",
                Access::Read if made && !written => "is read before anything has written it",
                _ => continue,
            };
            let kernel = dispatch.kernel.to_string();
            return Err(LoweringError::Misbound { kernel, value, problem });
        }
        // An empty grid is not launched.
        if let Some(own) = self.custom.as_mut().filter(|_| !dispatch.workgroups.contains(&0)) {
            let written = bound.into_iter().filter(|(_, access)| *access == Access::Write);
            own.written.extend(written.map(|(value, _)| value));
        }
        Ok(())
    }

    /// The dispatches that zero the pad lanes of what a custom one writes.
    pub(super) fn pads(&self, dispatch: &Dispatch) -> Vec<Dispatch> {
        if !dispatch.is_custom() || dispatch.zeroes_pads {
            return Vec::new();
        }
        let written = dispatch.bindings.iter().filter(|binding| binding.access == Access::Write);
        let values = written.filter_map(|binding| binding.value);
        values.filter_map(|value| pads::zero(value, self.type_of(value))).collect()
    }
}
