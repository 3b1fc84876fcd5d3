//! The tensors of a run, as `training/state.safetensors` holds them.
use crate::{
    error::{Error, TrainingError, WeightsError},
    nn::{ParameterSpec, Weights},
    ops::NextScale,
    value::{Shape, TensorType},
    weights::{self, Precision, TensorFile, tensor_bytes},
};
use std::{collections::BTreeMap, path::Path};

/// Prefixes of the tensors, in the order of the parts.
const PARTS: [&str; 4] = ["weight", "first_moment", "second_moment", "average"];

/// The tensor of the last losses of each timestep, where these are drawn by importance.
const MEMORY: &str = "timestep_losses";

/// The tensor of the loss scale, of a run in f16: the scale, the good steps since it changed, the steps skipped in a
/// row and in all.
const SCALING: &str = "loss_scale";

/// The tensor of the steps done: two halves of 16 bits, since f32 holds each of them exactly.
const STEP: &str = "step";

/// The tensors of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Parameters, first moments, second moments, moving averages.
    pub parts: [Weights; 4],
    /// The last losses of each timestep, if these are drawn by importance.
    pub memory: Option<Vec<f32>>,
    /// The loss scale, the good steps since it changed, the steps skipped in a row and in all, of a run in f16.
    pub scaling: Option<[f32; 4]>,
    /// Steps done.
    pub step: u32,
}

impl State {
    /// The bytes of the file; errors name it by `path`.
    ///
    /// # Errors
    /// If the format does not hold it.
    pub fn to_bytes(&self, path: &Path) -> Result<Vec<u8>, WeightsError> {
        let mut named: Vec<(String, Vec<usize>, &[f32])> = Vec::new();
        for (weights, prefix) in self.parts.iter().zip(PARTS) {
            for (name, of) in weights.iter() {
                named.push((format!("{prefix}.{name}"), of.shape.to_vec(), &of.data));
            }
        }
        if let Some(memory) = &self.memory {
            let columns = memory_type(1).shape.last();
            named.push((MEMORY.into(), vec![memory.len() / columns, columns], memory));
        }
        if let Some(scaling) = &self.scaling {
            named.push((SCALING.into(), vec![scaling.len()], scaling));
        }
        let halves = [(self.step >> 16) as f32, (self.step & 0xffff) as f32];
        named.push((STEP.into(), vec![2], &halves));
        let tensors = named.iter().map(|(name, shape, data)| (&name[..], &shape[..], *data));
        tensor_bytes(path, Precision::F32, tensors)
    }

    /// Reads the state of a model with these parameters; `memory` is the shape of the remembered losses, if there are any.
    ///
    /// # Errors
    /// If the file is no such state: names the file, the tensor, what is expected and what is found.
    pub fn read(
        path: &Path,
        parameters: &[ParameterSpec],
        memory: Option<Shape>,
    ) -> Result<Self, Error> {
        Self::of(Tensors::of(path, weights::open(path)?), parameters, memory)
    }

    /// As [`State::read`], from the bytes of the file; `path` is for the errors alone.
    ///
    /// # Errors
    /// As [`State::read`].
    pub fn parse(
        path: &Path,
        bytes: &[u8],
        parameters: &[ParameterSpec],
        memory: Option<Shape>,
    ) -> Result<Self, Error> {
        Self::of(Tensors::of(path, weights::of_bytes(path, bytes)?), parameters, memory)
    }

    fn of(
        mut found: Tensors,
        parameters: &[ParameterSpec],
        memory: Option<Shape>,
    ) -> Result<Self, Error> {
        let path = found.path;
        let mut parts = [(); 4].map(|()| Weights::default());
        for (part, (weights, prefix)) in parts.iter_mut().zip(PARTS).enumerate() {
            for spec in parameters {
                let name = format!("{prefix}.{}", spec.name);
                let data = found.take(&name, &spec.of.shape)?;
                // Means of squares.
                match part {
                    2 => found.check(&name, &data, "numbers of 0 or above", |x| x >= 0.0)?,
                    _ => found.check(&name, &data, "finite numbers", |_| true)?,
                }
                weights.insert(&spec.name, spec.of.shape, data);
            }
        }
        let memory = match memory {
            Some(shape) => Some(found.memory(shape)?),
            None => None,
        };
        let scaling = found.scaling()?;
        let step = found.step()?;
        match found.shapes.into_iter().next() {
            Some((name, shape)) => {
                Err(refuse(path, format!("{name}: expected no such tensor, found {shape:?}")))
            }
            None => Ok(Self { parts, memory, scaling, step }),
        }
    }

