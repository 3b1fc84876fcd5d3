//! Between an image and one of half its height and width: nearest upsampling, average pooling.
use crate::{
    ops::{Op, prelude::*},
    shaders::resample as shader,
};

/// Every pixel of `x [batch, height, width, channels]` becomes a block of 2x2.
///
/// ```
/// use ddim::ops::{Operator, UpsampleNearest, UpsampleNearestBackward};
/// use ddim::{reference::Tensor, value::Shape};
///
/// let x = Tensor::new(Shape::new(&[1, 1, 1, 1]), vec![3.0]);
/// let y = &UpsampleNearest.reference(&[&x])[0];
/// assert_eq!(y.data, [3.0; 4]);
/// assert_eq!(UpsampleNearestBackward.reference(&[y])[0].data, [12.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpsampleNearest;

/// Sum of every block of 2x2: the gradient of [`UpsampleNearest`].
///
/// Example: [`UpsampleNearest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpsampleNearestBackward;

/// Mean of every block of 2x2; an odd last row or column is left out.
///
/// ```
/// use ddim::ops::{AveragePool, AveragePoolBackward, Operator};
/// use ddim::{reference::Tensor, value::Shape};
///
/// let x = Tensor::new(Shape::new(&[1, 2, 2, 1]), vec![1.0, 2.0, 3.0, 6.0]);
/// let y = &AveragePool.reference(&[&x])[0];
/// assert_eq!(y.data, [3.0]);
/// let gradient = AveragePoolBackward { height: 2, width: 2 };
/// assert_eq!(gradient.reference(&[y])[0].data, [0.75; 4]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AveragePool;

/// The gradient of [`AveragePool`] for an image of this size.
///
/// Example: [`AveragePool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AveragePoolBackward {
    /// Rows of the pooled image.
    pub height: usize,
    /// Columns of the pooled image.
    pub width: usize,
}

display!("upsample_nearest", UpsampleNearest);

display!("upsample_nearest_backward", UpsampleNearestBackward);

display!("average_pool", AveragePool);

display!("average_pool_backward", AveragePoolBackward { height, width });

/// The image operand, if it is one.
fn image(check: Check) -> Result<[usize; 4], ShapeError> {
    let [x] = check.operands()?;
    check.floats("x", x)?;
    let expected = "[batch, height, width, channels]";
    check.that(x.shape.len() == 4, "x", expected, x)?;
    Ok([x.shape[0], x.shape[1], x.shape[2], x.shape[3]])
}

/// `image`, for an operand that must hold at least one whole block.
fn blocks(check: Check) -> Result<[usize; 4], ShapeError> {
    let extents = image(check)?;
    let [_, height, width, _] = extents;
    if height < 2 || width < 2 {
        let message = format!("x must have at least 2x2 pixels, found {height}x{width}");
        return Err(check.conflict(message));
    }
    Ok(extents)
}

/// Position of a pixel's first channel in an image tensor of these extents.
fn offset(of: [usize; 4], image: usize, row: usize, column: usize) -> usize {
    let [_, height, width, channels] = of;
    ((image * height + row) * width + column) * channels
}

/// Calls `each` with the first channel of each pixel of an image of `large` extents, and that of the
/// pixel whose block it belongs to in an image of `small` ones; pixels of no block are left out.
fn blocks_of(large: [usize; 4], small: [usize; 4], mut each: impl FnMut(usize, usize)) {
    for image in 0..small[0] {
        for row in 0..large[1].min(2 * small[1]) {
            for column in 0..large[2].min(2 * small[2]) {
                let pixel = offset(large, image, row, column);
                each(pixel, offset(small, image, row / 2, column / 2));
            }
        }
    }
}

fn extents(x: &Tensor) -> [usize; 4] {
    [x.shape[0], x.shape[1], x.shape[2], x.shape[3]]
}

/// Every pixel of `x`, scaled, as a block of an image of `height` by `width`; zeros elsewhere.
fn reference_up(x: &Tensor, height: usize, width: usize, scale: f64) -> Tensor {
    let small = extents(x);
    let large = [small[0], height, width, small[3]];
    let mut y = Tensor::zeros(TensorType::f32(&large).shape);
    blocks_of(large, small, |to, from| {
        for channel in 0..small[3] {
            y.data[to + channel] = scale * x.data[from + channel];
        }
    });
    y
}

/// The sum of every whole block of `x`, scaled.
fn reference_down(x: &Tensor, scale: f64) -> Tensor {
    let large = extents(x);
    let small = [large[0], large[1] / 2, large[2] / 2, large[3]];
    let mut y = Tensor::zeros(TensorType::f32(&small).shape);
    blocks_of(large, small, |from, to| {
        for channel in 0..small[3] {
            y.data[to + channel] += scale * x.data[from + channel];
        }
    });
    y
}

fn params(small: TensorType, large: TensorType, scale: f32) -> shader::Params {
    shader::Params {
        batch: small.shape[0] as u32,
        height: small.shape[1] as u32,
        width: small.shape[2] as u32,
        large_height: large.shape[1] as u32,
        large_width: large.shape[2] as u32,
        channels4: small.pitch() as u32 / 4,
        scale,
    }
}

