//! Training steps: forward, backward and Adam. Their result is the loss of each step so far.
use crate::{
    contents,
    models::{self, Attend, Resnet, UNet},
    tensor,
};
use burn::{
    module::Module,
    nn::loss::{MseLoss, Reduction},
    optim::{AdamConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor},
};
use peer_common::{Result, Work, uniform};

struct Training<M, F> {
    device: Device,
    model: Option<M>,
    predict: F,
    expected: Tensor<4>,
    optimizer: ModuleOptimizer,
    losses: Vec<Tensor<1>>,
}

impl<M: Module, F: Fn(&M) -> Tensor<4>> Work for Training<M, F> {
    fn run(&mut self) -> Result<()> {
        let model = self.model.take().ok_or("the model was lost in a failed step")?;
        let y = (self.predict)(&model);
        let loss = MseLoss::new().forward(y, self.expected.clone(), Reduction::Mean);
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        self.losses.push(loss.inner());
        self.model = Some(self.optimizer.step(1e-4, model, gradients));
        Ok(self.device.sync()?)
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        let losses: Result<Vec<Vec<f32>>> =
            self.losses.iter().map(|loss| contents(loss.clone())).collect();
        Ok(losses?.concat())
    }
}

fn training<M: Module + 'static>(
    device: Device,
    model: M,
    expected: Tensor<4>,
    predict: impl Fn(&M) -> Tensor<4> + 'static,
) -> Box<dyn Work> {
    let optimizer = AdamConfig::new().with_epsilon(1e-8).init();
    let model = Some(model);
    Box::new(Training { device, model, predict, expected, optimizer, losses: Vec::new() })
}

fn images(seed: u64, shape: [usize; 4], device: &Device) -> Tensor<4> {
    tensor(uniform(seed, shape.iter().product(), 1.7), shape, device)
}

pub fn unet(device: Device, [batch]: [usize; 1]) -> Box<dyn Work> {
    let device = device.autodiff();
    let [x0, noise] = [1, 2].map(|seed| images(seed, [batch, 3, 32, 32], &device));
    let x = x0.mul_scalar(0.6) + noise.clone().mul_scalar(0.8);
    let e = models::sinusoids(batch, &device);
    let model = UNet::new(&device);
    training(device, model, noise, move |model: &UNet| model.forward(x.clone(), e.clone()))
}

#[derive(Module, Debug)]
struct Blocks {
    resnets: Vec<Resnet>,
    attend: Attend,
}

pub fn blocks(device: Device, [batch, channels, side, layers]: [usize; 4]) -> Box<dyn Work> {
    let device = device.autodiff();
    let [x, expected] = [1, 2].map(|seed| images(seed, [batch, channels, side, side], &device));
    let resnet = |layer: usize| Resnet::new(&layer.to_string(), [channels; 2], None, 1e-5, &device);
    let names = ["norm", "q", "k", "v", "out"];
    let model = Blocks {
        resnets: (0..layers).map(resnet).collect(),
        attend: Attend::new("attention", names, channels, 1e-5, &device),
    };
    training(device, model, expected, move |model: &Blocks| {
        let fold = |h, resnet: &Resnet| resnet.forward(h, None);
        model.attend.forward(model.resnets.iter().fold(x.clone(), fold))
    })
}
