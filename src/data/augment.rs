//! The augmentations of Karras et al. 2022, *Elucidating the Design Space of Diffusion-Based Generative Models*, appendix F.2:
//! mirrors, and scale, rotation, anisotropic scale and translation in one resampling, each with a probability. What was
//! done to an image is told to the network by nine numbers, which are zeros in sampling.
use super::{
    batches::{Stream, mirrored, random},
    resampled::{Affine, Plane},
};
use std::f64::consts::{PI, TAU};

/// Numbers that tell what was done to an image.
///
/// Example: [`crate::data::Loader`].
pub const AUGMENT_LABELS: usize = 9;

/// Standard deviation of scales, in powers of two, and of translations, in sides of the image.
const SCALE: f64 = 0.2;
const TRANSLATION: f64 = 0.125;

/// Probability that the axes of an anisotropic scale are turned.
const TURNED: f64 = 0.5;

/// What is done to an image.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Augmentation {
    /// Left to right, and upside down.
    mirrored: [bool; 2],
    /// Exponent of the scale.
    scale: f64,
    /// Angle.
    rotation: f64,
    /// Exponent of the anisotropic scale, and the angle of its axis.
    stretch: [f64; 2],
    /// Of columns and rows, in standard deviations.
    translation: [f64; 2],
}

/// Random numbers of an image.
struct Dice {
    seed: u64,
    place: u64,
    round: u32,
}

impl Dice {
    fn uniforms(&mut self) -> [f64; 4] {
        let words = random(self.seed, Stream::Augment, self.place, self.round);
        self.round += 1;
        words.map(|word| (f64::from(word) + 0.5) / 4294967296.0)
    }

    /// Two normal numbers, if a third number is below the probability, else zeros.
    fn normals(&mut self, probability: f64) -> [f64; 2] {
        let [radius, angle, chance, _] = self.uniforms();
        let radius = if chance < probability { (-2.0 * radius.ln()).sqrt() } else { 0.0 };
        [radius * (TAU * angle).cos(), radius * (TAU * angle).sin()]
    }
}

impl Augmentation {
    /// What is done to the image at a place in the sequence of all steps: half of them are mirrored left to right,
    /// everything else happens with a probability.
    pub fn draw(seed: u64, place: u64, probability: f64) -> Self {
        let mut dice = Dice { seed, place, round: 0 };
        let [across, down, chance, _] = dice.uniforms();
        let mirrored = [across < 0.5, down < 0.5 && chance < probability];
        let [scale, _] = dice.normals(probability);
        let [angle, chance, axis, turned] = dice.uniforms();
        let rotation = if chance < probability { (2.0 * angle - 1.0) * PI } else { 0.0 };
        let [stretch, _] = dice.normals(probability);
        let axis = if turned < TURNED { (2.0 * axis - 1.0) * PI } else { 0.0 };
        let translation = dice.normals(probability);
        Self { mirrored, scale, rotation, stretch: [stretch, axis], translation }
    }

    /// The numbers that the network is told.
    pub fn labels(&self) -> [f32; AUGMENT_LABELS] {
        let [across, down] = self.mirrored.map(|mirrored| f64::from(u8::from(mirrored)));
        let [stretch, axis] = self.stretch;
        let [columns, rows] = self.translation;
        let (sine, cosine) = self.rotation.sin_cos();
        let axes = [stretch * axis.cos(), stretch * axis.sin()];
        [across, down, self.scale, cosine - 1.0, sine, axes[0], axes[1], columns, rows]
            .map(|number| number as f32)
    }

    /// From places in the new image to places in the old one, in pixels from the middle.
    fn inverse(&self, [height, width]: [usize; 2]) -> Affine {
        let scale = (-SCALE * self.scale).exp2();
        let [stretch, axis] = self.stretch;
        let stretch = (SCALE * stretch).exp2();
        let [columns, rows] = self.translation;
        let shift = [width as f64 * TRANSLATION * columns, height as f64 * TRANSLATION * rows];
        Affine::scale([scale; 2])
            .then(Affine::rotation(self.rotation))
            .then(Affine::rotation(-axis))
            .then(Affine::scale([1.0 / stretch, stretch]))
            .then(Affine::rotation(axis))
            .then(Affine::translation([-shift[0], -shift[1]]))
    }

