//! Extents of an attention, and how the kernels cut them.
use crate::{
    error::ShapeError,
    ops::kit::{Check, pixel_tile::Images},
    plan::{DeviceProfile, MAX_WORKGROUPS, OpClass, Problem, fold},
    shaders::attention,
    value::{Shape, TensorType},
};

/// Largest number of channels of a head: more would not fit a lane's registers.
const MAX_HEAD_SIZE: usize = 512;

/// Extents of one attention.
#[derive(Clone, Copy)]
pub(super) struct Extents {
    pub batch: usize,
    pub queries: usize,
    pub keys: usize,
    pub heads: usize,
    pub head_size: usize,
}

impl Extents {
    pub fn of(q: Shape, k: Shape, heads: usize) -> Self {
        let tokens = |of: Shape| of.rows().checked_div(of[0]).unwrap_or(0);
        let head_size = q.last() / heads;
        Self { batch: q[0], queries: tokens(q), keys: tokens(k), heads, head_size }
    }

    /// The extents that `q`, `k` and `v`, the first of `inputs`, agree on.
    pub fn check(op: &str, heads: usize, inputs: &[TensorType]) -> Result<Self, ShapeError> {
        let error = |message: String| Err(ShapeError::conflict(op, message, inputs));
        let [q, k, v] = [inputs[0], inputs[1], inputs[2]];
        let queries = Images::of(Check::new(&op, inputs), "q", q)?;
        let keys = Images::of(Check::new(&op, inputs), "k", k)?;
        let channels = queries.channels;
        if heads == 0 || channels % heads != 0 {
            return error(format!("q has {channels} channels, not a multiple of {heads} heads"));
        }
        if channels / heads > MAX_HEAD_SIZE {
            let found = channels / heads;
            return error(format!("a head has {found} channels; at most {MAX_HEAD_SIZE} can be"));
        }
        if (keys.batch, keys.channels, k.element) != (queries.batch, channels, q.element) {
            let (batch, element) = (queries.batch, q.element);
            return Err(ShapeError::operand(
                op,
                "k",
                format!("{element}[{batch},keys,{channels}]"),
                k,
                inputs,
            ));
        }
        if v != k {
            return Err(ShapeError::operand(op, "v", k, v, inputs));
        }
        Ok(Self::of(q.shape, k.shape, heads))
    }

    pub fn log_sum_exp(&self) -> TensorType {
        TensorType::f32(&[self.batch, self.heads, self.queries])
    }

    pub fn scale(&self) -> f64 {
        1.0 / (self.head_size as f64).sqrt()
    }

    /// `vec4`s of a head that begins at one.
    pub fn head4(&self) -> usize {
        self.head_size.div_ceil(4)
    }

    /// `vec4`s of a token whose heads begin at one.
    pub fn channels4(&self) -> usize {
        self.heads * self.head4()
    }

    /// Whether two heads meet inside a `vec4`.
    pub fn heads_touch(&self) -> bool {
        self.heads > 1 && !self.head_size.is_multiple_of(4)
    }

    /// Parameters of the kernels: of three tensors, or of one that holds `q`, `k` and `v`
    /// side by side.
    pub fn params(&self, joint: bool, causal: bool) -> attention::Params {
        let channels4 = self.channels4() as u32;
        let part = |index: u32| if joint { index * channels4 } else { 0 };
        attention::Params {
            batch: self.batch as u32,
            queries: self.queries as u32,
            keys: self.keys as u32,
            channels4,
            pitch4: if joint { 3 * channels4 } else { channels4 },
            k_first4: part(1),
            v_first4: part(2),
            head4: self.head4() as u32,
            heads: self.heads as u32,
            scale: self.scale() as f32,
            slot_tokens: 0,
            causal: causal.into(),
        }
    }

    /// One workgroup per `rows` tokens, head and image; heads and images are folded where an axis
    /// is too short for them.
    pub fn grid(&self, tokens: usize, rows: u32) -> [u32; 3] {
        let [mut y, mut z] = [self.heads, self.batch].map(|extent| extent as u32);
        if y.max(z) > MAX_WORKGROUPS {
            [y, z, _] = fold(self.heads * self.batch);
        }
        [tokens.div_ceil(rows as usize) as u32, y, z]
    }

    /// What the choice between families goes by.
    pub fn problem(&self, class: OpClass) -> Problem {
        let channels = self.head_size;
        Problem::new(class, self.batch * self.queries, channels, channels)
    }

    pub fn products(&self) -> u64 {
        let scores = (self.batch * self.heads * self.queries) as u64 * self.keys as u64;
        scores.saturating_mul(self.head_size as u64)
    }
}

/// What a lane of a kernel computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tile {
    /// Lanes side by side along a head.
    pub lanes: u32,
    /// Rows of scores and sums.
    pub rows: u32,
    /// `vec4`s of a head.
    pub columns: u32,
}

impl Tile {
    fn new(extents: &Extents, lanes: u32, rows: u32) -> Self {
        Self { lanes, rows, columns: (extents.head4() as u32).div_ceil(lanes) }
    }

    /// For the tiled kernels, the first whose sums of `accumulators` tensors fit the device's
    /// registers, and of which a lane has at most `most_sums` vec4s. Beside the sums a row takes 12 and all else 48 at
    /// most, as `compilers/run` shows.
    pub fn tiled(
        extents: &Extents,
        accumulators: u32,
        most_sums: u32,
        profile: &DeviceProfile,
    ) -> Self {
        let of = |lanes| [4, 2, 1].map(|rows| Self::new(extents, lanes, rows));
        let fits = |Self { rows, columns, .. }: &Self| {
            let sums = rows * columns * accumulators;
            sums <= most_sums && 4 * sums + 12 * rows + 48 <= profile.registers()
        };
        // The last fits the largest head on every device.
        let last = Self::new(extents, 32, 1);
        [8, 16, 32].into_iter().flat_map(of).find(fits).unwrap_or(last)
    }

    /// Rows of a workgroup of the tiled kernels, which has 64 lanes.
    pub fn workgroup_rows(&self) -> u32 {
        64 / self.lanes * self.rows
    }

    /// For the subgroup kernels, whose rows are a multiple of the `lanes`: `most_rows` at most, and
    /// `most_unrolled` products of vec4s in a block of tokens. None for heads so large that a
    /// driver, which unrolls these loops, would compile for minutes.
    fn subgroup(extents: &Extents, lanes: u32, most_rows: u32, most_unrolled: u32) -> Option<Self> {
        let fits = |Self { rows, columns, .. }: &Self| {
            lanes * rows <= most_rows && 4 * lanes * lanes * rows * columns <= most_unrolled
        };
        [4, 2, 1].map(|rows| Self::new(extents, lanes, rows)).into_iter().find(fits)
    }

    /// For the forward kernel.
    pub fn subgroup_forward(extents: &Extents, lanes: u32) -> Option<Self> {
        Self::subgroup(extents, lanes, 32, 4096)
    }

    /// For the gradients. `half`: the kernel widens operands of 16 bits; with heads of 256 of them
    /// lavapipe compiles for minutes. With 32 rows it compiles some sizes for 20 seconds or more, and
    /// what it then runs is two to six times slower.
    pub fn subgroup_backward(extents: &Extents, lanes: u32, half: bool) -> Option<Self> {
        Self::subgroup(extents, lanes, 16, if half { 1024 } else { 2048 })
    }
}
