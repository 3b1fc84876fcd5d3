//! Lowering of 3x3 convolutions of stride 1 to minimal filtering: spread the tiles, multiply matrices, gather
//! (`shaders/winograd.wgsl`).
use super::{
    batched,
    product::{self, Product},
    winograd_tiles::{Part, Tile, parts},
};
use crate::{
    ops::{
        Lowering,
        conv2d::{Extents, Operands},
    },
    plan::{Candidate, Dispatch, Family, Packed, fold},
    shaders::winograd,
    value::{TensorType, Value},
};

/// Filters that are kept from run to run. Larger ones take less time to make than a direct convolution of 128
/// pixels takes a software driver, and together more memory than the weights.
const KEPT_BYTES: u64 = 96 << 20;

/// Whether minimal filtering applies.
pub(super) fn applies(extents: &Extents) -> bool {
    extents.kernel == [3, 3] && extents.stride == 1 && extents.spread == 1
}

pub(super) fn params(tile: Tile, extents: &Extents, operands: &Operands) -> winograd::Params {
    let [_, tiles_down, tiles_across] = tile.count(extents);
    let in_channels4 = extents.in_channels.div_ceil(4);
    winograd::Params {
        batch: extents.batch as u32,
        first: 0,
        in_height: extents.in_height as u32,
        in_width: extents.in_width as u32,
        in_channels4: in_channels4 as u32,
        split4: operands.split4 as u32,
        in_channels: extents.in_channels as u32,
        out_height: extents.out_height as u32,
        out_width: extents.out_width as u32,
        out_channels4: extents.out_channels.div_ceil(4) as u32,
        top: extents.top as u32,
        left: extents.left as u32,
        tiles_across: tiles_across as u32,
        tiles_down: tiles_down as u32,
        upsample: operands.upsample.into(),
        ..Default::default()
    }
}

/// `invocations` in workgroups.
pub(super) fn grid(invocations: usize) -> [u32; 3] {
    fold(invocations.div_ceil(winograd::Overrides::default().workgroup as usize))
}

/// Bytes of a launch that takes a share, so many tiles of so many, of tensors that it binds whole,
/// and all of its scratch.
pub(super) fn moved(
    lowering: &Lowering,
    whole: &[Option<Value>],
    [tiles, of]: [usize; 2],
    scratch: Value,
) -> u64 {
    let bytes = |value: Value| lowering.type_of(value).bytes();
    let whole: u64 = whole.iter().flatten().map(|value| bytes(*value)).sum();
    whole * tiles as u64 / of as u64 + bytes(scratch)
}

/// What multiplies the spread tiles with the filters at each place.
#[derive(Clone, Copy)]
enum Multiplier {
    /// Subgroups of so many lanes, which read so many rows of a weight at once: on software drivers.
    Subgroup { lanes: u32, depth: u32 },
    /// Tiles in workgroup memory: on GPUs, and where no subgroup has a fixed size.
    Tiled,
}

impl Multiplier {
    fn dispatch(
        self,
        lowering: &Lowering,
        product: &Product,
        operands: &Operands,
    ) -> Option<Dispatch> {
        match self {
            Self::Subgroup { lanes, depth } => Some(product.dispatch(lanes, depth, operands)),
            Self::Tiled => batched::dispatch(lowering, product, operands),
        }
    }
}

/// The values between the launches, and how the filters lie.
struct Places {
    tile: Tile,
    spread: Value,
    products: Value,
    filters: Value,
    multiplier: Multiplier,
}

