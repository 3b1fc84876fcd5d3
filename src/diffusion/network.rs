//! What a sampler asks of a model.
use crate::{
    error::Error,
    graph::Graph,
    unet::{TrainedUNet, UNetInputs},
    value::{TensorType, Value},
};

/// What a network predicts from.
#[derive(Clone, Copy, Debug)]
pub struct NetworkInputs {
    /// Noisy images `f32[batch, height, width, channels]`.
    pub x: Value,
    /// `f32[batch]`: what the table of the run says, the same for all images.
    pub timesteps: Value,
    /// Labels of the type that [`Network::labels`] gives.
    pub labels: Option<Value>,
}

/// A network in a graph.
pub struct BuiltNetwork<'a> {
    /// What it predicts: `[batch, height, width, channels]`, or twice the channels if it has
    /// learned variances.
    pub output: Value,
    /// Inputs that it added to the graph, and what to write to them once.
    pub weights: Vec<(Value, &'a [f32])>,
}

/// A network that samplers take: equations from noisy images to a prediction.
pub trait Network {
    /// Channels of the images.
    fn channels(&self) -> usize;

    /// Type of the labels of `batch` images, if it takes any.
    fn labels(&self, batch: usize) -> Option<TensorType> {
        let _ = batch;
        None
    }

    /// How many labels there are, counted from 0, where they are numbers of a table.
    fn classes(&self) -> Option<u32> {
        None
    }

    /// Appends the network to `graph`. Its weights are best inputs that are held: see
    /// [`Graph::held`].
    ///
    /// # Errors
    /// If the inputs do not fit it.
    fn build(&self, graph: &mut Graph, inputs: NetworkInputs) -> Result<BuiltNetwork<'_>, Error>;
}

impl Network for TrainedUNet<'_> {
    fn channels(&self) -> usize {
        self.unet.config().in_channels
    }

    fn labels(&self, batch: usize) -> Option<TensorType> {
        self.unet.label_type(batch)
    }

    fn classes(&self) -> Option<u32> {
        let config = self.unet.config();
        let table = config.class_embed_type.is_none();
        config.num_class_embeds.filter(|_| table).map(|classes| classes as u32)
    }

    fn build(&self, graph: &mut Graph, inputs: NetworkInputs) -> Result<BuiltNetwork<'_>, Error> {
        let NetworkInputs { x, timesteps, labels } = inputs;
        let arenas = self.layout.inputs(graph);
        let views = self.layout.views(graph, &arenas)?;
        let inputs = UNetInputs { x, timesteps, labels, key: None };
        let output = self.unet.build(graph, inputs, &views)?;
        let contents = self.arenas.iter().map(Vec::as_slice);
        Ok(BuiltNetwork { output, weights: arenas.into_iter().zip(contents).collect() })
    }
}
