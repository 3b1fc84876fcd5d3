//! A graph of a case's own tensors, run once.
use super::case_files::{Case, Results};
use crate::{
    error::Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::Constant,
    passes,
    training::Tables,
    value::{ElementType, Shape, TensorType, Value},
    weights::Layout,
};

/// Axis order of a tensor in a case's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axes {
    /// The same, a scalar as one element.
    Same,
    /// `[batch, channels, height, width]` in the file, `[batch, height, width, channels]` here.
    Image,
    /// `[out, in]` in the file, `[in, out]` here.
    Linear,
    /// `[out, in, height, width]` in the file, `[height, width, in, out]` here.
    Convolution,
}

impl Axes {
    /// Those of a parameter that has this many axes.
    pub fn of_parameter(rank: usize) -> Self {
        match rank {
            4 => Self::Convolution,
            2 => Self::Linear,
            _ => Self::Same,
        }
    }

    /// The shape here of a tensor with this shape in the file, if it can be one.
    pub fn shape(self, stored: &[usize]) -> Option<Shape> {
        match (self, stored) {
            (Self::Same, []) => Some(Shape::new(&[1])),
            (Self::Same, _) => (stored.len() <= Shape::MAX_RANK).then(|| Shape::new(stored)),
            (Self::Image, &[n, c, h, w]) => Some(Shape::new(&[n, h, w, c])),
            (Self::Linear, &[output, input]) => Some(Shape::new(&[input, output])),
            (Self::Convolution, &[o, i, h, w]) => Some(Shape::new(&[h, w, i, o])),
            _ => None,
        }
    }

    /// The file's elements in this crate's order; `shape` is that here.
    pub fn read(self, shape: &Shape, data: &[f32]) -> Vec<f32> {
        match (self, &shape[..]) {
            (Self::Image, &[_, height, width, channels]) => images(data, channels, height * width),
            (Self::Linear, _) => Layout::Linear.read(shape, data),
            (Self::Convolution, _) => Layout::Convolution.read(shape, data),
            _ => data.to_vec(),
        }
    }

    /// This crate's elements in the file's order; `shape` is that here.
    pub fn write(self, shape: &Shape, data: &[f32]) -> Vec<f32> {
        match (self, &shape[..]) {
            (Self::Image, &[_, height, width, channels]) => images(data, height * width, channels),
            (Self::Linear, _) => Layout::Linear.write(shape, data),
            (Self::Convolution, _) => Layout::Convolution.write(shape, data),
            _ => data.to_vec(),
        }
    }
}

/// `[batch, rows, columns]` as `[batch, columns, rows]`.
fn images(data: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let image = |image: &[f32]| -> Vec<f32> {
        (0..columns).flat_map(|c| (0..rows).map(move |r| image[r * columns + c])).collect()
    };
    data.chunks_exact((rows * columns).max(1)).flat_map(image).collect()
}

/// A graph whose inputs are a case's tensors and whose outputs go by the case's names.
pub(super) struct CaseGraph<'a> {
    case: &'a Case,
    pub graph: Graph,
    inputs: Vec<(Value, Vec<f32>)>,
    outputs: Vec<(String, Value, Axes)>,
}

impl<'a> CaseGraph<'a> {
    /// A case_graph of nothing yet.
    pub fn new(case: &'a Case) -> Self {
        Self { case, graph: Graph::new(), inputs: Vec::new(), outputs: Vec::new() }
    }

    /// The case's tensor of this name, stored as f32.
    pub fn input(&mut self, name: &str, axes: Axes) -> Result<Value, Error> {
        self.input_as(name, axes, ElementType::F32)
    }

    /// The case's tensor of this name in another storage.
    pub fn input_as(
        &mut self,
        name: &str,
        axes: Axes,
        element: ElementType,
    ) -> Result<Value, Error> {
        let (shape, data) = self.case.dense(name, axes)?;
        Ok(self.given(TensorType { shape, element }, data))
    }

    /// An input with these contents.
    pub fn given(&mut self, of: TensorType, data: Vec<f32>) -> Value {
        let value = self.graph.input(of);
        self.inputs.push((value, data));
        value
    }

    /// What to write to an input that the graph has already.
    pub fn contents(&mut self, value: Value, data: Vec<f32>) {
        self.inputs.push((value, data));
    }

    /// The tables of a loss, inputs of the graph already, with their numbers.
    pub fn tables(&mut self, tables: &Tables) {
        self.inputs.extend(tables.iter().map(|(value, numbers)| (value, numbers.to_vec())));
    }

    /// Makes `value` the result of this name.
    pub fn output(&mut self, name: &str, value: Value, axes: Axes) {
        self.graph.outputs.push(value);
        self.outputs.push((name.to_owned(), value, axes));
    }

    /// Makes the gradients of `y` the results of these names, given the one that arrives: `gy`.
    /// Operands that `y` does not depend on have a gradient of zeros.
    pub fn gradients(
        &mut self,
        y: Value,
        gy: Value,
        operands: &[(Value, String, Axes)],
    ) -> Result<(), Error> {
        let wrt: Vec<Value> = operands.iter().map(|&(value, ..)| value).collect();
        let found = passes::gradient(&mut self.graph, y, gy, &wrt)?;
        for (gradient, (value, name, axes)) in found.into_iter().zip(operands) {
            let zero = Constant { of: self.graph.type_of(*value), number: 0.0.into() };
            let gradient = gradient.map_or_else(|| self.graph.push(zero, &[]), Ok)?;
            self.output(name, gradient, *axes);
        }
        Ok(())
    }

    /// Runs the graph on the device.
    pub fn run(self, gpu: &Gpu) -> Result<Results, Error> {
        let mut executor = Executor::new(gpu, passes::compile(&self.graph, gpu.target())?)?;
        for (value, data) in &self.inputs {
            if self.graph.type_of(*value).element == ElementType::U32 {
                let integers: Vec<u32> = data.iter().map(|&x| x as u32).collect();
                executor.write_u32(*value, &integers)?;
            } else {
                executor.write(*value, data)?;
            }
        }
        executor.run(1)?;
        let mut results = Results::new();
        for (name, value, axes) in self.outputs {
            let data = executor.read(value)?;
            let data = axes.write(&self.graph.type_of(value).shape, &data);
            results.insert(name, data.into_iter().map(f64::from).collect());
        }
        Ok(results)
    }
}

impl Case {
    /// The shape here and the elements, in this crate's order, of one of the case's tensors.
    pub fn dense(&self, name: &str, axes: Axes) -> Result<(Shape, Vec<f32>), Error> {
        let stored = self.tensor(name)?;
        let shape = axes.shape(&stored.shape).ok_or_else(|| {
            self.refuse(format!("{name} is no {axes:?}: its shape is {:?}", stored.shape))
        })?;
        let data = stored.numbers.clone().into_f32();
        Ok((shape, axes.read(&shape, &data)))
    }
}
