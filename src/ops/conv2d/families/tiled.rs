//! `shaders/conv2d_tiled.wgsl`: tiles in workgroup memory, for every device. The tile, and the parts that a
//! sum is split into, are those that take the device least time by its model.
use super::direct::params;
use crate::{
    ops::{
        Lowering,
        conv2d::{Extents, Operands},
    },
    plan::{Arithmetic, Candidate, Cost, Family, MOST_PARTS, Target, fold},
    shaders::{conv2d_tiled, shared::convolution::Params},
    value::{ElementType, TensorType, Value},
};
use std::time::Duration;

/// What a workgroup computes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    /// Pixels.
    pub rows: u32,
    /// vec4s of channels.
    pub columns4: u32,
    /// Invocations.
    pub lanes: u32,
    /// Multiply-adds of every hundred instructions of the inner loop on NVIDIA (`compilers/results`).
    share: u64,
    /// Registers that an invocation must have: for sums, numbers of x, addresses. With products in f16, whose sums
    /// come beside those in f32, factors take half: no tile needs more by more than it has to spare.
    registers: u32,
}

/// The largest first, which is the best for large grids alone; the last is for few channels. These two are taken to have the
/// share of their neighbours: of the first NAK's hottest block, 90, is without fetches; of the last it is 71 on NVIDIA, and on
/// AMD 61 where its neighbour has 63.
pub(super) const TILES: [Tile; 6] = [
    Tile { rows: 128, columns4: 32, lanes: 256, share: 88, registers: 160 },
    Tile { rows: 128, columns4: 16, lanes: 128, share: 88, registers: 160 },
    Tile { rows: 64, columns4: 16, lanes: 64, share: 85, registers: 160 },
    Tile { rows: 32, columns4: 16, lanes: 64, share: 77, registers: 96 },
    Tile { rows: 32, columns4: 8, lanes: 64, share: 66, registers: 64 },
    Tile { rows: 64, columns4: 4, lanes: 64, share: 66, registers: 64 },
];

/// The tile whose share others are compared with, and the first of those of devices whose rates are not known.
const MIDDLE: usize = 2;

impl Tile {
    /// That of a device whose rates are not known: the larger one that its registers hold.
    pub fn usual(target: &Target) -> Option<Self> {
        TILES.into_iter().skip(MIDDLE).find(|tile| tile.fits(target))
    }

    /// Whether an invocation of the target has the registers, and a workgroup the memory.
    pub fn fits(&self, target: &Target) -> bool {
        let tiles = 4 * self.rows + (16 * self.columns4).max(self.lanes);
        let bytes = 16 * tiles + 4 * self.rows;
        let profile = target.profile;
        self.registers <= profile.registers() && bytes <= profile.workgroup_bytes
    }

    /// Operations of a workgroup each of whose sums adds so many products, and takes as long for each as the loops do.
    pub fn executed(&self, products: u64) -> u64 {
        2 * u64::from(self.rows * 4 * self.columns4) * products * TILES[MIDDLE].share / self.share
    }
}

/// A tile, and the parts of the channels of x.
#[derive(Clone, Copy, Debug)]
struct Way {
    tile: Tile,
    slots: u32,
}

/// Ways that are offered beside the best one, so that each tile runs and is compiled everywhere.
const WAYS: [(usize, u32); 8] =
    [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (2, 3), (4, MOST_PARTS)];

/// Channels of a step of the kernel.
pub(super) const DEPTH: usize = 16;

/// Part of its time by which a norm and its SiLU lengthen a convolution of 64 columns that repeats them
/// for each tap: static cycles of RDNA 3 (`compilers/results`).
pub(super) const REPEATED: f64 = 0.19;

/// Products above which that costs a GPU of unknown rates more than a launch that makes the normalized
/// tensor.
const MOST_REPEATED: u64 = 1 << 30;

/// Invocations of a workgroup of the fold, and the pixels and vec4s of channels that it adds.
const FOLD_LANES: u32 = 64;
const SQUARE: usize = 16;
const FOLDED4: u32 = FOLD_LANES / SQUARE as u32;

/// As [`offer`], reading the input in place.
pub(super) fn fused(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let dense = Operands { x1: None, affine: None, upsample: false, ..*operands };
    let [own, dense] =
        [operands, &dense].map(|operands| Some(best(lowering, extents, operands)?.0));
    let longer = own.zip(dense).map(|(own, dense)| own.saturating_sub(dense));
    reads_in_place(lowering, extents, operands, longer)
        .then(|| offer(lowering, family, extents, operands))?
}

