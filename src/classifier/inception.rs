//! Features of InceptionV3, as torch-fidelity and pytorch-fid compute them.
use crate::{
    error::{Error, TrainingError, Unexpected},
    gpu::{Executor, Gpu},
    graph::Graph,
    models::inception::Inception,
    nn::{Arenas, Layers, Weights},
    passes,
    value::{TensorType, Value},
    weights::{self, TensorFile},
};
use std::path::Path;

/// Added to a variance of a batch norm.
const EPSILON: f64 = 1e-3;

/// Images that are looked at together.
const BATCH: usize = 4;

/// How images are made as large as the network's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Resizing {
    /// torch-fidelity's: TensorFlow 1's bilinear interpolation, whose pixels lie at their corners, and bytes `b` as
    /// `(b - 128) / 128`.
    #[default]
    TorchFidelity,
    /// pytorch-fid's: PyTorch's bilinear interpolation, whose pixels lie at their middles, and bytes as `2 b / 255 - 1`.
    PytorchFid,
}

/// InceptionV3 on a device.
pub struct InceptionFeatures {
    executor: Executor,
    x: Value,
    maps: Value,
    resizing: Resizing,
}

impl InceptionFeatures {
    /// Opens the weights that torch-fidelity or pytorch-fid downloads (`pt_inception-2015-12-05-6726825d.pth`), or the same
    /// tensors in another file of weights.
    ///
    /// # Errors
    /// If the file cannot be read or is of another network.
    pub fn open(gpu: &Gpu, path: &Path, resizing: Resizing) -> Result<Self, Error> {
        let network = Inception;
        let weights = read(path, &*weights::open(path)?)?;
        let arenas = Arenas::new(network.parameters()?, gpu.target().max_binding);
        let mut graph = Graph::new();
        let side = Inception::SIDE;
        let x = graph.input(TensorType::f32(&[BATCH, side, side, 3]));
        let inputs = arenas.inputs(&mut graph);
        let views = arenas.views(&mut graph, &inputs)?;
        let maps = network.build(&mut Layers::new(&mut graph, &views, None), x)?;
        graph.outputs = vec![maps];
        let mut executor = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
        for (&arena, pieces) in inputs.iter().zip(arenas.pieces(&weights)?) {
            executor.write_pieces(arena, pieces)?;
        }
        Ok(Self { executor, x, maps, resizing })
    }

    /// Features `[count, 2048]` of images `[count, height, width, channels]`, -1 to 1, rounded to bytes as in a picture; grey
    /// ones have three equal channels. `hear` is told how many images are done.
    ///
    /// # Errors
    /// If the numbers are no whole images of 1 or 3 channels, or the device is lost.
    pub fn features(
        &mut self,
        images: &[f32],
        shape @ [height, width, channels]: [usize; 3],
        mut hear: impl FnMut(usize),
    ) -> Result<Vec<f32>, Error> {
        let elements = height * width * channels;
        let whole = elements > 0 && images.len().is_multiple_of(elements);
        let expected = "whole images of 1 or 3 channels";
        let found = format!("{} numbers for {height}x{width}x{channels}", images.len());
        Unexpected::check(whole && matches!(channels, 1 | 3), "images", expected, found)
            .map_err(TrainingError::from)?;
        let mut features = Vec::with_capacity(images.len() / elements * Inception::FEATURES);
        for (number, some) in images.chunks(BATCH * elements).enumerate() {
            let mut batch: Vec<f32> =
                some.chunks_exact(elements).flat_map(|image| self.seen(image, shape)).collect();
            batch.resize(BATCH * Inception::SIDE * Inception::SIDE * 3, 0.0);
            self.executor.write(self.x, &batch)?;
            self.executor.run(1)?;
            let maps = self.executor.read(self.maps)?;
            let count = some.len() / elements;
            for map in maps.chunks_exact(maps.len() / BATCH).take(count) {
                let pixels = (map.len() / Inception::FEATURES) as f64;
                features.extend((0..Inception::FEATURES).map(|feature| {
                    let column = map.iter().skip(feature).step_by(Inception::FEATURES);
                    (column.map(|x| f64::from(*x)).sum::<f64>() / pixels) as f32
                }));
            }
            hear(number * BATCH + count);
        }
        Ok(features)
    }

