//! A small convolutional classifier of images.
//!
//! ```
//! use ddim::{graph::Graph, models::classifier::ConvClassifier, nn::trace, value::TensorType};
//!
//! let network = ConvClassifier { size: [28, 28, 1], classes: 10 };
//! let (parameters, widths) = trace(Graph::new(), |layers| {
//!     let x = layers.graph.input(TensorType::f32(&[16, 28, 28, 1]));
//!     let results = network.build(layers, x)?;
//!     Ok(results.map(|of| layers.graph.type_of(of).shape.last()))
//! })?;
//! assert_eq!(widths, [ConvClassifier::FEATURES, 10]);
//! assert_eq!(parameters, network.parameters()?);
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program: `examples/guided_digits.rs`.
use crate::{
    error::Error,
    graph::Graph,
    nn::{Layers, ParameterSpec, trace},
    ops::Conv2d,
    value::{TensorType, Value},
};

/// Channels of the first convolution, which sees the image at full size. Kernels compute panels
/// of 32 output channels: fewer would cost as much.
const FIRST: usize = 32;

/// A classifier of images of one size: convolutions until one pixel is left, then a linear layer.
///
/// Example: [`crate::models::classifier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvClassifier {
    /// `[height, width, channels]` of an image.
    pub size: [usize; 3],
    /// Number of classes.
    pub classes: usize,
}

impl ConvClassifier {
    /// Numbers in an image's features.
    pub const FEATURES: usize = 64;

    /// The parameters, in the order in which the layers ask for them.
    ///
    /// # Errors
    /// If an extent is 0.
    pub fn parameters(&self) -> Result<Vec<ParameterSpec>, Error> {
        let [height, width, channels] = self.size;
        let (parameters, _) = trace(Graph::new(), |layers| {
            let x = layers.graph.input(TensorType::f32(&[1, height, width, channels]));
            self.build(layers, x)
        })?;
        Ok(parameters)
    }

    /// Features `[batch, 1, 1, 64]` and logits `[batch, 1, 1, classes]` of images
    /// `x [batch, height, width, channels]`, -1 to 1.
    ///
    /// # Errors
    /// If `x` is no image, or a parameter is missing.
    pub fn build(&self, layers: &mut Layers, x: Value) -> Result<[Value; 2], Error> {
        let convolution = |layers: &mut Layers, layer, h, outputs, stride| {
            let op = Conv2d { stride, padding: [1; 4] };
            let h = layers.conv2d(&format!("convolutions.{layer}"), h, outputs, 3, op)?;
            layers.silu(h)
        };
        let mut h = convolution(layers, 0, x, FIRST, 1)?;
        let mut side = self.size[0].max(self.size[1]);
        for layer in 1.. {
            h = convolution(layers, layer, h, Self::FEATURES, 2)?;
            side = side.div_ceil(2);
            if side <= 1 {
                break;
            }
        }
        Ok([h, layers.linear("classes", h, self.classes)?])
    }
}
