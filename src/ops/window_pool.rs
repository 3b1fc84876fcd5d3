//! Pools over square windows that may overlap: those of networks that classify images.
use crate::{ops::prelude::*, shaders::window_pool as shader};
use std::ops::Range;

/// The longest side of a window: loops over a larger one would pass what every driver gives.
const LARGEST: usize = 254;

/// The maximum, or the average, of each window of `x [batch, height, width, channels]`. What lies outside of the image
/// takes no part, and does not count in an average (`count_include_pad=False` of PyTorch); NaN in a window makes its
/// maximum NaN. The extents of `y` are `(height + 2 padding - kernel) / stride + 1`, likewise for the width. It has no
/// gradient: networks that pool so are not trained here.
///
/// ```
/// use ddim::{ops::{Operator, WindowPool}, reference::Tensor, value::Shape};
///
/// let x = Tensor::new(Shape::new(&[1, 1, 3, 1]), vec![1.0, 5.0, 3.0]);
/// let most = WindowPool { average: false, kernel: 3, stride: 1, padding: 1 };
/// assert_eq!(most.reference(&[&x])[0].data, [5.0, 5.0, 5.0]);
/// let mean = WindowPool { average: true, ..most };
/// assert_eq!(mean.reference(&[&x])[0].data, [3.0, 3.0, 4.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WindowPool {
    /// The average instead of the maximum.
    pub average: bool,
    /// Side of a window, at most 254 pixels.
    pub kernel: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Pixels outside of the image, on each side; at most half of the kernel, so that every window has a pixel inside.
    pub padding: usize,
}

display!("window_pool", WindowPool { average, kernel, stride, padding });

impl WindowPool {
    /// Windows along an axis of at least one.
    fn windows(&self, pixels: usize) -> usize {
        (pixels + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Pixels of a window along an axis.
    fn window(&self, window: usize, pixels: usize) -> Range<usize> {
        let first = window * self.stride;
        first.saturating_sub(self.padding)..(first + self.kernel - self.padding).min(pixels)
    }

    /// The type of the result, of an operand that fits.
    fn result(&self, x: TensorType) -> TensorType {
        let [height, width] = [1, 2].map(|axis| self.windows(x.shape[axis]));
        x.with_extent(1, height).with_extent(2, width)
    }

    /// The maximum or the average of these numbers, of which there is one at least.
    fn pooled(&self, numbers: impl Iterator<Item = f64>) -> f64 {
        if self.average {
            let (sum, count) = numbers.fold((0.0, 0.0), |(sum, count), x| (sum + x, count + 1.0));
            return sum / count;
        }
        // `f64::max` drops NaN.
        let larger = |most: f64, x: f64| if x > most || x.is_nan() { x } else { most };
        numbers.fold(f64::NEG_INFINITY, larger)
    }
}

impl Operator for WindowPool {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x] = check.operands()?;
        check.floats("x", x)?;
        check.that(x.shape.len() == 4, "x", "[batch, height, width, channels]", x)?;
        let Self { kernel, stride, padding, .. } = *self;
        let sides = format!("1 to {LARGEST}");
        check.that((1..=LARGEST).contains(&kernel), "kernel", sides, kernel)?;
        let strides = 1..=TensorType::MAX_ELEMENTS;
        let expected = format!("1 to {}", TensorType::MAX_ELEMENTS);
        check.that(strides.contains(&stride), "stride", expected, stride)?;
        let half = kernel / 2;
        check.that(padding <= half, "padding", format!("at most {half}"), padding)?;
        for (axis, name) in [(1, "height"), (2, "width")] {
            let padded = x.shape[axis].saturating_add(2 * padding);
            let expected = format!("at least {kernel} with its padding");
            check.that(padded >= kernel, name, expected, padded)?;
        }
        Ok(vec![self.result(x)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x] = fitted(inputs);
        let y = self.result(TensorType::f32(&x.shape)).shape;
        let (height, width, channels) = (x.shape[1], x.shape[2], x.shape[3]);
        let mut pooled = Vec::with_capacity(y.elements());
        for image in x.data.chunks_exact(height * width * channels) {
            for place in 0..y[1] * y[2] * channels {
                let (window, channel) = (place / channels, place % channels);
                let rows = self.window(window / y[2], height);
                let columns = self.window(window % y[2], width);
                let pixels = rows.flat_map(|row| columns.clone().map(move |at| row * width + at));
                pooled.push(self.pooled(pixels.map(|pixel| image[pixel * channels + channel])));
            }
        }
        vec![Tensor::new(y, pooled)]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (x, y) = (equation.inputs[0], equation.outputs[0]);
        let (of_x, of_y) = (lowering.type_of(x), lowering.type_of(y));
        let vectors = of_y.vectors();
        let params = shader::Params {
            vectors: vectors as u32,
            channels4: (of_x.pitch() / 4) as u32,
            in_height: of_x.shape[1] as u32,
            in_width: of_x.shape[2] as u32,
            out_height: of_y.shape[1] as u32,
            out_width: of_y.shape[2] as u32,
            kernel: self.kernel as u32,
            stride: self.stride as u32,
            padding: self.padding as u32,
        };
        Ok(lowering.push(match self.average {
            true => shader::Average { x, y }.over(params, vectors),
            false => shader::Maximum { x, y }.over(params, vectors),
        })?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let pixels = (self.kernel * self.kernel) as u64;
        elementwise_cost(pixels, inputs, &[self.result(inputs[0])])
    }
}

fn case(op: WindowPool, x: TensorType) -> Case {
    Case::new(op, vec![Input::normal(x)]).terms(op.kernel * op.kernel).half(&[0])
}

pub(super) fn cases() -> Vec<Case> {
    let geometries = [
        // kernel, stride, padding, x
        (3, 2, 0, [2, 9, 7, 5]),
        (3, 1, 1, [1, 5, 6, 8]),
        (3, 1, 1, [2, 1, 2, 3]),
        (1, 1, 0, [1, 2, 2, 4]),
        (5, 3, 2, [1, 11, 8, 6]),
        (2, 2, 1, [3, 5, 7, 32]),
        (4, 9, 2, [1, 3, 12, 1]),
        (2, 1, 0, [MANY_IMAGES, 2, 2, 1]),
    ];
    let both = |(kernel, stride, padding, x): (usize, usize, usize, [usize; 4])| {
        [false, true].map(|average| {
            case(WindowPool { average, kernel, stride, padding }, TensorType::f32(&x))
        })
    };
    geometries.into_iter().flat_map(both).collect()
}

pub(super) fn random(dice: &mut Dice) -> Case {
    let kernel = 1 + dice.below(4);
    let x = dice.image();
    // As large as a window at least.
    let [height, width] = [1, 2].map(|axis| x.shape[axis] + kernel - 1);
    let x = x.with_extent(1, height).with_extent(2, width);
    let (average, stride, padding) = (dice.flip(), 1 + dice.below(3), dice.below(kernel / 2 + 1));
    case(WindowPool { average, kernel, stride, padding }, x)
}