    /// Reads the steps alone.
    ///
    /// # Errors
    /// If there is no such file, or no whole number of steps in it.
    pub fn read_step(path: &Path) -> Result<u32, Error> {
        Tensors::of(path, weights::open(path)?).step()
    }
}

fn memory_type(timesteps: usize) -> TensorType {
    crate::ops::TimestepProbabilities::memory(timesteps)
}

fn refuse(path: &Path, message: String) -> Error {
    TrainingError::Checkpoint { path: path.into(), message }.into()
}

/// A file of tensors, and the shapes of those that were not taken yet.
struct Tensors<'a> {
    path: &'a Path,
    file: Box<dyn TensorFile + 'a>,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl<'a> Tensors<'a> {
    fn of(path: &'a Path, file: Box<dyn TensorFile + 'a>) -> Self {
        Self { path, shapes: file.tensors().into_iter().collect(), file }
    }

    fn take(&mut self, name: &str, expected: &[usize]) -> Result<Vec<f32>, Error> {
        match self.shapes.remove(name) {
            Some(shape) if shape == expected => Ok(self.file.read(name)?.into_f32()),
            found => {
                let found = found.map_or("no such tensor".into(), |shape| format!("{shape:?}"));
                Err(refuse(self.path, format!("{name}: expected {expected:?}, found {found}")))
            }
        }
    }

    /// Checks that all numbers are finite and fit.
    fn check(
        &self,
        name: &str,
        data: &[f32],
        expected: &str,
        fits: impl Fn(f32) -> bool,
    ) -> Result<(), Error> {
        match data.iter().enumerate().find(|(_, x)| !x.is_finite() || !fits(**x)) {
            None => Ok(()),
            Some((index, found)) => {
                let message = format!("{name}: expected {expected}, found {found} at {index}");
                Err(refuse(self.path, message))
            }
        }
    }

    /// The last losses of each timestep. Kernels take the counts among them for indices.
    fn memory(&mut self, shape: Shape) -> Result<Vec<f32>, Error> {
        let data = self.take(MEMORY, &shape[..])?;
        self.check(MEMORY, &data, "finite numbers", |_| true)?;
        let columns = shape.last();
        let most = 2 * (columns - 1) - 1;
        let counts: Vec<f32> = data.chunks(columns).map(|row| row[columns - 1]).collect();
        let expected = format!("whole numbers from 0 to {most} in the last column");
        self.check(MEMORY, &counts, &expected, |count| {
            count.fract() == 0.0 && (0.0..=most as f32).contains(&count)
        })?;
        Ok(data)
    }

    /// The loss scale, if the file has one: whether a run needs it follows from its precision, which may change.
    fn scaling(&mut self) -> Result<Option<[f32; 4]>, Error> {
        if !self.shapes.contains_key(SCALING) {
            return Ok(None);
        }
        let data = self.take(SCALING, &[4])?;
        let scales = NextScale::LEAST..=NextScale::MOST;
        let expected = format!("a scale of {} to {}", NextScale::LEAST, NextScale::MOST);
        self.check(SCALING, &data[..1], &expected, |scale| scales.contains(&scale))?;
        self.check(SCALING, &data[1..], "whole numbers of 0 or above", |count| {
            count >= 0.0 && count.fract() == 0.0
        })?;
        Ok(Some(std::array::from_fn(|place| data[place])))
    }

    fn step(&mut self) -> Result<u32, Error> {
        let halves = self.take(STEP, &[2])?;
        let whole = |half: f32| half.fract() == 0.0 && (0.0..65536.0).contains(&half);
        self.check(STEP, &halves, "two whole numbers from 0 to 65535", whole)?;
        Ok((halves[0] as u32) << 16 | halves[1] as u32)
    }
}
