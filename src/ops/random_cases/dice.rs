//! Random numbers that extents, attributes and contents of cases are drawn from.
use crate::{
    ops::{Counter, Input},
    value::{ElementType, TensorType},
};

/// Extents around those at which kernels cut their work.
const EDGES: [usize; 21] =
    [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 257];

/// SplitMix64 (Steele, Lea, Flood 2014): the same seed gives the same sequence.
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    /// Products behind the largest case of convolutions, linear layers and attention.
    pub const PRODUCTS: usize = 1 << 20;

    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An integer in `0..limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.word() % limit.max(1) as u64) as usize
    }

    pub fn flip(&mut self) -> bool {
        self.below(2) == 1
    }

    /// One of these.
    pub fn pick<T: Copy, const N: usize>(&mut self, choices: [T; N]) -> T {
        choices[self.below(N)]
    }

    /// One of these.
    pub fn one_of<T>(&mut self, choices: impl IntoIterator<Item = T>) -> T {
        let mut choices: Vec<T> = choices.into_iter().collect();
        choices.swap_remove(self.below(choices.len()))
    }

    /// A storage of floats.
    pub fn element(&mut self) -> ElementType {
        self.pick([ElementType::F32, ElementType::F16, ElementType::Bf16])
    }

    /// A number in `[low, high)`, as an f32 can hold it.
    pub fn float(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.word() >> 40) as f64 / (1 << 24) as f64;
        f64::from((low + (high - low) * unit) as f32)
    }

    /// An extent in `1..=most`, every other time one at an edge.
    pub fn extent(&mut self, most: usize) -> usize {
        let most = most.max(1);
        if self.flip() {
            return 1 + self.below(most);
        }
        let edges = EDGES.iter().take_while(|&&edge| edge <= most).count();
        EDGES[self.below(edges)]
    }

    /// Extents, each within its limit, whose product is at most `elements`. Which of them is drawn
    /// first, and may so be large, is drawn too.
    pub fn extents<const N: usize>(&mut self, limits: [usize; N], elements: usize) -> [usize; N] {
        let (mut extents, mut left) = ([0; N], elements);
        for _ in 0..N {
            let open: Vec<usize> = (0..N).filter(|&axis| extents[axis] == 0).collect();
            let axis = open[self.below(open.len())];
            extents[axis] = self.extent(limits[axis].min(left));
            left /= extents[axis];
        }
        extents
    }

    /// `[batch, height, width, channels]`
    pub fn image(&mut self) -> TensorType {
        TensorType::f32(&self.extents([5, 40, 40, 130], ELEMENTS))
    }

    /// An image, or `[batch, tokens, channels]`.
    pub fn spatial(&mut self) -> TensorType {
        if self.flip() {
            self.image()
        } else {
            TensorType::f32(&self.extents([5, 300, 130], ELEMENTS))
        }
    }

    /// A tensor of one to five axes.
    pub fn tensor(&mut self) -> TensorType {
        let extents = self.extents([5, 9, 33, 65, 260], ELEMENTS);
        TensorType::f32(&extents[self.below(5)..])
    }

    /// A divisor of `number`.
    pub fn divisor(&mut self, number: usize) -> usize {
        let divisors: Vec<usize> = (1..=number).filter(|d| number.is_multiple_of(*d)).collect();
        divisors[self.below(divisors.len())]
    }

    /// A counter without a bad step.
    pub fn key(&mut self) -> Input {
        let [step, first_image] = [(); 2].map(|()| self.below(1 << 20) as u32);
        let counter = Counter { seed: self.word(), step, first_image, ..Counter::default() };
        counter.input()
    }

    /// A counter that perhaps had a bad step before.
    pub fn counter(&mut self) -> Input {
        let step = 1 + self.below(1000) as u32;
        let bad_step = self.flip().then(|| self.below(step as usize) as u32);
        let seed = self.word() % (1 << 40);
        Counter { seed, step, bad_step, ..Counter::default() }.input()
    }

    /// What `GlobalNorm` gives: norm, factor, and whether the step is good, two of three times.
    pub fn norm(&mut self) -> Input {
        let good = self.pick([0.0, 1.0, 1.0]);
        Input::row([self.float(0.1, 9.0), self.float(0.1, 1.0), good, 0.0])
    }
}

/// Elements of the largest operand of most cases: their references take milliseconds.
const ELEMENTS: usize = 6000;
