//! The kernels for GPUs: how many rows a workgroup owns, and into how many slots the tokens that pass by are
//! cut, are those that take the device least time by its model.
use super::{Extents, Tile};
use crate::{
    ops::Lowering,
    plan::{Cost, Dispatch, MAX_WORKGROUPS, MOST_PARTS, SPLIT_PAYS},
    value::{ElementType, TensorType, Value},
};
use std::time::Duration;

/// A kernel of `shaders/attention{,_backward}.wgsl` that goes over pairs of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Its rows are queries.
    Forward,
    /// The gradient of the queries.
    Query,
    /// Those of keys and values, whose rows are keys.
    KeyValue,
}

impl Pass {
    /// Rows of a head, and the tokens that pass by.
    fn tokens(self, extents: &Extents) -> [usize; 2] {
        let Extents { queries, keys, .. } = *extents;
        if self == Self::KeyValue { [keys, queries] } else { [queries, keys] }
    }

    /// Products of a row with a token, over the channels of a head.
    fn products(self) -> f64 {
        if self == Self::Forward { 1.0 } else { 2.0 }
    }

    /// Its share of the op's operations for each channel of a pair of tokens: 4 forward, 10 backward, as if the
    /// two gradients' kernels had each made one of the products that both make.
    fn flops(self) -> u64 {
        if self == Self::KeyValue { 6 } else { 4 }
    }

    /// Tensors that a row sums.
    fn sums(self) -> u32 {
        if self == Self::KeyValue { 2 } else { 1 }
    }
}

/// Invocations of a workgroup.
const LANES: u32 = 64;
/// Channels of a step of the products.
const DEPTH: usize = 16;
/// Instructions for each multiply-add of the products, and of the sums, beyond itself and for one row of a
/// lane, and those of a weight: `compilers/results/nvidia-ada.json`.
const PRODUCT: f64 = 1.4;
const SUM: f64 = 0.35;
const WEIGHT: f64 = 12.0;
/// Multiply-adds of each instruction at the model's full rate.
const FULL: f64 = 0.85;

/// A tile, and the slots that the passing tokens are cut into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Way {
    pub tile: Tile,
    pub slots: usize,
}

impl Way {
    /// The ways that are offered, the first to be taken: the one of least time, where the device's
    /// rates are known; and on a GPU some others, so that each is tested and compiled everywhere.
    pub fn offered(lowering: &Lowering, extents: &Extents, pass: Pass, output: Value) -> Vec<Self> {
        let profile = lowering.target().profile;
        // The compilers of AMD and NVIDIA do not unroll a loop that rounds 32 vec4s to bf16: its sums would be in memory.
        let rounds = lowering.type_of(output).element == ElementType::Bf16;
        let most_sums = if rounds && pass == Pass::Query { 31 } else { u32::MAX };
        let tile = Tile::tiled(extents, pass.sums(), most_sums, &profile);
        let usual = Self { tile, slots: 1 };
        if profile.is_software() {
            return vec![usual];
        }
        let tiles = [4, 2, 1].into_iter().filter(|rows| *rows <= tile.rows);
        let tiles = tiles.map(|rows| Tile { rows, ..tile });
        let ways: Vec<Self> = tiles
            .flat_map(|tile| {
                let fits = move |slots: &usize| Self { tile, slots: *slots }.fits(extents, pass);
                (1..=MOST_PARTS as usize).filter(fits).map(move |slots| Self { tile, slots })
            })
            .filter(|way| {
                let parts = way.parts(lowering.type_of(output));
                way.slots == 1 || parts.bytes() <= lowering.target().max_binding
            })
            .collect();
        let time = |way: &Self| way.time(lowering, extents, pass, output);
        let timed: Vec<(Duration, Self)> =
            ways.iter().filter_map(|way| Some((time(way)?, *way))).collect();
        let fastest = |split: bool| {
            let own = timed.iter().filter(|(_, way)| (way.slots > 1) == split);
            own.min_by_key(|(time, _)| *time).copied()
        };
        let (whole, split) = (fastest(false), fastest(true));
        let pays = |of: &(Duration, Self)| {
            whole.is_none_or(|(time, _)| of.0.as_secs_f64() < SPLIT_PAYS * time.as_secs_f64())
        };
        let best = split.filter(pays).or(whole).map(|(_, way)| way);
        // The tiles with fewest rows come last.
        let others = [Some(&usual), ways.last()];
        let mut offered: Vec<Self> = best.into_iter().collect();
        for way in others.into_iter().flatten() {
            if !offered.contains(way) {
                offered.push(*way);
            }
        }
        offered
    }