    /// Applies it to an image `[height, width, channels]`.
    pub fn apply(&self, image: Vec<f32>, [height, width, channels]: [usize; 3]) -> Vec<f32> {
        let [across, down] = self.mirrored;
        let mut image = image;
        if across {
            image = mirrored(&image, width, channels);
        }
        if down {
            image = image.chunks_exact(width * channels).rev().flatten().copied().collect();
        }
        let still =
            Self { mirrored: [false; 2], stretch: [0.0, self.stretch[1]], ..Self::default() };
        if (Self { mirrored: [false; 2], ..*self }) == still {
            return image;
        }
        let inverse = self.inverse([height, width]);
        let mut made = vec![0.0; image.len()];
        for channel in 0..channels {
            let numbers = image.iter().skip(channel).step_by(channels);
            let plane = Plane { height, width, numbers: numbers.map(|x| f64::from(*x)).collect() };
            let plane = plane.resampled(inverse);
            for (pixel, number) in plane.numbers.into_iter().enumerate() {
                made[pixel * channels + channel] = number as f32;
            }
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A smooth image of 16x12 pixels with two channels, and its number at any place from the middle.
    const SHAPE: [usize; 3] = [16, 12, 2];

    fn shade(x: f64, y: f64, channel: usize) -> f64 {
        (0.25 * x + 0.1 * channel as f64).sin() * (0.2 * y + 0.3).cos()
    }

    fn image() -> Vec<f32> {
        let [height, width, channels] = SHAPE;
        let number = |index: usize| {
            let (pixel, channel) = (index / channels, index % channels);
            let x = (pixel % width) as f64 - (width - 1) as f64 / 2.0;
            let y = (pixel / width) as f64 - (height - 1) as f64 / 2.0;
            shade(x, y, channel) as f32
        };
        (0..height * width * channels).map(number).collect()
    }

    /// Largest difference in the middle of the image from the shades at other places.
    fn error(made: &[f32], from: impl Fn(f64, f64) -> [f64; 2]) -> f64 {
        let [height, width, channels] = SHAPE;
        let mut most = 0.0f64;
        for row in 5..height - 5 {
            for column in 4..width - 4 {
                let x = column as f64 - (width - 1) as f64 / 2.0;
                let y = row as f64 - (height - 1) as f64 / 2.0;
                let [x, y] = from(x, y);
                for channel in 0..channels {
                    let found = f64::from(made[(row * width + column) * channels + channel]);
                    most = most.max((found - shade(x, y, channel)).abs());
                }
            }
        }
        most
    }

    #[test]
    fn each_transformation_moves_pixels_as_its_numbers_say() {
        let none = Augmentation::default();
        let apply = |of: Augmentation| of.apply(image(), SHAPE);
        assert_eq!(apply(none), image());
        // A translation of one pixel: content moves right and down.
        let moved = Augmentation { translation: [1.0 / (12.0 * TRANSLATION), 0.0], ..none };
        assert!(error(&apply(moved), |x, y| [x - 1.0, y]) < 0.01);
        let down = Augmentation { translation: [0.0, 0.5 / (16.0 * TRANSLATION)], ..none };
        assert!(error(&apply(down), |x, y| [x, y - 0.5]) < 0.01);
        // Twice as large.
        let large = Augmentation { scale: 1.0 / SCALE, ..none };
        assert!(error(&apply(large), |x, y| [x / 2.0, y / 2.0]) < 0.01);
        let turned = Augmentation { rotation: 0.5, ..none };
        let (sine, cosine) = 0.5f64.sin_cos();
        let turn = |x, y| [cosine * x - sine * y, sine * x + cosine * y];
        assert!(error(&apply(turned), turn) < 0.02, "{}", error(&apply(turned), turn));
        // Wide along the first axis, narrow along the other.
        let wide = Augmentation { stretch: [0.5 / SCALE, 0.0], ..none };
        let root = 0.5f64.exp2();
        assert!(error(&apply(wide), |x, y| [x / root, y * root]) < 0.02);
        // A stretch whose axis is turned by a quarter is one along the other axis.
        let tall = Augmentation { stretch: [0.5 / SCALE, PI / 2.0], ..none };
        assert!(error(&apply(tall), |x, y| [x * root, y / root]) < 0.02);
        // These are no identities.
        assert!(error(&apply(none), |x, y| [x - 1.0, y]) > 0.1);
        assert!(error(&apply(none), turn) > 0.1);
    }

    #[test]
    fn mirrors_are_exact() {
        let [height, width, channels] = SHAPE;
        let both = Augmentation { mirrored: [true, true], ..Augmentation::default() };
        let made = both.apply(image(), SHAPE);
        let original = image();
        for pixel in 0..height * width {
            let other = height * width - 1 - pixel;
            let [made, original] = [&made[pixel * channels..], &original[other * channels..]];
            assert_eq!(made[..channels], original[..channels]);
        }
    }

    #[test]
    fn they_happen_as_often_as_is_asked() {
        let count = 20_000;
        let drawn: Vec<_> = (0..count).map(|place| Augmentation::draw(7, place, 0.12)).collect();
        let share = |is: &dyn Fn(&Augmentation) -> bool| {
            drawn.iter().filter(|of| is(of)).count() as f64 / count as f64
        };
        for (found, expected) in [
            (share(&|of| of.mirrored[0]), 0.5),
            (share(&|of| of.mirrored[1]), 0.06),
            (share(&|of| of.scale != 0.0), 0.12),
            (share(&|of| of.rotation != 0.0), 0.12),
            (share(&|of| of.stretch[0] != 0.0), 0.12),
            (share(&|of| of.stretch[1] != 0.0), 0.5),
            (share(&|of| of.translation != [0.0; 2]), 0.12),
        ] {
            // Five standard deviations of a count.
            let deviation = (expected * (1.0 - expected) / count as f64).sqrt();
            assert!((found - expected).abs() < 5.0 * deviation, "{found}, {expected}");
        }
        let labels = drawn.iter().map(Augmentation::labels);
        let square = |label: usize| {
            let sum: f32 = labels.clone().map(|labels| labels[label].powi(2)).sum();
            f64::from(sum) / count as f64
        };
        for label in [2, 7, 8] {
            assert!((square(label) - 0.12).abs() < 0.015, "{label}: {}", square(label));
        }
        assert_ne!(Augmentation::draw(7, 0, 1.0), Augmentation::draw(8, 0, 1.0));
    }
}