    /// An image as the network sees it.
    fn seen(&self, image: &[f32], [height, width, channels]: [usize; 3]) -> Vec<f32> {
        let byte = |number: f32| f64::from(((number.clamp(-1.0, 1.0) + 1.0) * 127.5).round());
        let [rows, columns] = [height, width].map(|side| self.lines(side));
        let mut seen = Vec::with_capacity(Inception::SIDE * Inception::SIDE * 3);
        for (top, bottom, low) in &rows {
            for (left, right, far) in &columns {
                for channel in 0..3 {
                    let channel = channel.min(channels - 1);
                    let at = |row: &usize, column: &usize| {
                        byte(image[(row * width + column) * channels + channel])
                    };
                    let above = at(top, left) + (at(top, right) - at(top, left)) * far;
                    let below = at(bottom, left) + (at(bottom, right) - at(bottom, left)) * far;
                    let number = above + (below - above) * low;
                    seen.push(match self.resizing {
                        Resizing::TorchFidelity => ((number - 128.0) / 128.0) as f32,
                        Resizing::PytorchFid => (2.0 * number / 255.0 - 1.0) as f32,
                    });
                }
            }
        }
        seen
    }

    /// For each line of the network's image the two lines of another that it lies between, and how near it is to the second.
    fn lines(&self, side: usize) -> Vec<(usize, usize, f64)> {
        let scale = side as f64 / Inception::SIDE as f64;
        let line = |index: usize| {
            let place = match self.resizing {
                Resizing::TorchFidelity => index as f64 * scale,
                Resizing::PytorchFid => ((index as f64 + 0.5) * scale - 0.5).max(0.0),
            };
            let first = (place as usize).min(side - 1);
            (first, (first + 1).min(side - 1), place - first as f64)
        };
        (0..Inception::SIDE).map(line).collect()
    }
}

/// The weights in a file of torch-fidelity's or pytorch-fid's, each batch norm folded into its convolution.
fn read(path: &Path, file: &dyn TensorFile) -> Result<Weights, Error> {
    let specs = Inception.parameters()?;
    let known = file.tensors();
    let tensor = |name: String, expected: &[usize]| -> Result<Vec<f64>, Error> {
        let refuse =
            |message: String| Error::from(TrainingError::Checkpoint { path: path.into(), message });
        let found = known.iter().find(|(of, _)| *of == name).map(|(_, shape)| shape);
        if found.map(Vec::as_slice) != Some(expected) {
            let found = found.map_or("no such tensor".into(), |shape| format!("{shape:?}"));
            return Err(refuse(format!("{name}: expected {expected:?}, found {found}")));
        }
        let numbers = file.read(&name)?.to_f64();
        match numbers.iter().all(|number| number.is_finite()) {
            true => Ok(numbers),
            false => Err(refuse(format!("{name}: expected finite numbers, found another"))),
        }
    };
    let mut weights = Weights::default();
    for spec in specs.iter().filter(|spec| spec.name.ends_with(".weight")) {
        let layer = spec.name.trim_end_matches(".weight");
        let [height, width, inputs, outputs] = spec.of.shape[..] else {
            unreachable!("a kernel has four axes")
        };
        let kernel = tensor(format!("{layer}.conv.weight"), &[outputs, inputs, height, width])?;
        let norm = ["weight", "bias", "running_mean", "running_var"]
            .map(|name| tensor(format!("{layer}.bn.{name}"), &[outputs]));
        let [gamma, beta, mean, variance] = norm;
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let factor = |o: usize| gamma[o] / (variance[o] + EPSILON).sqrt();
        let folded = (0..spec.of.shape.elements()).map(|index| {
            let (rest, o) = (index / outputs, index % outputs);
            let (tap, i) = (rest / inputs, rest % inputs);
            (kernel[(o * inputs + i) * height * width + tap] * factor(o)) as f32
        });
        weights.insert(&spec.name, spec.of.shape, folded.collect());
        let bias = (0..outputs).map(|o| (beta[o] - mean[o] * factor(o)) as f32).collect();
        weights.insert(&format!("{layer}.bias"), TensorType::f32(&[outputs]).shape, bias);
    }
    Ok(weights)
}
