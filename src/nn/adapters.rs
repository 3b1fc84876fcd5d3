//! Adapters of layers, LoRA: Hu et al. 2021 (arXiv:2106.09685), equation 3. With an adapter of rank `r` a layer of
//! `x` gives
//!
//! ```text
//! h = W0 x + alpha / r B A x
//! ```
//!
//! where `W0` is the layer's own weight, which stays as it is. Of a convolution, `A` is a convolution with its
//! kernel, stride and padding to `r` channels, and `B` one of 1x1.
use super::{Initial, ParameterSource, ParameterSpec, Views, Weights};
use crate::{
    error::Error,
    graph::Graph,
    ops::Scale,
    value::{Shape, TensorType},
};
use std::{borrow::Cow, sync::Arc};

/// `A` of an adapter, after the layer's name, as peft calls it: `[in, rank]`, of a convolution
/// `[height, width, in, rank]`.
///
/// Example: [`Adapters`].
pub const LORA_DOWN: &str = "lora_A.weight";
/// `B`: `[rank, out]`, of a convolution `[1, 1, rank, out]`.
///
/// Example: [`Adapters`].
pub const LORA_UP: &str = "lora_B.weight";

/// Low-rank products beside some layers of a network.
///
/// ```
/// # use ddim::{graph::Graph, nn::trace, value::TensorType};
/// use ddim::nn::{AdaptedWeights, Adapters, LORA_DOWN, LORA_UP, ParameterSource, Weights};
///
/// let (parameters, _) = trace(Graph::new(), |layers| {
///     let x = layers.graph.input(TensorType::f32(&[8, 4]));
///     layers.linear("to_q", x, 6)
/// })?;
/// let adapters = Adapters::of(&parameters, |layer| layer == "to_q", 2, 4.0);
/// let names = [LORA_DOWN, LORA_UP].map(|name| format!("to_q.{name}"));
/// assert!(adapters.specs.iter().map(|spec| &spec.name).eq(&names));
/// assert_eq!((adapters.specs[1].of, adapters.scale), (TensorType::f32(&[2, 6]), 2.0));
/// let base = std::sync::Arc::new(Weights::initial(&parameters, 7));
/// let weights = AdaptedWeights { base, adapters: Weights::initial(&adapters.specs, 7) };
/// assert_eq!(weights.names().len(), 4);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Adapters {
    /// The matrices, [`LORA_DOWN`] and [`LORA_UP`] of each of these layers.
    pub specs: Vec<ParameterSpec>,
    /// `alpha / r`; 1 where the second matrices hold it.
    pub scale: f64,
}

impl Adapters {
    /// New adapters of one rank for those layers of a network with these parameters whose names `chosen` takes. They
    /// add nothing yet: section 4.1 draws `A`, with peft's deviation of `1 / r`, and begins with a `B` of zeros.
    pub fn of(
        parameters: &[ParameterSpec],
        chosen: impl Fn(&str) -> bool,
        rank: usize,
        alpha: f64,
    ) -> Self {
        let mut specs = Vec::new();
        for ParameterSpec { name, of, .. } in parameters {
            let Some(layer) = name.strip_suffix(".weight").filter(|layer| chosen(layer)) else {
                continue;
            };
            let up = match of.shape.len() {
                2 => TensorType::f32(&[rank, of.shape.last()]),
                4 => TensorType::f32(&[1, 1, rank, of.shape.last()]),
                _ => continue,
            };
            let (down, deviation) = (of.with_last(rank), 1.0 / rank as f64);
            for (name, of, initial) in [
                (LORA_DOWN, down, Initial::Normal(deviation)),
                (LORA_UP, up, Initial::Constant(0.0)),
            ] {
                specs.push(ParameterSpec { name: format!("{layer}.{name}"), of, initial });
            }
        }
        Self { specs, scale: alpha / rank as f64 }
    }

    /// The values of these parameters as layers read them: the second matrices times the scale.
    ///
    /// # Errors
    /// If the values are of another graph.
    pub fn scaled(&self, graph: &mut Graph, mut views: Views) -> Result<Views, Error> {
        if self.scale == 1.0 {
            return Ok(views);
        }
        let op = Scale { scale: self.scale.into(), shift: 0.0.into() };
        for ParameterSpec { name, .. } in &self.specs {
            if let Some(up) = views.get(name).filter(|_| name.ends_with(LORA_UP)) {
                views.insert(name, graph.push(op, &[up])?);
            }
        }
        Ok(views)
    }
}

/// The parameters of a model with those of its adapters.
///
/// Example: [`Adapters`].
#[derive(Clone, Debug)]
pub struct AdaptedWeights {
    /// The model's own.
    pub base: Arc<dyn ParameterSource>,
    /// Those of the adapters.
    pub adapters: Weights,
}

impl ParameterSource for AdaptedWeights {
    fn names(&self) -> Vec<&str> {
        [self.base.names(), self.adapters.names()].concat()
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        self.adapters.shape(name).or_else(|| self.base.shape(name))
    }

    fn elements(&self, name: &str) -> Result<Cow<'_, [f32]>, Error> {
        match self.adapters.get(name) {
            Some(of) => Ok(Cow::Borrowed(&of.data)),
            None => self.base.elements(name),
        }
    }
}
