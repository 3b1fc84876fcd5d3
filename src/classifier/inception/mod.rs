//! Features of InceptionV3, as torch-fidelity and pytorch-fid compute them.
mod folded;
mod resizing;

pub use resizing::Resizing;

use crate::{
    error::{Error, TrainingError},
    gpu::{Executor, Gpu},
    graph::Graph,
    models::inception::Inception,
    nn::{Arenas, Layers},
    passes,
    value::{TensorType, Value},
    weights::{self, TensorFile},
};
use folded::Folded;
use std::path::Path;

/// InceptionV3 on a device.
///
/// ```no_run
/// use ddim::{classifier::{InceptionFeatures, Resizing}, data::{Dataset, Moments}};
/// use ddim::models::inception::Inception;
/// # use ddim::gpu::{Gpu, GpuOptions};
///
/// let gpu = Gpu::new(&GpuOptions::default())?;
/// let weights = "pt_inception-2015-12-05-6726825d.pth".as_ref();
/// let mut network = InceptionFeatures::open(&gpu, weights, 4)?;
/// let mut moments = |images: &str| {
///     let images = Dataset::open(images.as_ref(), None)?;
///     let shape = [images.height(), images.width(), images.channels()];
///     let resizing = Resizing::TorchFidelity;
///     let features = network.features(&images.images(), shape, resizing, |_| {})?;
///     let features = features.into_iter().map(f64::from).collect();
///     Ok::<_, ddim::Error>(Moments::of_vectors(features, Inception::FEATURES)?)
/// };
/// println!("Frechet distance {}", moments("real")?.distance(&moments("generated")?));
/// # Ok::<(), ddim::Error>(())
/// ```
pub struct InceptionFeatures {
    executor: Executor,
    x: Value,
    features: Value,
    batch: usize,
}

impl InceptionFeatures {
    /// Opens the weights that torch-fidelity and pytorch-fid download (`..inception-2015-12-05-6726825d.pth`), or the
    /// same tensors in another file of weights, to look at `batch` images at a time.
    ///
    /// # Errors
    /// If the file cannot be read or is of another network, or the batch does not fit the device.
    pub fn open(gpu: &Gpu, path: &Path, batch: usize) -> Result<Self, Error> {
        Self::of_file(gpu, path, &*weights::open(path)?, batch)
    }

    /// As [`InceptionFeatures::open`], of an open file; `path` is for the errors alone.
    ///
    /// # Errors
    /// As [`InceptionFeatures::open`].
    pub fn of_file(
        gpu: &Gpu,
        path: &Path,
        file: &dyn TensorFile,
        batch: usize,
    ) -> Result<Self, Error> {
        let weights = Folded::new(path, file)?;
        let arenas = Arenas::new(Inception.parameters()?, gpu.target().max_binding);
        let mut graph = Graph::new();
        let x = graph.input(TensorType::f32(&[batch, Inception::SIDE, Inception::SIDE, 3]));
        let inputs = arenas.inputs(&mut graph);
        let views = arenas.views(&mut graph, &inputs)?;
        let features = Inception.build(&mut Layers::new(&mut graph, &views, None), x)?;
        graph.outputs = vec![features];
        let mut executor = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
        for (&arena, pieces) in inputs.iter().zip(arenas.pieces(&weights)?) {
            executor.write_pieces(arena, pieces)?;
        }
        Ok(Self { executor, x, features, batch })
    }

    /// Features `[count, 2048]` of images `[count, height, width, channels]`, -1 to 1, rounded to bytes as in a
    /// picture. Grey ones are seen with three equal channels. `hear` is told how many images are done.
    ///
    /// # Errors
    /// If the numbers are no whole images of 1 or 3 channels, or the device is lost.
    pub fn features(
        &mut self,
        images: &[f32],
        shape: [usize; 3],
        resizing: Resizing,
        mut hear: impl FnMut(usize),
    ) -> Result<Vec<f32>, Error> {
        let [height, width, channels] = shape;
        let elements = height * width * channels;
        if elements == 0 || !images.len().is_multiple_of(elements) || ![1, 3].contains(&channels) {
            let expected = "any size with 1 or 3 channels".to_owned();
            let found = format!("{} numbers for {shape:?}", images.len());
            return Err(TrainingError::Images { expected, found }.into());
        }
        let mut features = Vec::with_capacity(images.len() / elements * Inception::FEATURES);
        for some in images.chunks(self.batch * elements) {
            let seen = |image| resizing.seen(image, shape, Inception::SIDE);
            let mut batch: Vec<f32> = some.chunks_exact(elements).flat_map(seen).collect();
            batch.resize(self.batch * Inception::SIDE * Inception::SIDE * 3, 0.0);
            self.executor.write(self.x, &batch)?;
            self.executor.run(1)?;
            let found = self.executor.read(self.features)?;
            features.extend(&found[..some.len() / elements * Inception::FEATURES]);
            hear(features.len() / Inception::FEATURES);
        }
        Ok(features)
    }
}
