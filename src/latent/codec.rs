//! An autoencoder on a device.
use super::tiles::{Pixels, Tiling};
use crate::{
    error::Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    models::autoencoder_kl::{Autoencoder, Posterior},
    nn::{FrozenModel, ParameterSource},
    passes,
    plan::{Plan, Target},
    value::{TensorType, Value},
};

/// Encodes pictures and decodes latents, one picture or tile at a time.
///
/// ```no_run
/// use ddim::latent::Codec;
/// # use ddim::{gpu::{Gpu, GpuOptions}, pipeline::{LatentPipeline, Opening}};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let model = LatentPipeline::open("model".as_ref(), &Opening::default())?;
///
/// let (network, weights) = (&model.vae, &*model.vae_weights);
/// let codec = Codec { gpu: &gpu, network, weights, tile: Some(512) };
/// let picture = vec![0.0_f32; 768 * 512 * 3];
/// let latents = codec.encode(&picture, [1, 768, 512])?.mean;
/// let again = codec.decode(&latents, [1, 768 / 8, 512 / 8])?;
/// assert_eq!(again.len(), picture.len());
/// # Ok::<(), ddim::Error>(())
/// ```
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

/// The two networks of an autoencoder.
///
/// Example: [`codec_plan()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// From a picture to its latents.
    Encoder,
    /// From latents to the picture.
    Decoder,
}

/// One half for one picture of a size.
struct HalfGraph {
    graph: Graph,
    input: Value,
    model: FrozenModel,
}

impl HalfGraph {
    fn new(
        target: &Target,
        network: &Autoencoder,
        half: Half,
        [height, width]: [usize; 2],
    ) -> Result<Self, Error> {
        let (config, mut graph) = (network.config(), Graph::new());
        let (channels, parameters) = match half {
            Half::Encoder => (config.in_channels, network.encoder_parameters()?),
            Half::Decoder => (config.latent_channels, network.decoder_parameters()?),
        };
        let input = graph.input(TensorType::f32(&[1, height, width, channels]));
        let model =
            FrozenModel::of(&mut graph, parameters, target.max_binding, |layers| match half {
                Half::Encoder => network.encode(layers, input),
                Half::Decoder => network.decode(layers, input),
            })?;
        graph.outputs.push(model.prediction);
        Ok(Self { graph, input, model })
    }
}

/// The same on a device.
struct Stage {
    executor: Executor,
    input: Value,
    output: Value,
    result: TensorType,
}

impl Stage {
    fn new(codec: &Codec, half: Half, size: [usize; 2]) -> Result<Self, Error> {
        let (gpu, target) = (codec.gpu, codec.gpu.target());
        let HalfGraph { graph, input, model } = HalfGraph::new(target, codec.network, half, size)?;
        let mut executor = Executor::new(gpu, passes::compile(&graph, target)?)?;
        for (value, pieces) in model.pieces(codec.weights)? {
            executor.write_pieces(value, pieces)?;
        }
        let output = model.prediction;
        Ok(Self { executor, input, output, result: graph.type_of(output) })
    }

    /// The results of pictures of one size.
    fn run(&mut self, input: &Pixels, hear: &mut dyn FnMut()) -> Result<Pixels, Error> {
        let (shape, mut data) = (self.result.shape, Vec::new());
        let elements = input.data.len() / input.size[0].max(1);
        for picture in input.data.chunks_exact(elements.max(1)) {
            self.executor.write(self.input, picture)?;
            self.executor.run(1)?;
            data.extend(self.executor.read(self.output)?);
            hear();
        }
        Ok(Pixels { size: [input.size[0], shape[1], shape[2]], channels: shape[3], data })
    }
}

/// How pictures of a network are cut for one of its halves; `pixels` is the side of a tile.
fn tiling(network: &Autoencoder, half: Half, pixels: usize) -> Tiling {
    let latents = pixels / network.config().factor();
    match half {
        Half::Encoder => Tiling::new(pixels, latents),
        Half::Decoder => Tiling::new(latents, pixels),
    }
}

