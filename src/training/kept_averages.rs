//! The averages of a trainer, and their file in a checkpoint.
use super::{averages::Average, trainer::Trainer};
use crate::{
    error::{Error, TrainingError},
    nn::{ParameterSource, ParameterSpec, Weights},
    pipeline::RunFolder,
    weights::{self, Precision, tensor_bytes},
};
use std::path::Path;

/// The file of the averages, below a run's folder.
///
/// Example: [`read_average()`].
pub const AVERAGES: &str = "training/averages.safetensors";

impl<M, S> Trainer<M, S> {
    /// A moving average of the weights, by its number in the options.
    ///
    /// # Errors
    /// If the device is lost.
    ///
    /// # Panics
    /// If there is no such average.
    pub fn average(&mut self, number: usize) -> Result<Weights, Error> {
        let optimizer = &self.graph.optimizer;
        let values = optimizer.averages[number].1.iter();
        optimizer.arenas.weights(values.map(|&arena| self.executor.read(arena)))
    }

    /// The bytes of the file of all averages, if there are any.
    pub(super) fn averages(&mut self, folder: &Path) -> Result<Option<Vec<u8>>, Error> {
        let named: Vec<Average> =
            self.graph.optimizer.averages.iter().map(|(average, _)| *average).collect();
        if named.is_empty() {
            return Ok(None);
        }
        let averages = (0..named.len()).map(|number| self.average(number));
        let averages = averages.collect::<Result<Vec<_>, _>>()?;
        let tensors: Vec<_> = named
            .iter()
            .zip(&averages)
            .flat_map(|(name, weights)| {
                weights.iter().map(move |(tensor, of)| {
                    (format!("{name}.{tensor}"), of.shape.to_vec(), &of.data[..])
                })
            })
            .collect();
        let tensors = tensors.iter().map(|(name, shape, data)| (&name[..], &shape[..], *data));
        Ok(Some(tensor_bytes(&folder.join(AVERAGES), Precision::F32, tensors)?))
    }

    /// Takes the averages of a checkpoint, if there are any.
    pub(super) fn resume_averages(&mut self, folder: &RunFolder) -> Result<(), Error> {
        for number in 0..self.graph.optimizer.averages.len() {
            let optimizer = &self.graph.optimizer;
            let (average, specs) = (optimizer.averages[number].0, &optimizer.arenas.specs);
            let weights = read_average(&folder.path(AVERAGES), average, specs)?;
            self.write_average(number, &weights)?;
        }
        Ok(())
    }

    pub(super) fn write_average(
        &mut self,
        number: usize,
        weights: &dyn ParameterSource,
    ) -> Result<(), Error> {
        let optimizer = &self.graph.optimizer;
        let values = &optimizer.averages[number].1;
        for (&arena, pieces) in values.iter().zip(optimizer.arenas.pieces(weights)?) {
            self.executor.write_pieces(arena, pieces)?;
        }
        Ok(())
    }
}

/// An average in a file of them, of a model with these parameters.
///
/// ```no_run
/// use ddim::{models::unet2d::{UNet, UNetConfig}, training::{AVERAGES, Average, read_average}};
/// use std::path::Path;
///
/// let run = Path::new("model");
/// let unet = UNet::new(UNetConfig::read(&run.join("unet/config.json"))?)?;
/// let weights = read_average(&run.join(AVERAGES), Average::Power(0.05), &unet.parameters()?)?;
/// assert_eq!(weights.iter().count(), unet.parameters()?.len());
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// If the file cannot be read, or lacks the average or one of its tensors.
pub fn read_average(
    path: &Path,
    average: Average,
    parameters: &[ParameterSpec],
) -> Result<Weights, Error> {
    let file = weights::open(path)?;
    let mut found = Weights::default();
    for spec in parameters {
        let name = format!("{average}.{}", spec.name);
        let shape = file.tensors().into_iter().find(|(of, _)| *of == name).map(|(_, shape)| shape);
        if shape.as_deref() != Some(&spec.of.shape[..]) {
            let found = shape.map_or("no such tensor".into(), |shape| format!("{shape:?}"));
            let expected = spec.of.shape;
            let message = format!("{name}: expected {expected:?}, found {found}");
            return Err(TrainingError::Checkpoint { path: path.into(), message }.into());
        }
        let data = file.read(&name)?.into_f32();
        if !data.iter().all(|number| number.is_finite()) {
            let message = format!("{name}: expected finite numbers, found another");
            return Err(TrainingError::Checkpoint { path: path.into(), message }.into());
        }
        found.insert(&spec.name, spec.of.shape, data);
    }
    Ok(found)
}
