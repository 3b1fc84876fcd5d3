//! Pools over windows that may overlap: those of image classifiers.
use crate::{ops::prelude::*, shaders::window_pool as shader};

/// The maximum, or the average, of each square window of `x [batch, height, width, channels]`; what lies outside of the
/// image takes no part, and does not count in the average (`count_include_pad=False` of PyTorch). The extents of `y` are
/// `(height + 2 padding - kernel) / stride + 1`, likewise for the width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WindowPool {
    /// The average instead of the maximum.
    pub average: bool,
    /// Side of a window.
    pub kernel: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Pixels outside of the image, on each side; less than the kernel.
    pub padding: usize,
}

display!(
    WindowPool { average, kernel, stride, padding }:
    "window_pool{{average={average} kernel={kernel} stride={stride} padding={padding}}}"
);

impl WindowPool {
    /// Windows along an axis.
    fn windows(&self, pixels: usize) -> usize {
        (pixels + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Pixels of a window along an axis.
    fn window(&self, window: usize, pixels: usize) -> std::ops::Range<usize> {
        let first = window * self.stride;
        let end = (first + self.kernel).saturating_sub(self.padding).min(pixels);
        first.saturating_sub(self.padding)..end
    }
}

impl Operator for WindowPool {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x] = check.operands()?;
        check.floats("x", x)?;
        let [batch, height, width, channels] = x.shape[..] else {
            return Err(check.conflict("x must be [batch, height, width, channels]"));
        };
        let sides = 1..=1024;
        check.that(sides.contains(&self.kernel), "kernel", "1 to 1024", self.kernel)?;
        check.that(sides.contains(&self.stride), "stride", "1 to 1024", self.stride)?;
        check.that(
            2 * self.padding <= self.kernel,
            "padding",
            "half of the kernel at most",
            self.padding,
        )?;
        for side in [height, width] {
            let padded = side + 2 * self.padding;
            check.that(padded >= self.kernel, "x", "as large as a window", padded)?;
            // A window beyond the last pixel would hold none.
            let last = (self.windows(side) - 1) * self.stride;
            check.that(last < side + self.padding, "x", "windows that hold a pixel", side)?;
        }
        Ok(vec![x.with_shape(&[batch, self.windows(height), self.windows(width), channels])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let x = inputs[0];
        let [batch, height, width, channels] = x.shape[..] else {
            unreachable!("four axes, as infer found")
        };
        let (rows, columns) = (self.windows(height), self.windows(width));
        let mut y = Tensor::zeros(TensorType::f32(&[batch, rows, columns, channels]).shape);
        for (index, y) in y.data.iter_mut().enumerate() {
            let (pixel, channel) = (index / channels, index % channels);
            let (line, column) = (pixel / columns, pixel % columns);
            let (image, row) = (line / rows, line % rows);
            let places = self.window(row, height).flat_map(|row| {
                let line = (image * height + row) * width;
                self.window(column, width).map(move |column| (line + column) * channels + channel)
            });
            let numbers = places.map(|place| x.data[place]);
            *y = match self.average {
                true => {
                    let (sum, count) = numbers.fold((0.0, 0.0), |(sum, n), x| (sum + x, n + 1.0));
                    sum / count
                }
                false => numbers.fold(f64::NEG_INFINITY, f64::max),
            };
        }
        vec![y]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (x, y) = (equation.inputs[0], equation.outputs[0]);
        let (of_x, of_y) = (lowering.type_of(x), lowering.type_of(y));
        let vectors = of_y.vectors();
        let params = shader::Params {
            vectors: vectors as u32,
            channels4: of_x.shape[3].div_ceil(4) as u32,
            in_height: of_x.shape[1] as u32,
            in_width: of_x.shape[2] as u32,
            out_height: of_y.shape[1] as u32,
            out_width: of_y.shape[2] as u32,
            kernel: self.kernel as u32,
            stride: self.stride as u32,
            padding: self.padding as u32,
            average: self.average.into(),
        };
        Ok(lowering.push(shader::Forward { x, y }.over(params, vectors))?)
    }

    /// A maximum of infinities may be NaN.
    fn special(&self) -> Special {
        Special::NanSpreads
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |average, kernel, stride, padding, x: [usize; 4]| {
        let op = WindowPool { average, kernel, stride, padding };
        Case::new(op, vec![Input::normal(TensorType::f32(&x))]).terms(kernel * kernel).half(&[0])
    };
    vec![
        case(false, 3, 2, 0, [2, 9, 7, 5]),
        case(false, 3, 1, 1, [1, 5, 6, 8]),
        case(true, 3, 1, 1, [2, 5, 4, 3]),
        case(true, 3, 1, 1, [1, 1, 2, 1]),
        case(false, 1, 1, 0, [1, 2, 2, 4]),
        case(true, 5, 3, 2, [1, 11, 8, 6]),
        case(false, 2, 2, 1, [3, 5, 7, 32]),
    ]
}

pub(super) fn random(dice: &mut Dice) -> Case {
    let kernel = 1 + dice.below(4);
    let x = dice.image();
    let [height, width] = [1, 2].map(|axis| x.shape[axis] + kernel);
    let x = x.with_extent(1, height).with_extent(2, width);
    let padding = dice.below(kernel / 2 + 1);
    let op = WindowPool { average: dice.flip(), kernel, stride: 1 + dice.below(2), padding };
    Case::new(op, vec![Input::normal(x)]).terms(kernel * kernel).half(&[0])
}
