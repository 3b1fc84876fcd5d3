//! One operation at a time.
use crate::{contents, layers, tensor};
use burn::tensor::{Device, Tensor, activation, module, ops::ConvOptions};
use peer_common::{Result, Work, uniform};

/// What computes a tensor of `D` axes from operands that it holds.
pub struct Forward<const D: usize, F> {
    pub device: Device,
    pub compute: F,
    pub y: Option<Tensor<D>>,
}

impl<const D: usize, F: FnMut() -> Tensor<D>> Work for Forward<D, F> {
    fn run(&mut self) -> Result<()> {
        self.y = Some((self.compute)());
        Ok(self.device.sync()?)
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        contents(self.y.clone().ok_or("nothing was run")?)
    }
}

pub fn boxed<const D: usize>(
    device: Device,
    compute: impl FnMut() -> Tensor<D> + 'static,
) -> Box<dyn Work> {
    Box::new(Forward { device, compute, y: None })
}

fn operands([n, c, h, w, k, size]: [usize; 6], device: &Device) -> [Tensor<4>; 3] {
    let scale = (3.0 / (c * size * size) as f32).sqrt();
    [
        tensor(uniform(1, n * c * h * w, 1.0), [n, c, h, w], device),
        tensor(uniform(2, k * c * size * size, scale), [k, c, size, size], device),
        tensor(uniform(3, n * k * h * w, 1.0), [n, k, h, w], device),
    ]
}

fn options(size: usize) -> ConvOptions<2> {
    ConvOptions::new([1, 1], [size / 2; 2], [1, 1], 1)
}

pub fn convolution(device: Device, shape: [usize; 6]) -> Box<dyn Work> {
    let [x, weight, _] = operands(shape, &device);
    boxed(device, move || module::conv2d(x.clone(), weight.clone(), None, options(shape[5])))
}

pub fn weight_gradient(device: Device, shape: [usize; 6]) -> Box<dyn Work> {
    let [x, weight, dy] = operands(shape, &device);
    boxed(device, move || {
        module::conv2d_weight_backward(x.clone(), weight.clone(), dy.clone(), options(shape[5]))
    })
}

/// burn has no function for this gradient alone: the forward pass runs outside the clock, and the
/// clock sees a product with `dy` besides the gradient.
struct InputGradient {
    device: Device,
    operands: [Tensor<4>; 3],
    size: usize,
    loss: Option<(Tensor<4>, Tensor<1>)>,
    gradient: Option<Tensor<4>>,
}

impl Work for InputGradient {
    fn prepare(&mut self) -> Result<()> {
        let [x, weight, dy] = self.operands.clone();
        let x = x.require_grad();
        let loss = module::conv2d(x.clone(), weight, None, options(self.size)).mul(dy).sum();
        self.loss = Some((x, loss));
        Ok(self.device.sync()?)
    }

    fn run(&mut self) -> Result<()> {
        let (x, loss) = self.loss.take().ok_or("nothing was prepared")?;
        let mut gradients = loss.backward();
        self.gradient = x.grad_remove(&mut gradients);
        Ok(self.device.sync()?)
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        contents(self.gradient.clone().ok_or("no gradient")?)
    }
}

pub fn input_gradient(device: Device, shape: [usize; 6]) -> Box<dyn Work> {
    let device = device.autodiff();
    let operands = operands(shape, &device);
    Box::new(InputGradient { device, operands, size: shape[5], loss: None, gradient: None })
}

pub fn product(device: Device, [n]: [usize; 1]) -> Box<dyn Work> {
    let scale = (3.0 / n as f32).sqrt();
    let a: Tensor<2> = tensor(uniform(1, n * n, 1.0), [n, n], &device);
    let b: Tensor<2> = tensor(uniform(2, n * n, scale), [n, n], &device);
    boxed(device, move || a.clone().matmul(b.clone()))
}

pub fn norm(device: Device, [n, c, h, w, groups]: [usize; 5]) -> Box<dyn Work> {
    let x: Tensor<4> = tensor(uniform(1, n * c * h * w, 1.0), [n, c, h, w], &device);
    let norm = layers::norm("norm", c, groups, 1e-5, &device);
    boxed(device, move || activation::silu(norm.forward(x.clone())))
}

pub fn attention(device: Device, [n, tokens, channels, heads]: [usize; 4]) -> Box<dyn Work> {
    let operands = [1, 2, 3].map(|seed| {
        let split = [n, tokens, heads, channels / heads];
        let x = tensor(uniform(seed, n * tokens * channels, 1.7), split, &device);
        x.swap_dims(1, 2)
    });
    boxed(device, move || {
        let [q, k, v] = operands.clone();
        let y = module::attention(q, k, v, None, None, Default::default());
        y.swap_dims(1, 2).reshape([n, tokens, channels])
    })
}