/// `y` of a convolution, fused or not, where its tensors fit a binding.
pub(super) fn offer(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    if !applies(extents) {
        return None;
    }
    let tile = Tile::of(family);
    let target = lowering.target().clone();
    let (in_channels, out_channels) = (extents.in_channels, extents.out_channels);
    let out_channels4 = out_channels.div_ceil(4);
    let lanes = target.subgroup.filter(|_| target.profile.is_software());
    let panel = lanes.map_or(out_channels4, |lanes| lanes as usize);
    let panels = out_channels4.div_ceil(panel);
    let filters_of = TensorType::f32(&[tile.places(), panels, in_channels, 4 * panel]);
    let parts = parts(lowering, tile, extents, filters_of)?;
    let most = parts.iter().map(|part| part.tiles(tile, extents)).max()?;
    let spread = lowering.scratch(tile.spread(most, in_channels));
    let products = lowering.scratch(tile.spread(most, out_channels));
    let kept = filters_of.bytes() <= KEPT_BYTES;
    let filters = lowering.packed(operands.weight, family.name(), filters_of, kept);
    let multiplied = Operands::new(spread, in_channels, filters, products);
    let multiplier = match lanes {
        Some(lanes) => Multiplier::Subgroup { lanes, depth: product::depth(lowering, &multiplied) },
        None => Multiplier::Tiled,
    };
    let places = Places { tile, spread, products, filters, multiplier };
    let base = places.params(lowering, extents, operands, panel);
    let launches = parts.iter().map(|part| places.part(lowering, extents, operands, base, part));
    let launches: Vec<[Dispatch; 3]> = launches.collect::<Option<_>>()?;
    let filtering = winograd::Filters { weight: operands.weight, spread: filters };
    let dispatch = filtering.dispatch(base, tile.overrides(), grid(in_channels * out_channels4));
    let packed = Packed { of: operands.weight, form: filters, dispatch, kept };
    Some(Candidate::new(family, launches.into_iter().flatten().collect()).with(packed))
}

impl Places {
    /// Those of all launches, for whole images and panels of so many vec4s.
    fn params(
        &self,
        lowering: &Lowering,
        extents: &Extents,
        operands: &Operands,
        panel: usize,
    ) -> winograd::Params {
        let depth = match self.multiplier {
            Multiplier::Subgroup { depth, .. } => depth,
            Multiplier::Tiled => 1,
        };
        winograd::Params {
            embedding_pitch4: operands.embedding_pitch4(lowering),
            embedding_first4: operands.embedding_first4 as u32,
            panel: panel as u32,
            depth,
            ..params(self.tile, extents, operands)
        }
    }

    /// The launches of a part; none where no grid has so many rows.
    fn part(
        &self,
        lowering: &Lowering,
        extents: &Extents,
        operands: &Operands,
        base: winograd::Params,
        part: &Part,
    ) -> Option<[Dispatch; 3]> {
        let Self { tile, spread, products, filters, multiplier } = *self;
        let Operands { x0, x1, affine, bias, embedding, residual, y, moments, .. } = *operands;
        let [batch, down, across] = tile.count(extents);
        let (rows, all) = (part.tiles(tile, extents), batch * down * across);
        let params = part.params(base);
        let input = winograd::Input { x0, x1, affine, spread };
        let overrides = winograd::Overrides { silu: operands.silu, ..tile.overrides() };
        let mut input = input.dispatch(params, overrides, grid(rows * base.in_channels4 as usize));
        input.work.bytes = moved(lowering, &[Some(x0), x1, affine], [rows, all], spread);
        let (in_channels, out_channels) = (extents.in_channels, extents.out_channels);
        let product = Product { batch: tile.places(), rows, in_channels, out_channels };
        let multiplied = Operands::new(spread, in_channels, filters, products);
        let mut multiply = multiplier.dispatch(lowering, &product, &multiplied)?;
        multiply.cost.flops = extents.flops() * rows as u64 / all as u64;
        let squares = part.images * part.rows.div_ceil(2) * across;
        let output = winograd::Output { products, bias, embedding, residual, y, moments };
        let invocations = squares * base.out_channels4 as usize;
        let mut output = output.dispatch(params, tile.overrides(), grid(invocations));
        let written = [embedding, residual, Some(y), moments];
        output.work.bytes = moved(lowering, &written, [rows, all], products);
        Some([input, multiply, output])
    }
}
