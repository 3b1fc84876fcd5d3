//! Mean and squared deviations of tiles of pixels: what statistics of groups are merged from.
use super::about_a_mean;
use crate::{
    ops::{kit::pixel_tile::Images, prelude::*},
    shaders::group_norm as shader,
};

/// Moments of every channel over tiles of pixels: operand `x [batch, height, width, channels]` or
/// `[batch, tokens, channels]`; output `moments [batch, tiles, 2, channels]` = (mean, sum of
/// squared deviations from it), f32.
///
/// The tiles are squares of 4 x 4 pixels, in row-major order, if `x` has four axes and height and
/// width are multiples of 4; otherwise runs of 16 consecutive pixels, the last perhaps shorter.
///
/// Example: [`crate::ops::GroupAffine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupMoments;

/// The tiles of one image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiles {
    /// Tiles side by side.
    across: usize,
    /// Tiles above each other.
    down: usize,
    /// Pixels from one line of a tile to the next: a run is a square whose lines touch.
    line: usize,
    /// Pixels from one tile to the next.
    step: usize,
}

impl Tiles {
    /// Lines of a tile, and pixels of a line: what a Winograd kernel F(4x4, 3x3) computes at once.
    const EDGE: usize = 4;

    /// Pixels of a tile; the last one may have fewer.
    pub const PIXELS: usize = Self::EDGE * Self::EDGE;

    /// The tiles of a tensor of images or tokens.
    pub fn of(x: TensorType) -> Self {
        let edge = Self::EDGE;
        if let [_, height, width, _] = x.shape[..]
            && height.is_multiple_of(edge)
            && width.is_multiple_of(edge)
        {
            return Self { across: width / edge, down: height / edge, line: width, step: edge };
        }
        let across = Images::unchecked(x).pixels.div_ceil(Self::PIXELS);
        Self { across, down: 1, line: edge, step: Self::PIXELS }
    }

    /// Whether they are squares of 4 x 4 pixels.
    pub fn are_squares(&self) -> bool {
        self.step == Self::EDGE
    }

    /// Tiles of an image.
    pub fn count(&self) -> usize {
        self.across * self.down
    }

    /// The pixels of a tile, of an image of so many.
    fn members(self, tile: usize, pixels: usize) -> impl Iterator<Item = usize> {
        let (row, column) = (tile / self.across, tile % self.across);
        let corner = row * Self::EDGE * self.line + column * self.step;
        let member = move |i| corner + i / Self::EDGE * self.line + i % Self::EDGE;
        (0..Self::PIXELS).map(member).filter(move |&pixel| pixel < pixels)
    }
}

impl GroupMoments {
    /// Appends what computes the moments of `x`.
    ///
    /// # Errors
    /// As [`Lowering::push`].
    pub(in crate::ops) fn compute(
        self,
        lowering: &mut Lowering,
        x: Value,
        moments: Value,
    ) -> Result<(), Error> {
        let of = lowering.type_of(x);
        let (images, tiles) = (Images::unchecked(of), Tiles::of(of));
        let overrides = shader::Overrides::default();
        let params = shader::Params {
            batch: images.batch as u32,
            pixels: images.pixels as u32,
            channels4: images.channels4() as u32,
            tiles: tiles.count() as u32,
            line: tiles.line as u32,
            step: tiles.step as u32,
            tiles_across: tiles.across as u32,
            tiles_down: tiles.down as u32,
            ..shader::Params::default()
        };
        let [columns, y, folds] = images.grid_of(tiles.across, overrides.workgroup);
        let kernel = shader::Moments { x, moments_out: moments };
        let grid = [columns, y, folds * params.tiles_down];
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }
}

/// Type of the moments of `x`.
pub(super) fn moments_type(x: TensorType) -> TensorType {
    TensorType::f32(&[x.shape[0], Tiles::of(x).count(), 2, x.shape.last()])
}

display!("group_moments", GroupMoments);

impl Operator for GroupMoments {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x] = check.operands()?;
        Images::of(check, "x", x)?;
        Ok(vec![moments_type(x)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let x = inputs[0];
        let of = TensorType::f32(&x.shape);
        let (images, tiles) = (Images::unchecked(of), Tiles::of(of));
        let mut moments = Tensor::zeros(moments_type(of).shape);
        for n in 0..images.batch {
            for tile in 0..tiles.count() {
                for channel in 0..images.channels {
                    let at = |pixel| (n * images.pixels + pixel) * images.channels + channel;
                    let pixels = tiles.members(tile, images.pixels);
                    let members: Vec<f64> = pixels.map(|pixel| x.data[at(pixel)]).collect();
                    let mean = members.iter().sum::<f64>() / members.len() as f64;
                    let row = 2 * (n * tiles.count() + tile) * images.channels + channel;
                    moments.data[row] = mean;
                    moments.data[row + images.channels] =
                        members.iter().map(|x| (x - mean).powi(2)).sum();
                }
            }
        }
        vec![moments]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        self.compute(lowering, equation.inputs[0], equation.outputs[0])
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let bytes = inputs[0].bytes() + moments_type(inputs[0]).bytes();
        Cost { flops: 4 * inputs[0].shape.elements() as u64, bytes }
    }

    /// Sums are of whole vec4s, and of differences.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

fn case(x: Input) -> Case {
    Case::new(GroupMoments, vec![x]).terms(Tiles::PIXELS).half(&[0])
}

pub(super) fn cases() -> Vec<Case> {
    let case = |shape: &[usize], mean, note: &str| {
        case(Input::shifted(TensorType::f32(shape), mean, 1.0)).name(note)
    };
    vec![
        case(&[2, 8, 12, 5], 0.0, "squares of odd channels"),
        case(&[1, 4, 4, 8], 50.0, "one square, mean far from zero"),
        case(&[2, 7, 5, 12], 0.0, "runs, the last one shorter"),
        case(&[1, 6, 8, 4], 0.0, "height no multiple of four"),
        case(&[3, 65, 7], 50.0, "tokens, mean far from zero"),
        case(&[1, 1, 1], 0.0, "one number"),
        case(&[2, 16, 16, 32], 0.0, ""),
    ]
}

pub(super) fn random(dice: &mut Dice) -> Case {
    let x = dice.spatial();
    case(about_a_mean(dice, x, 1.0).0)
}