/// Whether there is something that a GPU had better read in place, though the kernel then takes so much
/// longer by the model of the device.
pub(super) fn reads_in_place(
    lowering: &Lowering,
    extents: &Extents,
    operands: &Operands,
    longer: Option<Duration>,
) -> bool {
    let Operands { x0, x1, affine, upsample, .. } = *operands;
    let vectors = |x| lowering.type_of(x).vectors() as u64;
    let vectors = vectors(x0) + x1.map_or(0, vectors);
    let alone = lowering.target().profile.pass(vectors, 2 * 16 * vectors);
    let pays = match longer.zip(alone) {
        Some((longer, alone)) => longer <= alone,
        None => affine.is_none() || extents.flops() <= MOST_REPEATED,
    };
    pays && (x1.is_some() || affine.is_some() || upsample)
}

/// The way that takes the device least time; of a device whose rates are not known, the larger tile that
/// its registers hold.
pub(super) fn offer(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let best = best(lowering, extents, operands).map(|(_, way)| way);
    let usual = Tile::usual(lowering.target()).map(|tile| Way { tile, slots: 1 });
    let usual = usual.filter(|way| way.fits(lowering, extents, operands));
    Some(best.or(usual)?.candidate(lowering, family, extents, operands))
}

/// The way that takes the device least time by its model, and how long.
fn best(lowering: &Lowering, extents: &Extents, operands: &Operands) -> Option<(Duration, Way)> {
    let ways =
        TILES.into_iter().flat_map(|tile| slots(extents).map(move |slots| Way { tile, slots }));
    let fitting = ways.filter(|way| way.fits(lowering, extents, operands));
    let timed = fitting.filter_map(|way| Some((way.time(lowering, extents, operands)?, way)));
    // Where bytes decide, tiles that reach past the tensor cost no time: the fewest operations then.
    let best = timed.min_by_key(|(cost, _)| *cost);
    best.map(|((time, _), way)| (time, way))
}

/// The way of this number, on a GPU.
pub(super) fn way<const N: usize>(
    lowering: &mut Lowering,
    family: Family,
    extents: &Extents,
    operands: &Operands,
) -> Option<Candidate> {
    let (tile, wanted) = WAYS[N];
    let profile = lowering.target().profile;
    let slots = slots(extents).filter(|&slots| slots <= wanted).last()?;
    let way = Way { tile: TILES[tile], slots };
    let fits = !profile.is_software() && way.fits(lowering, extents, operands);
    fits.then(|| way.candidate(lowering, family, extents, operands))
}

/// In which numbers products of these operands are computed: as the caller allows, if they are stored in
/// f16 and the device computes with it.
fn arithmetic(lowering: &Lowering, operands: &Operands) -> Arithmetic {
    let target = lowering.target();
    let factors = [Some(operands.x0), operands.x1, Some(operands.weight)].into_iter().flatten();
    let mut stored = factors.map(|value| lowering.type_of(value).element);
    if target.f16 && stored.all(|element| element == ElementType::F16) {
        target.arithmetic
    } else {
        Arithmetic::F32
    }
}

/// The numbers of parts, none of them empty.
fn slots(extents: &Extents) -> impl Iterator<Item = u32> + use<> {
    let steps = extents.in_channels.div_ceil(DEPTH) as u32;
    (1..=MOST_PARTS).filter(move |&slots| steps.div_ceil(steps.div_ceil(slots)) == slots)
}

impl Way {
    /// Operations of workgroups that go through all rows and columns of their tiles, and take as long for
    /// each as their loops do.
    fn executed(&self, extents: &Extents, operands: &Operands, workgroups: u64) -> u64 {
        let Self { tile, slots } = *self;
        let products = extents.taps() * extents.in_channels.next_multiple_of(DEPTH);
        // A phase meets its own taps alone; a part has its own channels.
        let products = products as u64 / (extents.spread * extents.spread) as u64;
        let tiles = workgroups / u64::from(slots);
        let own = tile.executed(products);
        let repeated = REPEATED * f64::from(TILES[MIDDLE].columns4) / f64::from(tile.columns4);
        let repeated = if operands.affine.is_some() { repeated * own as f64 } else { 0.0 };
        tiles * (own + repeated as u64)
    }

    /// Bytes that the sums' launch moves, and those of the fold.
    fn bytes(&self, lowering: &Lowering, extents: &Extents, operands: &Operands) -> [u64; 2] {
        let bytes = |value: Option<Value>| value.map_or(0, |value| lowering.type_of(value).bytes());
        let Operands { x0, x1, weight, residual, y, .. } = *operands;
        let parts = u64::from(self.slots) * self.parts(extents).bytes();
        let read = bytes(Some(x0)) + bytes(x1) + bytes(Some(weight));
        let added = bytes(Some(y)) + bytes(residual);
        if self.slots == 1 { [read + added, 0] } else { [read + parts, parts + added] }
    }

