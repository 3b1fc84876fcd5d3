//! InceptionV3 up to its features, as Frechet distances use it: Szegedy et al. 2016, *Rethinking the Inception
//! Architecture for Computer Vision*, with the pools of TensorFlow's graph of 2015: averages without padding, and a
//! maximum in the last block.
//!
//! A convolution has no bias and a batch norm there; here it has a bias, and the norm is folded into both
//! ([`InceptionFeatures`](crate::classifier::InceptionFeatures) does so as it reads them).
//!
//! ```
//! use ddim::{graph::Graph, models::inception::Inception, nn::trace, value::TensorType};
//!
//! let (parameters, width) = trace(Graph::new(), |layers| {
//!     let x = layers.graph.input(TensorType::f32(&[1, Inception::SIDE, Inception::SIDE, 3]));
//!     let features = Inception.build(layers, x)?;
//!     Ok(layers.graph.type_of(features).shape.last())
//! })?;
//! assert_eq!(width, Inception::FEATURES);
//! assert_eq!(parameters, Inception.parameters()?);
//! assert_eq!(parameters[0].name, "Conv2d_1a_3x3.weight");
//! # Ok::<(), ddim::Error>(())
//! ```
use super::blocks::mean;
use crate::{
    error::Error,
    graph::Graph,
    nn::{Initial, Layers, ParameterSpec, trace},
    ops::{Concat, Conv2d, Relu, WindowPool},
    value::{TensorType, Value},
};

/// Between two sizes.
const HALVE: WindowPool = WindowPool { average: false, kernel: 3, stride: 2, padding: 0 };

/// In the blocks that keep the size, but for the last one.
const AVERAGE: WindowPool = WindowPool { average: true, kernel: 3, stride: 1, padding: 1 };

/// In the last one: TensorFlow's graph of 2015 alone has it.
const MAXIMUM: WindowPool = WindowPool { average: false, ..AVERAGE };

/// The network.
///
/// Example: [`crate::models::inception`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inception;

impl Inception {
    /// Height and width of the images that it was trained on.
    pub const SIDE: usize = 299;

    /// Numbers in an image's features.
    pub const FEATURES: usize = 2048;

    /// The parameters, in the order in which the layers ask for them.
    ///
    /// # Errors
    /// None: its size is fixed.
    pub fn parameters(&self) -> Result<Vec<ParameterSpec>, Error> {
        let (parameters, _) = trace(Graph::new(), |layers| {
            let x = layers.graph.input(TensorType::f32(&[1, Self::SIDE, Self::SIDE, 3]));
            self.build(layers, x)
        })?;
        Ok(parameters)
    }

    /// Features `[batch, 2048]` of images `x [batch, height, width, 3]`, -1 to 1, of 75x75 pixels or more.
    ///
    /// # Errors
    /// If `x` is no such image, or a parameter is missing.
    pub fn build(&self, layers: &mut Layers, x: Value) -> Result<Value, Error> {
        let first = [
            bare("Conv2d_1a_3x3", 32, 2),
            bare("Conv2d_2a_3x3", 32, 1),
            same("Conv2d_2b_3x3", 64, [3, 3]),
        ];
        let h = branch(layers, x, &first)?;
        let h = layers.push(HALVE, &[h])?;
        let second = [point("Conv2d_3b_1x1", 80), bare("Conv2d_4a_3x3", 192, 1)];
        let h = branch(layers, h, &second)?;
        let mut h = layers.push(HALVE, &[h])?;
        for (name, channels) in [("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)] {
            h = layers.scope(name, |layers| block_a(layers, h, channels))?;
        }
        h = layers.scope("Mixed_6a", |layers| block_b(layers, h))?;
        let blocks = [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)];
        for (name, width) in blocks {
            h = layers.scope(name, |layers| block_c(layers, h, width))?;
        }
        h = layers.scope("Mixed_7a", |layers| block_d(layers, h))?;
        for (name, pool) in [("Mixed_7b", AVERAGE), ("Mixed_7c", MAXIMUM)] {
            h = layers.scope(name, |layers| block_e(layers, h, pool))?;
        }
        mean(layers, h)
    }
}

/// A convolution and the rectifier behind it.
#[derive(Clone, Copy)]
struct Layer {
    name: &'static str,
    channels: usize,
    /// Height and width.
    kernel: [usize; 2],
    stride: usize,
    /// Rows above and below, columns on the left and on the right.
    padding: [usize; 2],
}

/// Of one tap.
const fn point(name: &'static str, channels: usize) -> Layer {
    Layer { name, channels, kernel: [1, 1], stride: 1, padding: [0, 0] }
}

/// With as many pixels as its input.
const fn same(name: &'static str, channels: usize, kernel: [usize; 2]) -> Layer {
    let padding = [kernel[0] / 2, kernel[1] / 2];
    Layer { kernel, padding, ..point(name, channels) }
}

/// Of 3x3 taps, without padding.
const fn bare(name: &'static str, channels: usize, stride: usize) -> Layer {
    Layer { kernel: [3, 3], stride, ..point(name, channels) }
}

