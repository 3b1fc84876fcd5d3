//! The layout of heads that the kernels read.
use super::Extents;
use crate::{
    error::Error,
    ops::Lowering,
    shaders::heads as shader,
    value::{TensorType, Value},
};

/// Moves tokens between their own layout and one where every head begins at a `vec4`.
pub(super) struct Heads(pub(super) Extents);

impl Heads {
    fn params(&self, of: TensorType) -> shader::Params {
        shader::Params {
            tokens: of.rows() as u32,
            heads: self.0.heads as u32,
            head_size: self.0.head_size as u32,
            channels4: (of.pitch() / 4) as u32,
            head4: self.0.head4() as u32,
        }
    }

    /// A place for a tensor like `value` in the kernels' layout: itself if the layouts agree.
    pub fn place(&self, lowering: &mut Lowering, value: Value) -> Value {
        if !self.0.heads_touch() {
            return value;
        }
        let of = lowering.type_of(value);
        let apart = of.with_shape(&[of.rows(), self.0.heads, self.0.head_size]);
        lowering.scratch(apart)
    }

    /// These values in the kernels' layout.
    pub fn separate<const N: usize>(
        &self,
        lowering: &mut Lowering,
        mut values: [Value; N],
    ) -> Result<[Value; N], Error> {
        for value in &mut values {
            let (together, apart_out) = (*value, self.place(lowering, *value));
            if apart_out != together {
                let params = self.params(lowering.type_of(together));
                let vectors = lowering.type_of(apart_out).vectors();
                let kernel = shader::Separate { together, apart_out };
                lowering.push(kernel.over(params, vectors))?;
            }
            *value = apart_out;
        }
        Ok(values)
    }

    /// Fills `value` from its [`Heads::place`].
    pub fn join(&self, lowering: &mut Lowering, apart: Value, value: Value) -> Result<(), Error> {
        if apart != value {
            let of = lowering.type_of(value);
            let kernel = shader::Join { apart, together_out: value };
            lowering.push(kernel.over(self.params(of), of.vectors()))?;
        }
        Ok(())
    }
}
