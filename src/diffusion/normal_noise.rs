//! Standard normal numbers of images, drawn on the device.
use crate::{
    error::Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{Counter, DrawNormal},
    passes,
    value::{TensorType, Value},
};

/// Draws standard normal numbers, keyed by seed, stream and the number of the image: an image's do not depend
/// on the batch.
pub(crate) struct NormalNoise {
    executor: Executor,
    key: Value,
    drawn: Value,
}

impl NormalNoise {
    /// Prepares to draw tensors of this type, whose first axis counts images.
    pub fn new(gpu: &Gpu, of: TensorType, stream: u32) -> Result<Self, Error> {
        let mut graph = Graph::new();
        let key = graph.input(Counter::of());
        let drawn = graph.push(DrawNormal { of, stream }, &[key])?;
        graph.outputs.push(drawn);
        let executor = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
        Ok(Self { executor, key, drawn })
    }

    /// The numbers of the images from `first_image` on.
    pub fn draw(&mut self, seed: u64, first_image: u32) -> Result<Vec<f32>, Error> {
        let counter = Counter { seed, first_image, ..Counter::default() };
        self.executor.write_u32(self.key, &counter.words())?;
        self.executor.run(1)?;
        self.executor.read(self.drawn)
    }
}
