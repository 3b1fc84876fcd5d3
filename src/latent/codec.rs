//! An autoencoder on a device.
use super::tiles::{Pixels, Tiling};
use crate::{
    error::Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    models::autoencoder_kl::{Autoencoder, Posterior},
    nn::{FrozenModel, ParameterSource},
    passes,
    value::{TensorType, Value},
};

/// Encodes pictures and decodes latents.
#[derive(Clone, Copy)]
pub struct Codec<'a> {
    /// The device.
    pub gpu: &'a Gpu,
    /// The autoencoder.
    pub network: &'a Autoencoder,
    /// Its weights.
    pub weights: &'a dyn ParameterSource,
    /// Side of a tile in pixels. Larger pictures are cut into tiles that overlap, each with group norms and
    /// attention of its own, as diffusers' `enable_tiling` has it; without a side they are not.
    pub tile: Option<usize>,
}

#[derive(Clone, Copy)]
enum Half {
    Encoder,
    Decoder,
}

/// One half at one size.
struct Stage {
    executor: Executor,
    input: Value,
    output: Value,
    result: TensorType,
}

impl Stage {
    fn run(&mut self, input: &[f32]) -> Result<Pixels, Error> {
        self.executor.write(self.input, input)?;
        self.executor.run(1)?;
        let shape = self.result.shape;
        let data = self.executor.read(self.output)?;
        Ok(Pixels { size: [shape[0], shape[1], shape[2]], channels: shape[3], data })
    }
}

impl Codec<'_> {
    /// The distribution of the latents of pictures `[batch, height, width, channels]`, -1 to 1.
    ///
    /// # Errors
    /// If the pictures are too small, a tile does not fit the device, or it is lost.
    pub fn encode(&self, pictures: &[f32], size: [usize; 3]) -> Result<Posterior, Error> {
        let config = self.network.config();
        let (channels, data) = (config.in_channels, pictures.to_vec());
        let moments = self.run(Half::Encoder, &Pixels { size, channels, data })?;
        Ok(Posterior::of(&moments.data, config.latent_channels))
    }

    /// The pictures, -1 to 1, of latents `[batch, height, width, channels]`, unscaled.
    ///
    /// # Errors
    /// If a tile does not fit the device, or it is lost.
    pub fn decode(&self, latents: &[f32], size: [usize; 3]) -> Result<Vec<f32>, Error> {
        let (channels, data) = (self.network.config().latent_channels, latents.to_vec());
        Ok(self.run(Half::Decoder, &Pixels { size, channels, data })?.data)
    }

    fn run(&self, half: Half, whole: &Pixels) -> Result<Pixels, Error> {
        let tiling = self.tile.map(|pixels| {
            let latents = pixels / self.network.config().factor();
            match half {
                Half::Encoder => Tiling::new(pixels, latents),
                Half::Decoder => Tiling::new(latents, pixels),
            }
        });
        let [_, height, width] = whole.size;
        let Some(tiling) = tiling.filter(|of| height.max(width) > of.side) else {
            return self.stage(half, whole.size)?.run(&whole.data);
        };
        let mut grid = tiling.cut(whole);
        let mut sizes: Vec<[usize; 3]> = grid.iter().flatten().map(|tile| tile.size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        // One plan at a time: each has the weights.
        let mut results = grid.clone();
        for size in sizes {
            let mut stage = self.stage(half, size)?;
            let pairs = grid.iter_mut().flatten().zip(results.iter_mut().flatten());
            for (tile, result) in pairs.filter(|(tile, _)| tile.size == size) {
                *result = stage.run(&tile.data)?;
            }
        }
        Ok(tiling.join(results))
    }

    fn stage(&self, half: Half, [batch, height, width]: [usize; 3]) -> Result<Stage, Error> {
        let (network, mut graph) = (self.network, Graph::new());
        let config = network.config();
        let (channels, parameters) = match half {
            Half::Encoder => (config.in_channels, network.encoder_parameters()?),
            Half::Decoder => (config.latent_channels, network.decoder_parameters()?),
        };
        let input = graph.input(TensorType::f32(&[batch, height, width, channels]));
        let target = self.gpu.target();
        let model =
            FrozenModel::of(&mut graph, parameters, target.max_binding, |layers| match half {
                Half::Encoder => network.encode(layers, input),
                Half::Decoder => network.decode(layers, input),
            })?;
        let output = model.prediction;
        graph.outputs.push(output);
        let mut executor = Executor::new(self.gpu, passes::compile(&graph, target)?)?;
        for (value, pieces) in model.pieces(self.weights)? {
            executor.write_pieces(value, pieces)?;
        }
        Ok(Stage { executor, input, output, result: graph.type_of(output) })
    }
}