    /// One part of the sums.
    fn parts(&self, extents: &Extents) -> TensorType {
        TensorType::f32(&[extents.pixels(), extents.out_channels])
    }

    /// The grid that adds the parts.
    fn fold_grid(&self, extents: &Extents) -> [u32; 3] {
        let [down, deep, _] = fold(extents.pixels().div_ceil(SQUARE));
        [(extents.out_channels.div_ceil(4) as u32).div_ceil(FOLDED4), down, deep]
    }

    /// How long the sums take, and the launch that adds the parts, and the operations of the sums; none if the device's
    /// rates are not known.
    fn time(
        &self,
        lowering: &Lowering,
        extents: &Extents,
        operands: &Operands,
    ) -> Option<(Duration, u64)> {
        let Self { tile, slots } = *self;
        let profile = lowering.target().profile;
        let (_, grid) = params(lowering, extents, operands, [tile.rows, tile.columns4]);
        let workgroups = grid.iter().map(|&n| u64::from(n)).product::<u64>() * u64::from(slots);
        let [bytes, fold] = self.bytes(lowering, extents, operands);
        let flops = self.executed(extents, operands, workgroups);
        let sums = profile.work(workgroups, tile.lanes, Cost { flops, bytes })?;
        if slots == 1 {
            return Some((sums, flops));
        }
        Some((sums + profile.pass(self.parts(extents).vectors() as u64, fold)?, flops))
    }

    /// Whether an invocation has the registers, the sums of all parts fit a binding, and a launch has the
    /// buffers: of a concatenation and a residual only the fold's has them.
    fn fits(&self, lowering: &Lowering, extents: &Extents, operands: &Operands) -> bool {
        let target = lowering.target();
        if self.slots == 1 && operands.x1.is_some() && operands.residual.is_some() {
            return false;
        }
        let parts = if self.slots == 1 { 0 } else { self.parts(extents).bytes() };
        self.tile.fits(target) && u64::from(self.slots) * parts <= target.max_binding
    }

    fn candidate(
        &self,
        lowering: &mut Lowering,
        family: Family,
        extents: &Extents,
        operands: &Operands,
    ) -> Candidate {
        let Self { tile: Tile { rows, columns4, lanes, .. }, slots } = *self;
        let (params, [across, down, deep]) = params(lowering, extents, operands, [rows, columns4]);
        let grid = [slots * across, down, deep];
        let workgroups: u64 = grid.iter().map(|&n| u64::from(n)).product();
        let Operands { x0: x, x1, affine, weight, bias, embedding, residual, y, moments, .. } =
            *operands;
        let (silu, joined, turned) = (operands.silu, x1.is_some(), operands.turned);
        let overrides =
            conv2d_tiled::Overrides { rows, columns4, lanes, slots: 1, silu, joined, turned };
        let split4 = if joined { operands.split4 as u32 } else { 0 };
        let reading = Params { split4, upsample: operands.upsample.into(), ..params };
        if slots == 1 {
            // Eight buffers are WebGPU's limit: the second part of a concatenation has the residual's place.
            let residual = x1.or(residual);
            let kernel =
                conv2d_tiled::Forward { x, weight, bias, embedding, residual, y, moments, affine };
            let mut sums = kernel.dispatch(reading, overrides, grid);
            sums.kernel.elements.arithmetic = arithmetic(lowering, operands);
            sums.executed = self.executed(extents, operands, workgroups);
            return Candidate::new(family, vec![sums]);
        }
        let [bytes, fold_bytes] = self.bytes(lowering, extents, operands);
        let of = self.parts(extents);
        let parts = TensorType::f32(&[slots as usize * of.rows(), of.shape.last()]);
        let parts = lowering.scratch(parts);
        let kernel = conv2d_tiled::Split { x, weight, residual: x1, affine, parts };
        let mut sums = kernel.dispatch(reading, overrides, grid);
        sums.kernel.elements.arithmetic = arithmetic(lowering, operands);
        sums.executed = self.executed(extents, operands, workgroups);
        sums.work.bytes = bytes;
        sums.parts = slots;
        let plain = conv2d_tiled::Overrides { lanes: FOLD_LANES, slots, ..Default::default() };
        let kernel = conv2d_tiled::Fold { partial: parts, bias, embedding, residual, y, moments };
        let mut folds = kernel.dispatch(params, plain, self.fold_grid(extents));
        folds.work.bytes = fold_bytes;
        Candidate::new(family, vec![sums, folds])
    }
}
