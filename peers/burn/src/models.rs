//! The CIFAR-10 DDPM U-Net, and the blocks that it is made of, as burn modules.
use crate::{kernels, layers, tensor};
use burn::{
    module::Module,
    nn::{
        GroupNorm, Linear,
        conv::Conv2d,
        interpolate::{Interpolate2dConfig, InterpolateMode},
    },
    tensor::{Device, Tensor, activation::silu, module},
};
use peer_common::{Work, uniform};

/// As in `benches/models/cifar10.json`.
const WIDTHS: [usize; 4] = [128, 256, 256, 256];
const ATTENTION: [bool; 4] = [false, true, false, false];
const LAYERS: usize = 2;
const GROUPS: usize = 32;
const EPSILON: f64 = 1e-6;
const TIME: usize = 4 * WIDTHS[0];

#[derive(Module, Debug)]
pub struct Resnet {
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl Resnet {
    pub fn new(
        name: &str,
        [inputs, outputs]: [usize; 2],
        time: Option<usize>,
        epsilon: f64,
        device: &Device,
    ) -> Self {
        let conv = |part: &str, inputs, size, padding| {
            let shape = [inputs, outputs, size, 1];
            layers::conv(&format!("{name}.{part}"), shape, [padding; 4], device)
        };
        let norm = |part: &str, channels| {
            layers::norm(&format!("{name}.{part}"), channels, GROUPS, epsilon, device)
        };
        let projection = format!("{name}.time_emb_proj");
        Self {
            norm1: norm("norm1", inputs),
            conv1: conv("conv1", inputs, 3, 1),
            time: time.map(|width| layers::linear(&projection, width, outputs, device)),
            norm2: norm("norm2", outputs),
            conv2: conv("conv2", outputs, 3, 1),
            shortcut: (inputs != outputs).then(|| conv("conv_shortcut", inputs, 1, 0)),
        }
    }

    pub fn forward(&self, x: Tensor<4>, embedding: Option<&Tensor<2>>) -> Tensor<4> {
        let mut h = self.conv1.forward(silu(self.norm1.forward(x.clone())));
        if let (Some(time), Some(embedding)) = (&self.time, embedding) {
            let [batch, channels, _, _] = h.dims();
            h = h + time.forward(embedding.clone()).reshape([batch, channels, 1, 1]);
        }
        let h = self.conv2.forward(silu(self.norm2.forward(h)));
        match &self.shortcut {
            Some(shortcut) => shortcut.forward(x) + h,
            None => x + h,
        }
    }
}

#[derive(Module, Debug)]
pub struct Attend {
    norm: GroupNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
}

impl Attend {
    /// `names` are those of the norm, the three projections and the last.
    pub fn new(
        name: &str,
        names: [&str; 5],
        channels: usize,
        epsilon: f64,
        device: &Device,
    ) -> Self {
        let linear =
            |part: &str| layers::linear(&format!("{name}.{part}"), channels, channels, device);
        let [norm, q, k, v, out] = names;
        Self {
            norm: layers::norm(&format!("{name}.{norm}"), channels, GROUPS, epsilon, device),
            q: linear(q),
            k: linear(k),
            v: linear(v),
            out: linear(out),
        }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let rows: Tensor<3> =
            self.norm.forward(x.clone()).reshape([batch, channels, height * width]).swap_dims(1, 2);
        let [q, k, v] = [&self.q, &self.k, &self.v]
            .map(|linear| linear.forward(rows.clone()).unsqueeze_dim::<4>(1));
        let h = module::attention(q, k, v, None, None, Default::default());
        let h = self.out.forward(h.reshape([batch, height * width, channels]));
        h.swap_dims(1, 2).reshape([batch, channels, height, width]) + x
    }
}

#[derive(Module, Debug)]
struct Level {
    resnets: Vec<Resnet>,
    attentions: Vec<Attend>,
    sampler: Option<Conv2d>,
}

#[derive(Module, Debug)]
pub struct UNet {
    time1: Linear,
    time2: Linear,
    conv_in: Conv2d,
    down: Vec<Level>,
    middle: Level,
    up: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl UNet {
    pub fn new(device: &Device) -> Self {
        let names = ["group_norm", "to_q", "to_k", "to_v", "to_out.0"];
        let resnet = |name: &str, shape| Resnet::new(name, shape, Some(TIME), EPSILON, device);
        let attend = |name: &str, width| Attend::new(name, names, width, EPSILON, device);
        let level = |name: &str, shapes: &[[usize; 2]], attention: bool, sampler| Level {
            resnets: (0..)
                .zip(shapes)
                .map(|(i, &s)| resnet(&format!("{name}.resnets.{i}"), s))
                .collect(),
            attentions: (0..shapes.len())
                .filter(|_| attention)
                .map(|i| attend(&format!("{name}.attentions.{i}"), shapes[i][1]))
                .collect(),
            sampler,
        };
        let last = WIDTHS.len() - 1;
        let (mut channels, mut skips) = (WIDTHS[0], vec![WIDTHS[0]]);
        let mut down = Vec::new();
        for (i, width) in WIDTHS.into_iter().enumerate() {
            let name = format!("down_blocks.{i}");
            let mut shapes = vec![[width; 2]; LAYERS];
            shapes[0][0] = channels;
            skips.extend([width; LAYERS]);
            let sampler = (i < last).then(|| {
                skips.push(width);
                let name = format!("{name}.downsamplers.0.conv");
                layers::conv(&name, [width, width, 3, 2], [0, 0, 1, 1], device)
            });
            channels = width;
            down.push(level(&name, &shapes, ATTENTION[i], sampler));
        }
        let middle = Level {
            resnets: [0, 1]
                .map(|i| resnet(&format!("mid_block.resnets.{i}"), [channels; 2]))
                .into(),
            attentions: vec![attend("mid_block.attentions.0", channels)],
            sampler: None,
        };
        let mut up = Vec::new();
        for (i, width) in WIDTHS.into_iter().rev().enumerate() {
            let name = format!("up_blocks.{i}");
            let mut shapes = Vec::new();
            for _ in 0..=LAYERS {
                shapes.push([channels + skips.pop().unwrap_or_default(), width]);
                channels = width;
            }
            let sampler = (i < last).then(|| {
                let name = format!("{name}.upsamplers.0.conv");
                layers::conv(&name, [width, width, 3, 1], [1; 4], device)
            });
            up.push(level(&name, &shapes, ATTENTION[last - i], sampler));
        }
        Self {
            time1: layers::linear("time_embedding.linear_1", WIDTHS[0], TIME, device),
            time2: layers::linear("time_embedding.linear_2", TIME, TIME, device),
            conv_in: layers::conv("conv_in", [3, WIDTHS[0], 3, 1], [1; 4], device),
            down,
            middle,
            up,
            norm_out: layers::norm("conv_norm_out", channels, GROUPS, EPSILON, device),
            conv_out: layers::conv("conv_out", [channels, 3, 3, 1], [1; 4], device),
        }
    }

    /// `sinusoids` of the timestep, `[batch, 128]`.
    pub fn forward(&self, x: Tensor<4>, sinusoids: Tensor<2>) -> Tensor<4> {
        let e = self.time2.forward(silu(self.time1.forward(sinusoids)));
        let e = silu(e);
        let upsample = Interpolate2dConfig::new()
            .with_scale_factor(Some([2.0; 2]))
            .with_mode(InterpolateMode::Nearest)
            .init();
        let mut h = self.conv_in.forward(x);
        let mut skips = vec![h.clone()];
        for level in &self.down {
            for (i, resnet) in level.resnets.iter().enumerate() {
                h = resnet.forward(h, Some(&e));
                if let Some(attend) = level.attentions.get(i) {
                    h = attend.forward(h);
                }
                skips.push(h.clone());
            }
            if let Some(sampler) = &level.sampler {
                h = sampler.forward(h);
                skips.push(h.clone());
            }
        }
        h = self.middle.resnets[0].forward(h, Some(&e));
        h = self.middle.attentions[0].forward(h);
        h = self.middle.resnets[1].forward(h, Some(&e));
        for level in &self.up {
            for (i, resnet) in level.resnets.iter().enumerate() {
                let skip = skips.pop().expect("one for each residual block of the decoder");
                h = resnet.forward(Tensor::cat(vec![h, skip], 1), Some(&e));
                if let Some(attend) = level.attentions.get(i) {
                    h = attend.forward(h);
                }
            }
            if let Some(sampler) = &level.sampler {
                h = sampler.forward(upsample.forward(h));
            }
        }
        self.conv_out.forward(silu(self.norm_out.forward(h)))
    }
}

/// The sinusoids of timestep 500, sines first.
pub fn sinusoids(batch: usize, device: &Device) -> Tensor<2> {
    let half = WIDTHS[0] / 2;
    let angle = |i: usize| 500.0 * (-(10_000_f64.ln()) * i as f64 / (half - 1) as f64).exp();
    let row: Vec<f32> = (0..half)
        .map(|i| angle(i).sin() as f32)
        .chain((0..half).map(|i| angle(i).cos() as f32))
        .collect();
    tensor(row.repeat(batch), [batch, WIDTHS[0]], device)
}

pub fn forward(device: Device, [batch]: [usize; 1]) -> Box<dyn Work> {
    let model = UNet::new(&device);
    let e = sinusoids(batch, &device);
    let x = tensor(uniform(1, batch * 3 * 32 * 32, 1.7), [batch, 3, 32, 32], &device);
    kernels::boxed(device, move || model.forward(x.clone(), e.clone()))
}
