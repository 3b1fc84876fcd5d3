//! Classifier-free guidance: Ho and Salimans 2022.
use crate::{error::Error, graph::Graph, ops::Guide, value::Value};

/// Classifier-free guidance: each image is predicted twice in one batch, without and with its
/// label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance {
    /// `e = u + scale (c - u)`: 1 follows the label as it was trained.
    pub scale: f64,
    /// Share of the prediction that is brought back to the deviation of `c`: 0 to 1.
    pub rescale: f64,
    /// The label that stands for none.
    pub null_label: u32,
}

impl Guidance {
    /// Imagen's and diffusers' scale: `u + scale (c - u)`.
    pub fn of_scale(scale: f64, null_label: u32) -> Self {
        Self { scale, rescale: 0.0, null_label }
    }

    /// Ho and Salimans' weight, *Classifier-Free Diffusion Guidance* (2022), equation 6:
    /// `(1 + w) c - w u`, which is a scale of `1 + w`.
    pub fn ho_salimans(w: f64, null_label: u32) -> Self {
        Self::of_scale(1.0 + w, null_label)
    }

    /// The guided prediction from those of twice the images, the ones without a label first.
    pub(super) fn apply(
        &self,
        graph: &mut Graph,
        predictions: Value,
        channels: usize,
    ) -> Result<Value, Error> {
        let Self { scale, rescale, .. } = *self;
        graph.push(Guide { scale: scale.into(), rescale: rescale.into(), channels }, &[predictions])
    }
}