    /// Tokens of a block.
    fn block(&self) -> usize {
        4 * self.tile.lanes as usize
    }

    /// Whether no slot is empty, and an axis of the grid has room for all.
    fn fits(&self, extents: &Extents, pass: Pass) -> bool {
        let [_, tokens] = pass.tokens(extents);
        let fits = self.slots == 1 || self.grid(extents, pass)[0] <= MAX_WORKGROUPS;
        fits && tokens.div_ceil(self.slot_tokens(extents, pass)) == self.slots
    }

    /// Tokens of a slot: whole blocks.
    pub fn slot_tokens(&self, extents: &Extents, pass: Pass) -> usize {
        let [_, tokens] = pass.tokens(extents);
        let blocks = tokens.div_ceil(self.block());
        blocks.div_ceil(self.slots) * self.block()
    }

    /// The slots' sums of a tensor.
    fn parts(&self, of: TensorType) -> TensorType {
        TensorType::f32(&[self.slots * of.rows(), of.shape.last()])
    }

    pub fn grid(&self, extents: &Extents, pass: Pass) -> [u32; 3] {
        let [rows, _] = pass.tokens(extents);
        let [tiles, heads, images] = extents.grid(rows, self.tile.workgroup_rows());
        [self.slots as u32 * tiles, heads, images]
    }

    /// Says what the kernel's workgroups go through.
    pub fn counted(&self, extents: &Extents, pass: Pass, mut dispatch: Dispatch) -> Dispatch {
        dispatch.executed = self.executed(extents, pass);
        dispatch.parts = self.slots as u32;
        dispatch.cost.flops = extents.products().saturating_mul(pass.flops());
        dispatch
    }

    /// Operations of workgroups that go through all rows and channels of their tiles, and take as long
    /// for each as their loops do.
    fn executed(&self, extents: &Extents, pass: Pass) -> u64 {
        let Tile { lanes, rows, columns } = self.tile;
        let rows_of_lane = f64::from(rows);
        let multiplied = extents.head_size.next_multiple_of(DEPTH) as f64;
        let products = pass.products() * multiplied * (1.0 + PRODUCT / rows_of_lane);
        let summed = f64::from(4 * lanes * columns * pass.sums());
        let pair = products + summed * (1.0 + SUM / rows_of_lane) + WEIGHT;
        let workgroups = self.workgroups(extents, pass);
        let pairs = u64::from(self.tile.workgroup_rows()) * self.slot_tokens(extents, pass) as u64;
        2 * ((workgroups * pairs) as f64 * pair * FULL) as u64
    }

    fn workgroups(&self, extents: &Extents, pass: Pass) -> u64 {
        self.grid(extents, pass).iter().map(|&n| u64::from(n)).product()
    }

    /// How long the sums take, and the launch that adds the slots; none if the device's rates are not
    /// known.
    fn time(
        &self,
        lowering: &Lowering,
        extents: &Extents,
        pass: Pass,
        output: Value,
    ) -> Option<Duration> {
        let (profile, of) = (lowering.target().profile, lowering.type_of(output));
        let tensors = u64::from(pass.sums());
        let written = tensors * if self.slots == 1 { of.bytes() } else { self.parts(of).bytes() };
        let flops = self.executed(extents, pass);
        let cost = Cost { flops, bytes: 3 * of.bytes() + written };
        let sums = profile.work(self.workgroups(extents, pass), LANES, cost)?;
        if self.slots == 1 {
            return Some(sums);
        }
        let fold = written + tensors * of.bytes();
        Some(sums + profile.pass(tensors * of.vectors() as u64, fold)?)
    }
}
