//! Standard normal numbers of images, drawn on the device.
use crate::{
    error::Error,
    gpu::{DeviceTensor, Executor, Gpu},
    graph::Graph,
    ops::{Counter, DrawNormal, Scale},
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
    /// Prepares to draw tensors of this type, whose first axis counts images, of this standard deviation.
    pub fn new(gpu: &Gpu, of: TensorType, stream: u32, deviation: f64) -> Result<Self, Error> {
        let mut graph = Graph::new();
        let key = graph.input(Counter::of());
        let mut drawn = graph.push(DrawNormal { of, stream }, &[key])?;
        if deviation != 1.0 {
            drawn = graph.push(Scale { scale: deviation.into(), shift: 0.0.into() }, &[drawn])?;
        }
        graph.outputs.push(drawn);
        let executor = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
        Ok(Self { executor, key, drawn })
    }

    /// The numbers of the images from `first_image` on.
    pub fn draw(&mut self, seed: u64, first_image: u32) -> Result<Vec<f32>, Error> {
        self.draw_on_device(seed, first_image)?;
        self.executor.read(self.drawn)
    }

    /// The same on the device, until the next are drawn.
    pub fn draw_on_device(&mut self, seed: u64, first_image: u32) -> Result<DeviceTensor, Error> {
        let counter = Counter { seed, first_image, ..Counter::default() };
        self.executor.write_u32(self.key, &counter.words())?;
        self.executor.run(1)?;
        self.executor.tensor(self.drawn)
    }
}
