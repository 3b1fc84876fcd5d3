//! Tables of numbers that a training step reads.
use crate::{
    error::Error,
    gpu::Executor,
    graph::Graph,
    value::{TensorType, Value},
};

/// Tables of numbers, written once before the first step.
///
/// Example: [`crate::training::TrainingGraph`].
#[derive(Clone, Debug, Default)]
pub struct Tables(Vec<(Value, Vec<f32>)>);

impl Tables {
    /// Adds an input of this type with these numbers.
    pub(super) fn add(&mut self, graph: &mut Graph, of: TensorType, numbers: Vec<f32>) -> Value {
        let value = graph.input(of);
        self.0.push((value, numbers));
        value
    }

    /// The inputs and their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Value, &[f32])> {
        self.0.iter().map(|(value, numbers)| (*value, &numbers[..]))
    }

    /// Writes all of them.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn write(&self, executor: &mut Executor) -> Result<(), Error> {
        self.iter().try_for_each(|(value, numbers)| executor.write(value, numbers))
    }
}