/// The plan of one half for a picture of this size in pixels, or for one of its largest tiles.
///
/// # Errors
/// If the picture is too small, or the target cannot run it.
///
/// ```
/// use ddim::latent::{Half, codec_plan};
/// # use ddim::{models::autoencoder_kl::{Autoencoder, AutoencoderConfig}, plan::Target};
///
/// let vae = Autoencoder::new(AutoencoderConfig::default())?;
/// let plan = codec_plan(&Target::default(), &vae, Half::Decoder, [16, 16], None)?;
/// assert!(plan.dispatches().count() > 0);
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn codec_plan(
    target: &Target,
    network: &Autoencoder,
    half: Half,
    size: [usize; 2],
    tile: Option<usize>,
) -> Result<Plan, Error> {
    let factor = network.config().factor();
    let size = size.map(|side| if half == Half::Decoder { side / factor } else { side });
    let most = tile.map_or(usize::MAX, |pixels| tiling(network, half, pixels).side);
    let graph = HalfGraph::new(target, network, half, size.map(|side| side.min(most)))?.graph;
    passes::compile(&graph, target)
}

impl Codec<'_> {
    /// The distribution of the latents of pictures `[batch, height, width, channels]`, -1 to 1.
    ///
    /// # Errors
    /// If the pictures are too small, a tile does not fit the device, or it is lost.
    pub fn encode(&self, pictures: &[f32], size: [usize; 3]) -> Result<Posterior, Error> {
        let config = self.network.config();
        let (channels, data) = (config.in_channels, pictures.to_vec());
        let moments = self.run(Half::Encoder, &Pixels { size, channels, data }, |_, _| {})?;
        Ok(Posterior::of(&moments.data, config.latent_channels))
    }

    /// The pictures, -1 to 1, of latents `[batch, height, width, channels]`, unscaled.
    ///
    /// # Errors
    /// If a tile does not fit the device, or it is lost.
    pub fn decode(&self, latents: &[f32], size: [usize; 3]) -> Result<Vec<f32>, Error> {
        self.decode_with(latents, size, |_, _| {})
    }

    /// As [`Codec::decode`]; `hear` is told how many of how many pictures or tiles are done.
    ///
    /// # Errors
    /// As [`Codec::decode`].
    pub fn decode_with(
        &self,
        latents: &[f32],
        size: [usize; 3],
        hear: impl FnMut(usize, usize),
    ) -> Result<Vec<f32>, Error> {
        let (channels, data) = (self.network.config().latent_channels, latents.to_vec());
        Ok(self.run(Half::Decoder, &Pixels { size, channels, data }, hear)?.data)
    }

    fn run(
        &self,
        half: Half,
        whole: &Pixels,
        mut hear: impl FnMut(usize, usize),
    ) -> Result<Pixels, Error> {
        let [batch, height, width] = whole.size;
        let (mut done, mut total) = (0, batch);
        let tiling = self.tile.map(|pixels| tiling(self.network, half, pixels));
        let Some(tiling) = tiling.filter(|of| height.max(width) > of.side) else {
            return Stage::new(self, half, [height, width])?.run(whole, &mut || {
                done += 1;
                hear(done, total);
            });
        };
        let mut grid = tiling.cut(whole);
        let mut sizes: Vec<[usize; 3]> = grid.iter().flatten().map(|tile| tile.size).collect();
        total *= sizes.len();
        sizes.sort_unstable();
        sizes.dedup();
        // One plan at a time: each has the weights.
        let mut results = grid.clone();
        for size @ [_, height, width] in sizes {
            let mut stage = Stage::new(self, half, [height, width])?;
            let pairs = grid.iter_mut().flatten().zip(results.iter_mut().flatten());
            for (tile, result) in pairs.filter(|(tile, _)| tile.size == size) {
                *result = stage.run(tile, &mut || {
                    done += 1;
                    hear(done, total);
                })?;
            }
        }
        Ok(tiling.join(results))
    }
}