impl Layer {
    fn push(self, layers: &mut Layers, x: Value) -> Result<Value, Error> {
        let Self { name, channels, kernel: [height, width], stride, padding: [rows, columns] } =
            self;
        layers.scope(name, |layers| {
            let inputs = layers.channels(x);
            let initial = Initial::Uniform(((height * width * inputs) as f64).sqrt().recip());
            let weight = layers.parameter("weight", &[height, width, inputs, channels], initial)?;
            let bias = layers.parameter("bias", &[channels], initial)?;
            let conv = Conv2d { stride, padding: [rows, rows, columns, columns] };
            let h = layers.push(conv, &[x, weight, bias])?;
            layers.push(Relu, &[h])
        })
    }
}

/// Layers one after another.
fn branch(layers: &mut Layers, x: Value, of: &[Layer]) -> Result<Value, Error> {
    of.iter().try_fold(x, |h, layer| layer.push(layers, h))
}

/// Layers behind a pool of the block's input.
fn pooled(
    layers: &mut Layers,
    x: Value,
    pool: WindowPool,
    channels: usize,
) -> Result<Value, Error> {
    let h = layers.push(pool, &[x])?;
    point("branch_pool", channels).push(layers, h)
}

/// Channels of several branches side by side.
fn joined<const N: usize>(layers: &mut Layers, branches: [Value; N]) -> Result<Value, Error> {
    let [first, rest @ ..] = &branches[..] else { unreachable!("a block has branches") };
    rest.iter().try_fold(*first, |all, next| layers.push(Concat, &[all, *next]))
}

/// The blocks at 35x35 pixels.
fn block_a(layers: &mut Layers, x: Value, channels: usize) -> Result<Value, Error> {
    let one = branch(layers, x, &[point("branch1x1", 64)])?;
    let five = [point("branch5x5_1", 48), same("branch5x5_2", 64, [5, 5])];
    let five = branch(layers, x, &five)?;
    let three = [
        point("branch3x3dbl_1", 64),
        same("branch3x3dbl_2", 96, [3, 3]),
        same("branch3x3dbl_3", 96, [3, 3]),
    ];
    let three = branch(layers, x, &three)?;
    let pool = pooled(layers, x, AVERAGE, channels)?;
    joined(layers, [one, five, three, pool])
}

/// From 35x35 to 17x17 pixels.
fn block_b(layers: &mut Layers, x: Value) -> Result<Value, Error> {
    let three = branch(layers, x, &[bare("branch3x3", 384, 2)])?;
    let double = [
        point("branch3x3dbl_1", 64),
        same("branch3x3dbl_2", 96, [3, 3]),
        bare("branch3x3dbl_3", 96, 2),
    ];
    let double = branch(layers, x, &double)?;
    let pool = layers.push(HALVE, &[x])?;
    joined(layers, [three, double, pool])
}

/// The blocks at 17x17 pixels.
fn block_c(layers: &mut Layers, x: Value, width: usize) -> Result<Value, Error> {
    let one = branch(layers, x, &[point("branch1x1", 192)])?;
    let seven = [
        point("branch7x7_1", width),
        same("branch7x7_2", width, [1, 7]),
        same("branch7x7_3", 192, [7, 1]),
    ];
    let seven = branch(layers, x, &seven)?;
    let double = [
        point("branch7x7dbl_1", width),
        same("branch7x7dbl_2", width, [7, 1]),
        same("branch7x7dbl_3", width, [1, 7]),
        same("branch7x7dbl_4", width, [7, 1]),
        same("branch7x7dbl_5", 192, [1, 7]),
    ];
    let double = branch(layers, x, &double)?;
    let pool = pooled(layers, x, AVERAGE, 192)?;
    joined(layers, [one, seven, double, pool])
}

/// From 17x17 to 8x8 pixels.
fn block_d(layers: &mut Layers, x: Value) -> Result<Value, Error> {
    let three = [point("branch3x3_1", 192), bare("branch3x3_2", 320, 2)];
    let three = branch(layers, x, &three)?;
    let seven = [
        point("branch7x7x3_1", 192),
        same("branch7x7x3_2", 192, [1, 7]),
        same("branch7x7x3_3", 192, [7, 1]),
        bare("branch7x7x3_4", 192, 2),
    ];
    let seven = branch(layers, x, &seven)?;
    let pool = layers.push(HALVE, &[x])?;
    joined(layers, [three, seven, pool])
}

/// The blocks at 8x8 pixels.
fn block_e(layers: &mut Layers, x: Value, pool: WindowPool) -> Result<Value, Error> {
    let one = branch(layers, x, &[point("branch1x1", 320)])?;
    let three = branch(layers, x, &[point("branch3x3_1", 384)])?;
    let three_a = branch(layers, three, &[same("branch3x3_2a", 384, [1, 3])])?;
    let three_b = branch(layers, three, &[same("branch3x3_2b", 384, [3, 1])])?;
    let double = [point("branch3x3dbl_1", 448), same("branch3x3dbl_2", 384, [3, 3])];
    let double = branch(layers, x, &double)?;
    let double_a = branch(layers, double, &[same("branch3x3dbl_3a", 384, [1, 3])])?;
    let double_b = branch(layers, double, &[same("branch3x3dbl_3b", 384, [3, 1])])?;
    let pool = pooled(layers, x, pool, 192)?;
    joined(layers, [one, three_a, three_b, double_a, double_b, pool])
}
