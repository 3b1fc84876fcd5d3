//! The classifier's network as equations.
use crate::{
    error::Error,
    graph::Graph,
    ops::{Conv2d, Linear, Silu},
    unet::{Initial, ParameterSpec, Views},
    value::{TensorType, Value},
};

/// Channels of the first convolution, which sees the image at full size. Kernels compute panels
/// of 32 output channels: fewer would cost as much.
const FIRST: usize = 32;

/// What a classifier tells apart: images of one size, in so many classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// `[height, width, channels]` of an image.
    pub size: [usize; 3],
    /// Number of classes.
    pub classes: usize,
}

impl Network {
    /// Numbers in an image's features.
    pub const FEATURES: usize = 64;

    /// Input channels of every convolution: after the first, each halves the image, until a
    /// single pixel is left.
    fn convolutions(&self) -> Vec<usize> {
        let [height, width, channels] = self.size;
        let mut inputs = vec![channels, FIRST];
        let mut side = height.max(width).div_ceil(2);
        while side > 1 {
            inputs.push(Self::FEATURES);
            side = side.div_ceil(2);
        }
        inputs
    }

    /// Parameters, with PyTorch's default start.
    pub(super) fn parameters(&self) -> Vec<ParameterSpec> {
        let mut specs = Vec::new();
        let mut affine = |name: String, shape: &[usize]| {
            let (&outputs, inner) = shape.split_last().expect("a weight has axes");
            let initial = Initial::Uniform((inner.iter().product::<usize>() as f64).sqrt().recip());
            let spec =
                |part: &str, of| ParameterSpec { name: format!("{name}.{part}"), of, initial };
            specs.push(spec("weight", TensorType::f32(shape)));
            specs.push(spec("bias", TensorType::f32(&[outputs])));
        };
        for (layer, inputs) in self.convolutions().into_iter().enumerate() {
            let outputs = if layer == 0 { FIRST } else { Self::FEATURES };
            affine(format!("convolutions.{layer}"), &[3, 3, inputs, outputs]);
        }
        affine("classes".into(), &[Self::FEATURES, self.classes]);
        specs
    }

    /// Features `[batch, 1, 1, 64]` and logits `[batch, 1, 1, classes]` of images
    /// `x [batch, height, width, channels]`, -1 to 1.
    pub(super) fn build(
        &self,
        graph: &mut Graph,
        views: &Views,
        x: Value,
    ) -> Result<[Value; 2], Error> {
        let parameter = |name: String| views.get(&name).ok_or(Error::MissingParameter { name });
        let mut h = x;
        for layer in 0..self.convolutions().len() {
            let weight = parameter(format!("convolutions.{layer}.weight"))?;
            let bias = parameter(format!("convolutions.{layer}.bias"))?;
            let stride = if layer == 0 { 1 } else { 2 };
            h = graph.push(Conv2d { stride, padding: [1; 4] }, &[h, weight, bias])?;
            h = graph.push(Silu, &[h])?;
        }
        let [weight, bias] =
            [parameter("classes.weight".into())?, parameter("classes.bias".into())?];
        Ok([h, graph.push(Linear, &[h, weight, bias])?])
    }
}
