//! Models and settings that suit a set of images, where the user names none.
use ddim::{
    diffusion::schedule::{PredictionType, SchedulerConfig},
    models::{
        classifier_unet::ClassifierConfig,
        unet2d::{DownBlock, SampleSize, UNetConfig, UpBlock},
    },
    training::TrainingOptions,
};

/// Levels halve the image while it divides and keeps at least this many pixels a side.
const SMALLEST: usize = 4;

/// Attention stands on levels of at most this many pixels a side, the first excepted: 64 tokens.
const ATTENTION: usize = 8;

/// What suits a set of images.
#[derive(Clone)]
pub struct Preset {
    /// The U-Net.
    pub unet: UNetConfig,
    /// Adam and its likes.
    pub options: TrainingOptions,
    /// Training steps.
    pub steps: u32,
}

/// The scheduler of the demo and of the experiments. The network predicts v (Salimans and Ho 2022). An error of a predicted
/// epsilon is multiplied by up to 157 on its way to x_0, and DDIM of eta 0 adds no noise that would correct it.
pub fn scheduler() -> SchedulerConfig {
    SchedulerConfig { prediction_type: PredictionType::VPrediction, ..SchedulerConfig::default() }
}

/// The model and the settings of the demo: 701,345 parameters.
pub fn digits() -> Preset {
    let unet = unet([8, 8, 1], &[32, 64], 1);
    Preset { unet, options: options(2e-3, 0.99), steps: 1500 }
}

/// The model and the settings of the experiments on MNIST. The levels of few pixels have most channels: 7x7 decides
/// the shape of a digit, and four times the products there make a step 1.5 times as long.
pub fn mnist() -> Preset {
    let unet = unet([28, 28, 1], &[16, 64, 128], 1);
    let options = TrainingOptions { batch: 32, warmup: 100, ..options(1.5e-3, 0.998) };
    Preset { unet, options, steps: 7000 }
}

/// Levels of images of this size, at most `most`.
fn levels([height, width, _]: [usize; 3], most: usize) -> usize {
    let mut levels = 1;
    let halves =
        |side: usize, levels: usize| side.is_multiple_of(1 << levels) && side >> levels >= SMALLEST;
    while levels < most && halves(height, levels) && halves(width, levels) {
        levels += 1;
    }
    levels
}

/// A model of half as many channels as what suits images of this shape.
pub fn small(shape: [usize; 3]) -> UNetConfig {
    let unet = of(shape).unet;
    let block_out_channels = unet.block_out_channels.iter().map(|width| width / 2).collect();
    UNetConfig { block_out_channels, ..unet }
}

/// The model of Ho et al. 2020 for CIFAR-10, with as many levels as images of this shape allow.
pub fn cifar(shape: [usize; 3]) -> UNetConfig {
    let [height, width, _] = shape;
    let widths = &[128, 256, 256, 256][..levels(shape, 4)];
    let unet = unet(shape, widths, 2);
    let is_sixteen = |level: &usize| height.max(width) >> level == 16;
    let attention = (0..widths.len()).filter(is_sixteen);
    let mut down = vec![DownBlock::Plain; widths.len()];
    let mut up = vec![UpBlock::Plain; widths.len()];
    for level in attention {
        down[level] = DownBlock::Attention;
        up[widths.len() - 1 - level] = UpBlock::Attention;
    }
    UNetConfig {
        down_block_types: down,
        up_block_types: up,
        norm_num_groups: 32,
        norm_eps: 1e-6,
        dropout: 0.1,
        downsample_padding: 0,
        flip_sin_to_cos: false,
        freq_shift: 1,
        ..unet
    }
}

/// What suits images of `[height, width, channels]`.
pub fn of(shape: [usize; 3]) -> Preset {
    if shape == [8, 8, 1] {
        return digits();
    }
    let (sides @ [height, width, channels], levels) = (shape, levels(shape, 5));
    if channels == 1 && height.max(width) <= 28 {
        let widths = &[32, 64, 64, 64, 64][..levels];
        Preset { unet: unet(sides, widths, 2), options: options(1e-3, 0.999), steps: 5000 }
    } else {
        let widths = &[64, 128, 256, 256, 256][..levels];
        Preset { unet: unet(sides, widths, 2), options: options(2e-4, 0.9999), steps: 50_000 }
    }
}

/// The classifier of noisy images that suits square images of this shape.
pub fn classifier(shape @ [side, _, channels]: [usize; 3], classes: usize) -> ClassifierConfig {
    let multiples = &["1", "2", "2", "2", "2"][..levels(shape, 5)];
    ClassifierConfig {
        image_size: side,
        in_channels: channels,
        num_classes: classes,
        classifier_width: 32,
        classifier_depth: 1,
        classifier_attention_resolutions: (side >> (multiples.len() - 1)).to_string(),
        channel_mult: multiples.join(","),
        num_head_channels: 32,
        ..ClassifierConfig::default()
    }
}

fn options(learning_rate: f64, ema_decay: f64) -> TrainingOptions {
    TrainingOptions { learning_rate, ema_decay, ..Default::default() }
}

fn unet([height, width, channels]: [usize; 3], widths: &[usize], layers: usize) -> UNetConfig {
    let blocks = |level: usize| match level > 0 && (height.max(width) >> level) <= ATTENTION {
        true => (DownBlock::Attention, UpBlock::Attention),
        false => (DownBlock::Plain, UpBlock::Plain),
    };
    let (down, mut up): (Vec<_>, Vec<_>) = (0..widths.len()).map(blocks).unzip();
    up.reverse();
    UNetConfig {
        sample_size: Some(match height == width {
            true => SampleSize::Square(height),
            false => SampleSize::Sides([height, width]),
        }),
        in_channels: channels,
        out_channels: channels,
        block_out_channels: widths.to_vec(),
        down_block_types: down,
        up_block_types: up,
        layers_per_block: layers,
        attention_head_dim: None,
        norm_num_groups: 8,
        ..UNetConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ddim::models::{classifier_unet::ClassifierUNet, unet2d::UNet};

    #[test]
    fn every_size_has_a_model() {
        for [height, width, channels] in
            [[8, 8, 1], [7, 5, 3], [28, 28, 1], [32, 32, 3], [64, 96, 4], [1, 1, 1], [33, 32, 5]]
        {
            let shape = [height, width, channels];
            for unet in [of(shape).unet, small(shape), cifar(shape)] {
                UNet::new(unet).expect("a model for every size");
            }
        }
    }

    #[test]
    fn every_square_has_a_classifier() {
        for shape in [[8, 8, 1], [28, 28, 1], [32, 32, 3], [64, 64, 4], [7, 7, 1]] {
            ClassifierUNet::new(classifier(shape, 10)).expect("a classifier for every square");
        }
    }

    #[test]
    fn the_model_of_cifar_has_the_parameters_of_the_paper() {
        let unet = UNet::new(cifar([32, 32, 3])).expect("a model");
        let specs = unet.parameters().expect("parameters");
        let count: usize = specs.iter().map(|spec| spec.of.shape.elements()).sum();
        assert_eq!(count, 35_746_307);
    }

    #[test]
    fn the_bench_measures_the_model_of_the_demo() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/models/digits.json");
        let config = UNetConfig::read(file.as_ref()).expect("a config of ours");
        assert_eq!(config, digits().unet);
    }

    #[test]
    fn the_demo_has_the_parameters_that_its_help_says() {
        let unet = UNet::new(digits().unet).expect("a model");
        let specs = unet.parameters().expect("parameters");
        let count: usize = specs.iter().map(|spec| spec.of.shape.elements()).sum();
        assert_eq!(count, 701_345);
    }
}
