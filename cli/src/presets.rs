//! Models and settings that suit a set of images, where the user names none.
use ddim::{
    data::Dataset,
    models::unet2d::{DownBlock, SampleSize, UNetConfig, UpBlock},
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

/// The model and the settings of the demo: 701,345 parameters.
pub fn digits() -> Preset {
    let unet = unet([8, 8, 1], &[32, 64], 1);
    Preset { unet, options: options(2e-3, 0.99), steps: 1500 }
}

/// The model and the settings of the experiments on MNIST.
pub fn mnist() -> Preset {
    let unet = unet([28, 28, 1], &[16, 32, 64], 1);
    let options = TrainingOptions { batch: 32, ..options(2e-3, 0.998) };
    Preset { unet, options, steps: 3000 }
}

/// What suits these images.
pub fn of(data: &Dataset) -> Preset {
    let sides @ [height, width, channels] = [data.height(), data.width(), data.channels()];
    if sides == [8, 8, 1] {
        return digits();
    }
    let mut levels = 1;
    let halves =
        |side: usize, levels: usize| side.is_multiple_of(1 << levels) && side >> levels >= SMALLEST;
    while levels < 5 && halves(height, levels) && halves(width, levels) {
        levels += 1;
    }
    if channels == 1 && height.max(width) <= 28 {
        let widths = &[32, 64, 64, 64, 64][..levels];
        Preset { unet: unet(sides, widths, 2), options: options(1e-3, 0.999), steps: 5000 }
    } else {
        let widths = &[64, 128, 256, 256, 256][..levels];
        Preset { unet: unet(sides, widths, 2), options: options(2e-4, 0.9999), steps: 50_000 }
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
    use ddim::models::unet2d::UNet;

    #[test]
    fn every_size_has_a_model() {
        for [height, width, channels] in
            [[8, 8, 1], [7, 5, 3], [28, 28, 1], [32, 32, 3], [64, 96, 4], [1, 1, 1], [33, 32, 5]]
        {
            let pixels = vec![0; height * width * channels];
            let data = Dataset::from_pixels("zeros", [height, width, channels], pixels, None);
            let preset = of(&data.expect("one image"));
            UNet::new(preset.unet).expect("a model for every size");
        }
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
