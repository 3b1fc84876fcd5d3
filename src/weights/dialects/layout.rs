//! From PyTorch's order of axes to this crate's, and back.
//!
//! Here the output channel is innermost: a kernel's lanes are neighbouring output channels.
use crate::value::Shape;

/// Order of a stored parameter's axes.
///
/// ```
/// use ddim::{value::Shape, weights::Layout};
///
/// let shape = Shape::new(&[2, 3]);
/// let layout = Layout::of("proj.weight", &shape);
/// assert_eq!(layout, Layout::Linear);
/// assert_eq!(layout.stored_shape(&shape), [3, 2]);
/// let own = layout.read(&shape, &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
/// assert_eq!(own, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
/// ```
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
            2 if !name.contains("_embedding.weight") => Self::Linear,
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
        let pointwise = self == Self::Linear && stored.len() > 2;
        let pointwise = pointwise && stored[2..].iter().all(|extent| *extent == 1);
        expected == if pointwise { &stored[..2] } else { stored }
    }

    /// The file's elements in this crate's order; `shape` is the shape here.
    pub fn read(self, shape: &Shape, data: &[f32]) -> Vec<f32> {
        let mut own = vec![0.0; data.len()];
        self.put(shape, 0, data, &mut own);
        own
    }

    /// Puts rows of the file's tensor, from the row `first` on, where they belong among the elements
    /// `own` in this crate's order; `shape` is the shape here.
    pub fn put(self, shape: &Shape, first: usize, rows: &[f32], own: &mut [f32]) {
        let (taps, inputs, outputs) = match (self, &shape[..]) {
            (Self::Linear, &[inputs, outputs]) => (1, inputs, outputs),
            (Self::Convolution, &[height, width, inputs, outputs]) => {
                (height * width, inputs, outputs)
            }
            _ => {
                let width = own.len() / shape[0];
                return own[first * width..][..rows.len()].copy_from_slice(rows);
            }
        };
        let width = inputs * taps;
        for input in 0..inputs {
            for tap in 0..taps {
                let to = &mut own[(tap * inputs + input) * outputs + first..];
                let from = rows.chunks_exact(width).map(|row| row[input * taps + tap]);
                to.iter_mut().zip(from).for_each(|(to, from)| *to = from);
            }
        }
    }

    /// This crate's elements in the file's order; `shape` is the shape here.
    pub fn write(self, shape: &Shape, data: &[f32]) -> Vec<f32> {
        match (self, &shape[..]) {
            (Self::Linear, &[input, output]) => permuted(data, [1, output, input], [0, 1, output]),
            (Self::Convolution, &[height, width, input, output]) => {
                let (taps, elements) = (height * width, input * output);
                permuted(data, [output, input, taps], [1, output, elements])
            }
            _ => data.to_vec(),
        }
    }
}

/// The elements of `data` counted by `extents`, the last fastest, each as many steps apart in `data`
/// as `strides` say.
fn permuted(data: &[f32], extents: [usize; 3], strides: [usize; 3]) -> Vec<f32> {
    let mut elements = Vec::with_capacity(data.len());
    for outer in 0..extents[0] {
        for middle in 0..extents[1] {
            let start = outer * strides[0] + middle * strides[1];
            elements.extend((0..extents[2]).map(|inner| data[start + inner * strides[2]]));
        }
    }
    elements
}
