//! Models: networks from noisy images to a prediction.
use super::{Adapters, Layers, ParameterSpec, trace};
use crate::{
    error::Error,
    graph::Graph,
    value::{ElementType, TensorType, Value},
};

/// Inputs of a model.
///
/// Example: [`Model`].
#[derive(Clone, Copy, Debug)]
pub struct ModelInputs {
    /// Noisy images `f32[batch, height, width, channels]`.
    pub x: Value,
    /// `f32[batch]`.
    pub timesteps: Value,
    /// Labels and context.
    pub condition: Condition,
}

/// Conditioning: each part is there if the model takes it.
///
/// Example: [`crate::nn::FrozenModel`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Condition {
    /// Class labels of the type [`Model::label_type`].
    pub labels: Option<Value>,
    /// Tokens to attend to, of the type [`Model::context_type`].
    pub context: Option<Value>,
    /// Vectors beside them, of the type [`Model::vector_type`].
    pub vector: Option<Value>,
}

impl Condition {
    /// Adds inputs for the parts that the model takes with `batch` images.
    pub fn inputs(graph: &mut Graph, model: &dyn Model, batch: usize) -> Self {
        let labels = model.label_type(batch).map(|of| graph.input(of));
        let context = model.context_type(batch).map(|of| graph.input(of));
        let vector = model.vector_type(batch).map(|of| graph.input(of));
        Self { labels, context, vector }
    }

    /// As [`Condition::inputs`], of a graph that runs many steps: what follows from context and vectors is
    /// computed once after they are written.
    pub fn constants(graph: &mut Graph, model: &dyn Model, batch: usize) -> Self {
        let condition = Self::inputs(graph, model, batch);
        graph.constants.extend([condition.context, condition.vector].into_iter().flatten());
        condition
    }

    /// Checks that the parts are those that the model takes with `batch` images.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check(&self, graph: &Graph, model: &dyn Model, batch: usize) -> Result<(), Error> {
        let of = |part: Option<Value>| part.map(|value| graph.type_of(value));
        let (expected, found) = (model.label_type(batch), of(self.labels));
        if expected != found {
            return Err(Error::Labels { expected, found });
        }
        let (expected, found) = (model.context_type(batch), of(self.context));
        if expected != found {
            return Err(Error::Context { expected, found });
        }
        let (expected, found) = (model.vector_type(batch), of(self.vector));
        if expected != found {
            return Err(Error::Vector { expected, found });
        }
        Ok(())
    }
}

/// A network that predicts from noisy images.
///
/// ```
/// # use ddim::{Error, ops::Conv2d, value::{TensorType, Value}};
/// use ddim::nn::{Layers, Model, ModelInputs, parameters};
///
/// /// One convolution, whatever the timestep.
/// struct Small;
///
/// impl Model for Small {
///     fn channels(&self) -> usize {
///         3
///     }
///
///     fn build(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
///         layers.conv2d("conv", inputs.x, 3, 3, Conv2d { stride: 1, padding: [1; 4] })
///     }
/// }
///
/// let found = parameters(&Small, [1, 8, 8])?;
/// assert_eq!((found[0].name.as_str(), found[1].name.as_str()), ("conv.weight", "conv.bias"));
/// assert_eq!(found[0].of, TensorType::f32(&[3, 3, 3, 3]));
/// # Ok::<(), ddim::Error>(())
/// ```
pub trait Model {
    /// Channels of the images.
    fn channels(&self) -> usize;

    /// Channels of the prediction: those of the images, or twice as many if the model learns
    /// variances.
    fn out_channels(&self) -> usize {
        self.channels()
    }

    /// Type of the labels of `batch` images, if the model takes any.
    fn label_type(&self, batch: usize) -> Option<TensorType> {
        let _ = batch;
        None
    }

    /// Type of the context of `batch` images, `[batch, tokens, channels]`, if the model takes any.
    fn context_type(&self, batch: usize) -> Option<TensorType> {
        let _ = batch;
        None
    }

    /// Type of the vectors of `batch` images, `[batch, width]`, if the model takes any: SDXL's pooled text
    /// and sizes.
    fn vector_type(&self, batch: usize) -> Option<TensorType> {
        let _ = batch;
        None
    }

    /// Number of classes, if labels are their numbers: rows of a table, or what a classifier tells.
    fn classes(&self) -> Option<usize> {
        None
    }

    /// The adapters of its layers. Their parameters are not among the model's own, and training changes
    /// them alone.
    fn adapters(&self) -> Option<&Adapters> {
        None
    }

    /// Appends the model and returns its prediction, `[batch, height, width, out_channels]`; that of a
    /// classifier is `[batch, out_channels]`.
    ///
    /// # Errors
    /// If the inputs do not fit it, or a parameter is missing.
    fn build(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error>;
}

/// The parameters of a model for `[batch, height, width]` images, in the order in which it asks for
/// them, without those of adapters.
///
/// # Errors
/// If the model cannot be built at this size.
///
/// Example: [`Model`].
pub fn parameters(model: &dyn Model, size: [usize; 3]) -> Result<Vec<ParameterSpec>, Error> {
    let [batch, height, width] = size;
    let (parameters, _) = trace(Graph::new(), |layers| {
        let x = layers.graph.input(TensorType::f32(&[batch, height, width, model.channels()]));
        let timesteps = layers.graph.input(TensorType::f32(&[batch]));
        let condition = Condition::inputs(layers.graph, model, batch);
        model.build(layers, &ModelInputs { x, timesteps, condition })
    })?;
    Ok(parameters)
}

/// How a model's numbers are stored. Arithmetic is f32 whatever the storage, unless the caller allows
/// [more](crate::plan::Arithmetic); each number is rounded once where it is written: by at most 2^-11 of
/// itself as f16 (whose largest number is 65,504), 2^-8 as bf16.
///
/// Example: [`crate::nn::FrozenModel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ElementTypes {
    /// Kernels, matrices and tables: see [`Arenas::stored`](super::Arenas::stored).
    pub weights: ElementType,
    /// What passes from layer to layer.
    pub activations: ElementType,
}

impl ElementTypes {
    /// Both in this storage.
    pub fn of(element: ElementType) -> Self {
        Self { weights: element, activations: element }
    }
}

impl Default for ElementTypes {
    fn default() -> Self {
        Self::of(ElementType::F32)
    }
}
