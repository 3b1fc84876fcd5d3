//! Counter-based random numbers: the twin of `shaders/shared/random.wgsl`.
//!
//! An element's number depends on the key, the stream, the number of its image and its place in
//! that image, never on the size of the batch, the device or the order of work.
use crate::{
    ops::Input,
    plan::fold,
    reference::Tensor,
    value::{Shape, TensorType},
};

/// What a run's random numbers and its step depend on: the contents of the `u32[8]` state that
/// [`TrainingRow`](crate::ops::TrainingRow) and [`SamplingRow`](crate::ops::SamplingRow) read and
/// [`Advance`](crate::ops::Advance) moves on. The `key` operand of every random op is a copy of it.
///
/// ```
/// use ddim::ops::Counter;
///
/// let counter = Counter { seed: 1 << 32 | 7, step: 3, ..Counter::default() };
/// assert_eq!(counter.words(), [7, 1, 3, 0, 0, 0, 0, 0]);
/// assert_eq!(Counter::from_words(counter.words()), counter);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Seed of the run.
    pub seed: u64,
    /// Steps done.
    pub step: u32,
    /// Number of the batch's first image, so that a split batch draws the same numbers.
    pub first_image: u32,
    /// The first step (from 0) in which something was not finite: loss or gradient, and nothing is
    /// updated since; or what a [`SamplingStep`](crate::ops::SamplingStep) met.
    pub bad_step: Option<u32>,
    /// What was not finite in that step of sampling: the sum of constants of
    /// [`SamplingStep`](crate::ops::SamplingStep).
    pub bad_parts: u32,
}

impl Counter {
    /// Words of the state.
    pub const WORDS: usize = 8;

    /// The state's type, and that of the `key` copied from it.
    pub fn of() -> TensorType {
        TensorType::u32(&[Self::WORDS])
    }

    /// The state's contents.
    pub fn words(self) -> [u32; Self::WORDS] {
        let bad = self.bad_step.map_or(0, |step| step.wrapping_add(1));
        let (low, high) = (self.seed as u32, (self.seed >> 32) as u32);
        [low, high, self.step, self.first_image, bad, self.bad_parts, 0, 0]
    }

    /// The counter that these words hold.
    pub fn from_words(words: [u32; Self::WORDS]) -> Self {
        let [low, high, step, first_image, bad, bad_parts, ..] = words;
        let seed = u64::from(high) << 32 | u64::from(low);
        Self { seed, step, first_image, bad_step: bad.checked_sub(1), bad_parts }
    }

    /// The counter in a reference tensor.
    pub(in crate::ops) fn read(tensor: &Tensor) -> Self {
        Self::from_words(std::array::from_fn(|i| tensor.data[i] as u32))
    }

    /// The counter as a reference tensor.
    pub(in crate::ops) fn tensor(self) -> Tensor {
        Tensor::new(Self::of().shape, self.words().map(f64::from).to_vec())
    }

    /// The counter as an operand of a case.
    pub(in crate::ops) fn input(self) -> Input {
        Input::values(Self::of(), self.tensor().data)
    }

    /// Four random words for vec4 number `vector` of image number `image` of the batch.
    pub(in crate::ops) fn random_words(self, vector: u32, image: u32, stream: u32) -> [u32; 4] {
        let [low, high, step, first_image, ..] = self.words();
        philox([vector, first_image.wrapping_add(image), stream, step], [low, high])
    }

    /// `random(words)`, four at a time, for every element of a tensor whose outermost axis
    /// counts images.
    pub(in crate::ops) fn fill(
        self,
        shape: Shape,
        stream: u32,
        random: impl Fn([u32; 4]) -> [f64; 4],
    ) -> Tensor {
        let (batch, channels) = (shape[0], shape.last());
        let channels4 = channels.div_ceil(4);
        let mut data = Vec::with_capacity(shape.elements());
        for image in 0..batch {
            for pixel in 0..shape.rows() / batch {
                for channel4 in 0..channels4 {
                    let vector = (pixel * channels4 + channel4) as u32;
                    let four = random(self.random_words(vector, image as u32, stream));
                    data.extend(&four[..(channels - 4 * channel4).min(4)]);
                }
            }
        }
        Tensor::new(shape, data)
    }

