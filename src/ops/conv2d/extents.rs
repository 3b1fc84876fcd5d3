//! Extents of a convolution, shared by the forward op and its gradients.
use crate::{
    error::ShapeError,
    value::{ElementType, TensorType},
};
use std::ops::RangeInclusive;

/// Everything that says which pixels meet in a convolution, named as in the forward direction.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Extents {
    pub batch: usize,
    pub in_height: usize,
    pub in_width: usize,
    pub in_channels: usize,
    pub out_height: usize,
    pub out_width: usize,
    pub out_channels: usize,
    pub kernel: [usize; 2],
    pub stride: usize,
    /// Pixels of `y` from one of `x` to the next: 1, or the forward stride in an input gradient.
    pub spread: usize,
    pub top: usize,
    pub left: usize,
}

impl Extents {
    /// Extents of a convolution that `infer` has accepted.
    pub fn new(
        x: TensorType,
        kernel: [usize; 2],
        out_channels: usize,
        stride: usize,
        [top, bottom, left, right]: [usize; 4],
    ) -> Self {
        let [batch, in_height, in_width, in_channels] = x.shape[..] else {
            unreachable!("four axes, as infer found")
        };
        Self {
            batch,
            in_height,
            in_width,
            in_channels,
            out_height: (in_height + top + bottom - kernel[0]) / stride + 1,
            out_width: (in_width + left + right - kernel[1]) / stride + 1,
            out_channels,
            kernel,
            stride,
            spread: 1,
            top,
            left,
        }
    }

    /// A product of matrices: `rows` pixels and one tap.
    pub fn product(rows: usize, in_channels: usize, out_channels: usize) -> Self {
        Self::new(TensorType::f32(&[1, 1, rows, in_channels]), [1, 1], out_channels, 1, [0; 4])
    }

    /// Whether it is a product of matrices: one tap on each pixel.
    pub fn is_product(&self) -> bool {
        self.taps() == 1 && self.stride == 1 && self.spread == 1
    }

    /// The convolution that gives the input gradient of this one: from `y` to `x` by the turned
    /// kernel, the stride as spread.
    pub fn turned(&self) -> Self {
        Self {
            in_height: self.out_height,
            in_width: self.out_width,
            in_channels: self.out_channels,
            out_height: self.in_height,
            out_width: self.in_width,
            out_channels: self.in_channels,
            stride: 1,
            spread: self.stride,
            top: self.kernel[0] - 1 - self.top,
            left: self.kernel[1] - 1 - self.left,
            ..*self
        }
    }

    /// Type of the output in storage `element`.
    pub fn y(&self, element: ElementType) -> TensorType {
        TensorType::f32(&[self.batch, self.out_height, self.out_width, self.out_channels])
            .with_element(element)
    }

    /// Output pixels in all images.
    pub fn pixels(&self) -> usize {
        self.batch * self.out_height * self.out_width
    }

    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Two operations per tap, pixel and pair of channels, those that meet padding included.
    pub fn flops(&self) -> u64 {
        let pairs = (self.in_channels * self.out_channels) as u64;
        let spread = self.batch * self.in_height * self.in_width;
        let pixels = if self.spread > 1 { spread } else { self.pixels() };
        2_u64.saturating_mul((pixels * self.taps()) as u64).saturating_mul(pairs)
    }

    /// Calls `add(x, weight, y)` with the places of the elements of each product in the sum.
    pub fn for_each_product(&self, mut add: impl FnMut(usize, usize, usize)) {
        self.for_each_tap(|tap, source, pixel| {
            for c in 0..self.in_channels {
                let row = (tap * self.in_channels + c) * self.out_channels;
                for o in 0..self.out_channels {
                    add(source * self.in_channels + c, row + o, pixel * self.out_channels + o);
                }
            }
        });
    }

    /// Calls `meet(tap, pixel of x, pixel of y)` for all that meet, pixels numbered through.
    fn for_each_tap(&self, mut meet: impl FnMut(usize, usize, usize)) {
        for pixel in 0..self.pixels() {
            let (row, ox) = (pixel / self.out_width, pixel % self.out_width);
            let (n, oy) = (row / self.out_height, row % self.out_height);
            for tap in 0..self.taps() {
                let y = (oy * self.stride + tap / self.kernel[1]).checked_sub(self.top);
                let x = (ox * self.stride + tap % self.kernel[1]).checked_sub(self.left);
                if let (Some(y), Some(x)) = (y, x)
                    && y < self.in_height
                    && x < self.in_width
                {
                    meet(tap, (n * self.in_height + y) * self.in_width + x, pixel);
                }
            }
        }
    }
}

/// What an operand of a convolution or linear layer must look like.
pub(in crate::ops) struct Form {
    axes: RangeInclusive<usize>,
    expected: &'static str,
}

impl Form {
    pub const IMAGES: Self = Self { axes: 4..=4, expected: "[batch, height, width, channels]" };
    pub const TAPS: Self =
        Self { axes: 4..=4, expected: "[kernel_height, kernel_width, in_channels, out_channels]" };
    pub const ROWS: Self = Self { axes: 2..=usize::MAX, expected: "rows of channels" };
    pub const MATRIX: Self = Self { axes: 2..=2, expected: "[in_channels, out_channels]" };

    /// Refuses an operand of other axes, or one that holds no floats.
    pub fn check(
        &self,
        op: &str,
        operand: &str,
        found: TensorType,
        operands: &[TensorType],
    ) -> Result<(), ShapeError> {
        if self.axes.contains(&found.shape.len()) && found.element != ElementType::U32 {
            return Ok(());
        }
        Err(ShapeError::operand(op, operand, self.expected, found, operands))
    }
}

/// Height and width of the output.
pub(super) fn output(
    op: &str,
    image: [usize; 2],
    kernel: [usize; 2],
    stride: usize,
    [top, bottom, left, right]: [usize; 4],
    operands: &[TensorType],
) -> Result<[usize; 2], ShapeError> {
    let wrong = |message: String| Err(ShapeError::conflict(op, message, operands));
    let mut output = [0; 2];
    for (axis, padding) in [(0, [top, bottom]), (1, [left, right])] {
        let (pixels, taps) = (image[axis], kernel[axis]);
        let name = ["height", "width"][axis];
        let kernel = format!("kernel {name}");
        for (what, found) in [("stride", stride), (&kernel, taps)] {
            if !(1..=TensorType::MAX_ELEMENTS).contains(&found) {
                let expected = format!("1 to {}", TensorType::MAX_ELEMENTS);
                return Err(ShapeError::operand(op, what, expected, found, operands));
            }
        }
        if padding.iter().any(|&zeros| zeros >= taps) {
            return wrong(format!("padding {padding:?} must be below the kernel {name}, {taps}"));
        }
        let padded = pixels.saturating_add(padding[0] + padding[1]);
        let Some(room) = padded.checked_sub(taps) else {
            return wrong(format!("kernel {name} {taps} exceeds the padded {name} {padded}"));
        };
        output[axis] = room / stride + 1;
    }
    Ok(output)
}
