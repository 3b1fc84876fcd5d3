//! Affine maps of images by a wavelet: Karras et al. 2020, *Training Generative Adversarial Networks with Limited Data*,
//! appendix B. The image is reflected at its edges, doubled by the wavelet `sym6`, looked up between its pixels, and halved.

/// The low-pass filter of the wavelet `sym6`: Daubechies 1992, *Ten Lectures on Wavelets*, section 8.1.1.
const WAVELET: [f64; 12] = [
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
];

/// Pixels around an image that its filter reads.
const AROUND: usize = WAVELET.len() / 4;

/// `(x, y) -> (a x + b y + c, d x + e y + f)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affine([f64; 6]);

impl Affine {
    pub fn scale([x, y]: [f64; 2]) -> Self {
        Self([x, 0.0, 0.0, 0.0, y, 0.0])
    }

    pub fn rotation(angle: f64) -> Self {
        let (sine, cosine) = angle.sin_cos();
        Self([cosine, -sine, 0.0, sine, cosine, 0.0])
    }

    pub fn translation([x, y]: [f64; 2]) -> Self {
        Self([1.0, 0.0, x, 0.0, 1.0, y])
    }

    /// The product with a map that comes before it.
    pub fn then(self, first: Self) -> Self {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (self.0, first.0);
        Self([
            a * g + b * j,
            a * h + b * k,
            a * i + b * l + c,
            d * g + e * j,
            d * h + e * k,
            d * i + e * l + f,
        ])
    }

    fn at(&self, x: f64, y: f64) -> [f64; 2] {
        let [a, b, c, d, e, f] = self.0;
        [a * x + b * y + c, d * x + e * y + f]
    }
}

/// One channel of an image.
pub(super) struct Plane {
    pub height: usize,
    pub width: usize,
    pub numbers: Vec<f64>,
}

impl Plane {
    /// The plane with rows and columns exchanged.
    fn turned(&self) -> Self {
        let Self { height, width, .. } = *self;
        let at = |index: usize| self.numbers[index % height * width + index / height];
        Self { height: width, width: height, numbers: (0..height * width).map(at).collect() }
    }

    /// Each row by another.
    fn rows(&self, make: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        let numbers: Vec<f64> = self.numbers.chunks_exact(self.width).flat_map(make).collect();
        Self { height: self.height, width: numbers.len() / self.height, numbers }
    }

    /// Rows, then columns by others.
    fn both(
        &self,
        rows: impl Fn(&[f64]) -> Vec<f64>,
        columns: impl Fn(&[f64]) -> Vec<f64>,
    ) -> Self {
        self.rows(rows).turned().rows(columns).turned()
    }

    /// The plane looked up at the places that `inverse` says.
    pub fn resampled(&self, inverse: Affine) -> Self {
        let [before, after] = self.margins(inverse);
        let reflect = |axis: usize| move |line: &[f64]| reflected(line, before[axis], after[axis]);
        let padded = self.both(reflect(0), reflect(1));
        let shift = [0, 1].map(|axis| (before[axis] as f64 - after[axis] as f64) / 2.0);
        let doubled = padded.both(doubled, doubled);
        let half = Affine::scale([0.5; 2]);
        let map = Affine::scale([2.0; 2]).then(Affine::translation(shift)).then(inverse).then(half);
        let map = Affine::translation([-0.5; 2]).then(map).then(Affine::translation([0.5; 2]));
        let size = [self.height, self.width].map(|side| 2 * (side + 2 * AROUND));
        doubled.looked_up(map, size).both(halved, halved)
    }

    /// Columns and rows that are needed before and after the image's own.
    fn margins(&self, inverse: Affine) -> [[usize; 2]; 2] {
        let sides = [self.width, self.height];
        let middle = sides.map(|side| (side - 1) as f64 / 2.0);
        let [x, y] = middle;
        let corners = [[-x, -y], [x, -y], [x, y], [-x, y]].map(|[x, y]| inverse.at(x, y));
        let needed = |axis: usize, sign: f64| {
            let most = corners.iter().map(|corner| sign * corner[axis]).fold(f64::MIN, f64::max);
            let needed = most + (2 * AROUND) as f64 - middle[axis];
            needed.clamp(0.0, (sides[axis] - 1) as f64).ceil() as usize
        };
        [[needed(0, -1.0), needed(1, -1.0)], [needed(0, 1.0), needed(1, 1.0)]]
    }

    /// Numbers between pixels, weighted by their distances; zeros outside.
    fn looked_up(&self, map: Affine, [height, width]: [usize; 2]) -> Self {
        let at = |row: f64, column: f64| {
            let inside = |place: f64, side: usize| place >= 0.0 && place < side as f64;
            match inside(row, self.height) && inside(column, self.width) {
                true => self.numbers[row as usize * self.width + column as usize],
                false => 0.0,
            }
        };
        let pixel = |index: usize| {
            let middle = |place: usize, side: usize| place as f64 + 0.5 - side as f64 / 2.0;
            let [x, y] = map.at(middle(index % width, width), middle(index / width, height));
            let (x, y) = (x + self.width as f64 / 2.0 - 0.5, y + self.height as f64 / 2.0 - 0.5);
            let (left, top) = (x.floor(), y.floor());
            let (right, bottom) = (x - left, y - top);
            (1.0 - bottom) * ((1.0 - right) * at(top, left) + right * at(top, left + 1.0))
                + bottom * ((1.0 - right) * at(top + 1.0, left) + right * at(top + 1.0, left + 1.0))
        };
        Self { height, width, numbers: (0..height * width).map(pixel).collect() }
    }
}

/// A line with reflections before and after it, the outermost pixels once.
fn reflected(line: &[f64], before: usize, after: usize) -> Vec<f64> {
    let head = line[1..=before].iter().rev();
    let tail = line[line.len() - 1 - after..line.len() - 1].iter().rev();
    head.chain(line).chain(tail).copied().collect()
}

/// A line of twice as many pixels.
fn doubled(line: &[f64]) -> Vec<f64> {
    const BEFORE: usize = WAVELET.len().div_ceil(2);
    let taps = WAVELET.iter().rev().enumerate();
    let pixel = |place: usize| {
        // Every second pixel is a zero, which takes no product.
        let of = |(tap, weight): (usize, &f64)| {
            let from = (place + tap).checked_sub(BEFORE).filter(|from| from % 2 == 0)?;
            Some(weight * line.get(from / 2)?)
        };
        taps.clone().filter_map(of).sum()
    };
    (0..2 * line.len()).map(pixel).collect()
}

/// A line of half as many pixels, without those around the image.
fn halved(line: &[f64]) -> Vec<f64> {
    const BEFORE: usize = (WAVELET.len() - 1) / 2;
    let pixel = |place: usize| {
        let of = |(tap, weight): (usize, &f64)| {
            Some(weight * line.get((2 * place + tap).checked_sub(BEFORE)?)?)
        };
        WAVELET.iter().enumerate().filter_map(of).sum()
    };
    (AROUND..line.len() / 2 - AROUND).map(pixel).collect()
}