    /// Standard normals of this shape.
    pub(in crate::ops) fn normals(self, shape: Shape, stream: u32) -> Tensor {
        self.fill(shape, stream, normals)
    }
}

/// Philox 4x32 with ten rounds: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut words, mut key) = (counter, key);
    for _ in 0..10 {
        let even = 0xd251_1f53 * u64::from(words[0]);
        let odd = 0xcd9e_8d57 * u64::from(words[2]);
        let high = |product: u64| (product >> 32) as u32;
        words = [
            high(odd) ^ words[1] ^ key[0],
            odd as u32,
            high(even) ^ words[3] ^ key[1],
            even as u32,
        ];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    words
}

/// Four standard normals by Box and Muller 1958: radii from the even words, angles from the odd.
pub fn normals(words: [u32; 4]) -> [f64; 4] {
    let scale = 2_f64.powi(-32);
    let pair = |radius: u32, turn: u32| {
        let length = (-2.0 * ((f64::from(radius) + 0.5) * scale).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * f64::from(turn) * scale).sin_cos();
        [length * cosine, length * sine]
    };
    let ([a, b], [c, d]) = (pair(words[0], words[1]), pair(words[2], words[3]));
    [a, b, c, d]
}

/// A key for cases.
pub(in crate::ops) fn example_key() -> Input {
    Counter { seed: 5 << 32 | 17, step: 3, first_image: 2, ..Counter::default() }.input()
}

/// A counter at this step, for cases.
pub(in crate::ops) fn counter_at(step: u32) -> Input {
    Counter { seed: 3 << 32 | 1, step, first_image: 8, ..Counter::default() }.input()
}

/// How kernels that import `image_vector` walk a tensor whose outermost axis counts images.
pub(in crate::ops) struct Images {
    /// Images.
    pub batch: u32,
    /// vec4s of one image.
    pub vectors: u32,
    /// Channels of a pixel.
    pub channels: u32,
    /// vec4s of a pixel.
    pub channels4: u32,
    /// One invocation per vec4 of all images.
    pub grid: [u32; 3],
}

impl Images {
    pub fn new(of: TensorType, workgroup: u32) -> Self {
        let (batch, vectors) = (of.shape[0] as u32, (of.vectors() / of.shape[0]) as u32);
        let (channels, channels4) = (of.shape.last() as u32, of.pitch() as u32 / 4);
        let grid = fold(of.vectors().div_ceil(workgroup as usize));
        Self { batch, vectors, channels, channels4, grid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer vectors that Random123 publishes for philox4x32-10: counter, key, words.
    #[test]
    fn philox_gives_the_published_words() {
        let ones = u32::MAX;
        let vectors = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([ones; 4], [ones; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, words) in vectors {
            assert_eq!(philox(counter, key), words);
        }
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let counter = Counter { seed: 7, ..Counter::default() };
        let drawn = counter.normals(Shape::new(&[4, 100, 100, 3]), 1);
        let count = drawn.data.len() as f64;
        let mean = drawn.data.iter().sum::<f64>() / count;
        let variance = drawn.data.iter().map(|x| x * x).sum::<f64>() / count;
        assert!(mean.abs() < 4.0 / count.sqrt(), "mean {mean}");
        assert!((variance - 1.0).abs() < 4.0 * (2.0 / count).sqrt(), "variance {variance}");
    }

    #[test]
    fn a_split_batch_draws_the_same_numbers() {
        let whole = Counter { seed: 7, step: 3, ..Counter::default() };
        let rest = Counter { first_image: 2, ..whole };
        let all = whole.normals(Shape::new(&[3, 7, 5]), 1);
        let last = rest.normals(Shape::new(&[1, 7, 5]), 1);
        assert_eq!(all.data[2 * 35..], last.data);
    }

    #[test]
    fn a_counter_survives_its_words() {
        let (seed, bad_step) = (1 << 40 | 5, Some(0));
        let counter = Counter { seed, step: 6, first_image: 7, bad_step, bad_parts: 9 };
        assert_eq!(Counter::from_words(counter.words()), counter);
    }
}
