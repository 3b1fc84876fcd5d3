//! InceptionV3 up to its features, as Frechet distances use it: Szegedy et al. 2016, *Rethinking the Inception
//! Architecture for Computer Vision*, with the pools of TensorFlow's graph of 2015: averages without padding, and a
//! maximum in the last block.
//!
//! Weights are those of `pt_inception-2015-12-05`, which torch-fidelity and pytorch-fid share: convolutions without a bias and a
//! batch norm each, which is folded into weight and bias when they are read.
use crate::{
    error::Error,
    nn::{Initial, Layers, ParameterSpec, trace},
    ops::{Concat, Conv2d, Relu, WindowPool},
    value::{TensorType, Value},
};

const MOST: WindowPool = WindowPool { average: false, kernel: 3, stride: 2, padding: 0 };
const AVERAGE: WindowPool = WindowPool { average: true, kernel: 3, stride: 1, padding: 1 };

/// The network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inception;

/// A convolution with its batch norm and a rectifier: name, channels, kernel (height and width), stride, and whether the
/// output is as large as the input.
type Layer = (&'static str, usize, [usize; 2], usize, bool);

const fn point(name: &'static str, channels: usize) -> Layer {
    (name, channels, [1, 1], 1, false)
}

const fn same(name: &'static str, channels: usize, kernel: [usize; 2]) -> Layer {
    (name, channels, kernel, 1, true)
}

const fn down(name: &'static str, channels: usize) -> Layer {
    (name, channels, [3, 3], 2, false)
}

impl Inception {
    /// Height and width of the images that it sees.
    pub const SIDE: usize = 299;

    /// Numbers in an image's features.
    pub const FEATURES: usize = 2048;

    /// The parameters, in the order in which the layers ask for them.
    ///
    /// # Errors
    /// None.
    pub fn parameters(&self) -> Result<Vec<ParameterSpec>, Error> {
        let (parameters, _) = trace(|layers| {
            let x = layers.graph.input(TensorType::f32(&[1, Self::SIDE, Self::SIDE, 3]));
            self.build(layers, x)
        })?;
        Ok(parameters)
    }

    /// The last feature maps `[batch, 8, 8, 2048]` of images `x [batch, 299, 299, 3]`, -1 to 1. Their mean over the pixels
    /// is what distances are measured in.
    ///
    /// # Errors
    /// If `x` is no such image, or a parameter is missing.
    pub fn build(&self, layers: &mut Layers, x: Value) -> Result<Value, Error> {
        let h = chain(
            layers,
            x,
            &[
                down("Conv2d_1a_3x3", 32),
                ("Conv2d_2a_3x3", 32, [3, 3], 1, false),
                same("Conv2d_2b_3x3", 64, [3, 3]),
            ],
        )?;
        let h = layers.push(MOST, &[h])?;
        let h = chain(
            layers,
            h,
            &[point("Conv2d_3b_1x1", 80), ("Conv2d_4a_3x3", 192, [3, 3], 1, false)],
        )?;
        let mut h = layers.push(MOST, &[h])?;
        for (name, pooled) in [("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)] {
            h = layers.scope(name, |layers| small(layers, h, pooled))?;
        }
        h = layers.scope("Mixed_6a", |layers| {
            let first = chain(layers, h, &[down("branch3x3", 384)])?;
            let second = chain(
                layers,
                h,
                &[
                    point("branch3x3dbl_1", 64),
                    same("branch3x3dbl_2", 96, [3, 3]),
                    down("branch3x3dbl_3", 96),
                ],
            )?;
            let pool = layers.push(MOST, &[h])?;
            joined(layers, &[first, second, pool])
        })?;
        for (name, inner) in
            [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)]
        {
            h = layers.scope(name, |layers| long(layers, h, inner))?;
        }
        h = layers.scope("Mixed_7a", |layers| {
            let first = chain(layers, h, &[point("branch3x3_1", 192), down("branch3x3_2", 320)])?;
            let second = chain(
                layers,
                h,
                &[
                    point("branch7x7x3_1", 192),
                    same("branch7x7x3_2", 192, [1, 7]),
                    same("branch7x7x3_3", 192, [7, 1]),
                    down("branch7x7x3_4", 192),
                ],
            )?;
            let pool = layers.push(MOST, &[h])?;
            joined(layers, &[first, second, pool])
        })?;
        let last = WindowPool { average: false, ..AVERAGE };
        for (name, pool) in [("Mixed_7b", AVERAGE), ("Mixed_7c", last)] {
            h = layers.scope(name, |layers| wide(layers, h, pool))?;
        }
        Ok(h)
    }
}

/// Layers one after another.
fn chain(layers: &mut Layers, mut h: Value, chain: &[Layer]) -> Result<Value, Error> {
    for &(name, channels, [height, width], stride, same) in chain {
        h = layers.scope(name, |layers| {
            let inputs = layers.channels(h);
            let initial = Initial::Normal(0.1);
            let shape = [height, width, inputs, channels];
            let weight = layers.parameter("weight", &shape, initial)?;
            let bias = layers.parameter("bias", &[channels], initial)?;
            let [down, across] = [height, width].map(|side| if same { side / 2 } else { 0 });
            let op = Conv2d { stride, padding: [down, down, across, across] };
            let h = layers.push(op, &[h, weight, bias])?;
            layers.push(Relu, &[h])
        })?;
    }
    Ok(h)
}

/// Channels of several values side by side.
fn joined(layers: &mut Layers, parts: &[Value]) -> Result<Value, Error> {
    let mut joined = parts[0];
    for &part in &parts[1..] {
        joined = layers.push(Concat, &[joined, part])?;
    }
    Ok(joined)
}

/// The blocks at 35x35 pixels.
fn small(layers: &mut Layers, x: Value, pooled: usize) -> Result<Value, Error> {
    let first = chain(layers, x, &[point("branch1x1", 64)])?;
    let second = chain(layers, x, &[point("branch5x5_1", 48), same("branch5x5_2", 64, [5, 5])])?;
    let third = chain(
        layers,
        x,
        &[
            point("branch3x3dbl_1", 64),
            same("branch3x3dbl_2", 96, [3, 3]),
            same("branch3x3dbl_3", 96, [3, 3]),
        ],
    )?;
    let pool = layers.push(AVERAGE, &[x])?;
    let pool = chain(layers, pool, &[point("branch_pool", pooled)])?;
    joined(layers, &[first, second, third, pool])
}

/// The blocks at 17x17 pixels.
fn long(layers: &mut Layers, x: Value, inner: usize) -> Result<Value, Error> {
    let first = chain(layers, x, &[point("branch1x1", 192)])?;
    let second = chain(
        layers,
        x,
        &[
            point("branch7x7_1", inner),
            same("branch7x7_2", inner, [1, 7]),
            same("branch7x7_3", 192, [7, 1]),
        ],
    )?;
    let third = chain(
        layers,
        x,
        &[
            point("branch7x7dbl_1", inner),
            same("branch7x7dbl_2", inner, [7, 1]),
            same("branch7x7dbl_3", inner, [1, 7]),
            same("branch7x7dbl_4", inner, [7, 1]),
            same("branch7x7dbl_5", 192, [1, 7]),
        ],
    )?;
    let pool = layers.push(AVERAGE, &[x])?;
    let pool = chain(layers, pool, &[point("branch_pool", 192)])?;
    joined(layers, &[first, second, third, pool])
}

/// The blocks at 8x8 pixels.
fn wide(layers: &mut Layers, x: Value, pool: WindowPool) -> Result<Value, Error> {
    let first = chain(layers, x, &[point("branch1x1", 320)])?;
    let second = chain(layers, x, &[point("branch3x3_1", 384)])?;
    let [a, b] = [("branch3x3_2a", [1, 3]), ("branch3x3_2b", [3, 1])]
        .map(|(name, kernel)| chain(layers, second, &[same(name, 384, kernel)]));
    let third =
        chain(layers, x, &[point("branch3x3dbl_1", 448), same("branch3x3dbl_2", 384, [3, 3])])?;
    let [c, d] = [("branch3x3dbl_3a", [1, 3]), ("branch3x3dbl_3b", [3, 1])]
        .map(|(name, kernel)| chain(layers, third, &[same(name, 384, kernel)]));
    let pool = layers.push(pool, &[x])?;
    let pool = chain(layers, pool, &[point("branch_pool", 192)])?;
    joined(layers, &[first, a?, b?, c?, d?, pool])
}
