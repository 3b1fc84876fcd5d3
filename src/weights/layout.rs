//! From PyTorch's order of axes to this crate's, and back.
//!
//! Here the output channel is innermost: a kernel's lanes are neighbouring output channels.
use crate::value::Shape;

/// How the axes of a stored parameter stand to this crate's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The same in both: biases, norms, embedding tables.
    Same,
    /// `[out, in]` in the file, `[in, out]` here.
    Linear,
    /// `[out, in, height, width]` in the file, `[height, width, in, out]` here.
    Convolution,
}

impl Layout {
    /// The layout of the parameter called `name`, whose shape here is `shape`.
    pub fn of(name: &str, shape: &Shape) -> Self {
        match shape.len() {
            4 => Self::Convolution,
            2 if name != "class_embedding.weight" => Self::Linear,
            _ => Self::Same,
        }
    }

    /// The shape in the file of a parameter that has `shape` here.
    pub fn stored_shape(self, shape: &Shape) -> Vec<usize> {
        match (self, &shape[..]) {
            (Self::Linear, &[input, output]) => vec![output, input],
            (Self::Convolution, &[height, width, input, output]) => {
                vec![output, input, height, width]
            }
            _ => shape.to_vec(),
        }
    }

    /// May a tensor of the file's shape `stored` be read as a parameter of `shape`?
    pub fn accepts(self, shape: &Shape, stored: &[usize]) -> bool {
        let expected = self.stored_shape(shape);
        let pointwise = self == Self::Linear && stored.len() == 4 && stored[2..] == [1, 1];
        expected == if pointwise { &stored[..2] } else { stored }
    }

    /// The file's elements in this crate's order; `shape` is the shape here.
    pub fn read(self, shape: &Shape, data: &[f32]) -> Vec<f32> {
        match (self, &shape[..]) {
            (Self::Linear, &[input, output]) => transposed(data, output, input),
            (Self::Convolution, &[height, width, input, output]) => {
                let taps = transposed(data, output * input, height * width);
                each_tap(&taps, output, input)
            }
            _ => data.to_vec(),
        }
    }

    /// This crate's elements in the file's order; `shape` is the shape here.
    pub fn write(self, shape: &Shape, data: &[f32]) -> Vec<f32> {
        match (self, &shape[..]) {
            (Self::Linear, &[input, output]) => transposed(data, input, output),
            (Self::Convolution, &[height, width, input, output]) => {
                let taps = each_tap(data, input, output);
                transposed(&taps, height * width, output * input)
            }
            _ => data.to_vec(),
        }
    }
}

/// The transpose of a row-major `[rows, columns]` matrix.
fn transposed(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| matrix[row * columns + column]))
        .collect()
}

/// A list of `[rows, columns]` matrices, each transposed.
fn each_tap(matrices: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    matrices
        .chunks_exact((rows * columns).max(1))
        .flat_map(|matrix| transposed(matrix, rows, columns))
        .collect()
}