/// An invocation of `up` writes the pixels of a block, one of `down` reads them.
fn lower(lowering: &mut Lowering, equation: &Equation, up: bool, scale: f32) -> Result<(), Error> {
    let (x, y) = (equation.inputs[0], equation.outputs[0]);
    let (of_x, of_y) = (lowering.type_of(x), lowering.type_of(y));
    let (small, large) = if up { (of_x, of_y) } else { (of_y, of_x) };
    let (params, overrides) = (params(small, large, scale), shader::Overrides::default());
    // Blocks that are cut off are written too.
    let [rows, columns] = if up {
        [1, 2].map(|axis| large.shape[axis].div_ceil(2))
    } else {
        [small.shape[1], small.shape[2]]
    };
    let invocations = columns as u32 * params.channels4;
    let [y_rows, z_rows, _] = fold(small.shape[0] * rows);
    let grid = [invocations.div_ceil(overrides.workgroup), y_rows, z_rows];
    Ok(lowering.push(match up {
        true => shader::Up { x, y }.dispatch(params, overrides, grid),
        false => shader::Down { x, y }.dispatch(params, overrides, grid),
    })?)
}

fn infer_up(x: TensorType, [batch, height, width, channels]: [usize; 4]) -> TensorType {
    x.with_shape(&[batch, 2 * height, 2 * width, channels])
}

fn infer_down(x: TensorType, [batch, height, width, channels]: [usize; 4]) -> TensorType {
    x.with_shape(&[batch, height / 2, width / 2, channels])
}

impl Operator for UpsampleNearest {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let extents = image(Check::new(self, inputs))?;
        Ok(vec![infer_up(inputs[0], extents)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let x = inputs[0];
        vec![reference_up(x, 2 * x.shape[1], 2 * x.shape[2], 1.0)]
    }

    fn vjp(&self, backward: &mut Backward, _: &Equation) -> Result<Gradients, Error> {
        let dy = backward.dy();
        Ok(vec![Some(backward.push(UpsampleNearestBackward, &[dy])?)])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        lower(lowering, equation, true, 1.0)
    }
}

impl Operator for UpsampleNearestBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let extents = blocks(Check::new(self, inputs))?;
        Ok(vec![infer_down(inputs[0], extents)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![reference_down(inputs[0], 1.0)]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        lower(lowering, equation, false, 1.0)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        Cost { flops: inputs[0].shape.elements() as u64, bytes: inputs[0].bytes() * 5 / 4 }
    }
}

impl Operator for AveragePool {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let extents = blocks(Check::new(self, inputs))?;
        Ok(vec![infer_down(inputs[0], extents)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![reference_down(inputs[0], 0.25)]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let dy = backward.dy();
        let x = backward.type_of(equation.inputs[0]).shape;
        let op = AveragePoolBackward { height: x[1], width: x[2] };
        Ok(vec![Some(backward.push(op, &[dy])?)])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        lower(lowering, equation, false, 0.25)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        Cost { flops: inputs[0].shape.elements() as u64, bytes: inputs[0].bytes() * 5 / 4 }
    }
}

impl Operator for AveragePoolBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [batch, height, width, channels] = image(check)?;
        let [expected_height, expected_width] = [self.height / 2, self.width / 2];
        if [height, width] != [expected_height, expected_width] {
            let expected = format!("{expected_height}x{expected_width} pixels");
            return Err(check.conflict(format!("x must have {expected}, found {height}x{width}")));
        }
        Ok(vec![inputs[0].with_shape(&[batch, self.height, self.width, channels])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![reference_up(inputs[0], self.height, self.width, 0.25)]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        lower(lowering, equation, true, 0.25)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let flops = inputs[0].shape.elements() as u64;
        Cost { flops, bytes: 5 * inputs[0].bytes() }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let x = |shape| vec![Input::normal(TensorType::f32(shape))];
    let case = |case: Case| case.terms(4).half(&[0]);
    vec![
        case(Case::new(UpsampleNearest, x(&[2, 7, 5, 3]))),
        case(Case::new(UpsampleNearest, x(&[1, 1, 1, 5]))),
        case(Case::new(UpsampleNearest, x(&[3, 8, 8, 32]))),
        case(Case::new(UpsampleNearestBackward, x(&[2, 14, 10, 3]))),
        case(Case::new(UpsampleNearestBackward, x(&[3, 16, 16, 32]))),
        case(Case::new(AveragePool, x(&[2, 7, 5, 5]))),
        case(Case::new(AveragePool, x(&[1, 2, 3, 1]))),
        case(Case::new(AveragePool, x(&[3, 16, 16, 32]))),
        case(Case::new(AveragePoolBackward { height: 7, width: 5 }, x(&[2, 3, 2, 5]))),
        case(Case::new(AveragePoolBackward { height: 16, width: 16 }, x(&[3, 8, 8, 32]))),
        case(Case::new(UpsampleNearest, x(&[MANY_IMAGES, 1, 1, 1]))),
        case(Case::new(UpsampleNearestBackward, x(&[MANY_IMAGES, 2, 2, 1]))),
        case(Case::new(AveragePool, x(&[MANY_IMAGES, 2, 3, 1]))),
        case(Case::new(AveragePoolBackward { height: 2, width: 3 }, x(&[MANY_IMAGES, 1, 1, 1]))),
    ]
}

pub(super) fn random(dice: &mut Dice) -> Case {
    let x = dice.image();
    let extents = [x.shape[0], x.shape[1], x.shape[2], x.shape[3]];
    let [height, width] = [1, 2].map(|axis| 2 * x.shape[axis] + usize::from(dice.flip()));
    let pooled = x.with_extent(1, x.shape[1] + 1).with_extent(2, x.shape[2] + 1);
    let case = |op: Op, x| Case::new(op, vec![Input::normal(x)]).terms(4).half(&[0]);
    dice.one_of([
        case(UpsampleNearest.into(), x),
        case(UpsampleNearestBackward.into(), infer_up(x, extents)),
        case(AveragePool.into(), pooled),
        case(AveragePoolBackward { height, width }.into(), x),
    ])
}
