//! The bound of dynamic thresholding: Saharia et al., *Photorealistic Text-to-Image Diffusion
//! Models* (2022), section 2.3.
use crate::{
    ops::{
        prelude::*,
        sampling::row::{check_output, random_row, row_input},
    },
    shaders::{dynamic_threshold as shader, shared::coefficients::Coefficients},
};

/// `bound f32[batch]`: of each image the quantile `ratio` of the magnitudes that its row of a
/// sampling table predicts, between 1 and `limit`. Operands `x f32[batch, .., channels]`, `output`
/// and `row f32[24]`, as [`SamplingStep`](crate::ops::SamplingStep) reads them. The bound of an image
/// with a magnitude that is NaN is NaN.
///
/// ```
/// use ddim::{ops::{DynamicThreshold, Operator, SamplingRow}, reference::Tensor, value::Shape};
///
/// let x = Tensor::new(Shape::new(&[1, 4]), vec![1.0, -2.0, 3.0, -4.0]);
/// let output = Tensor::zeros(x.shape);
/// let mut row = Tensor::zeros(Shape::new(&[SamplingRow::COLUMNS]));
/// row.data[1] = 1.0; // The predicted image is `x`.
/// let median = DynamicThreshold { ratio: 0.5.into(), limit: 10.0.into() };
/// assert_eq!(median.reference(&[&x, &output, &row])[0].data, [2.5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DynamicThreshold {
    /// Share of the magnitudes that lie below the bound, 0 to 1.
    pub ratio: Float,
    /// Largest bound, at least 1.
    pub limit: Float,
}

/// Values of the digits that the kernel counts.
const BINS: usize = 256;

/// `vec4`s up to which one workgroup takes an image: counting fewer takes less time than a launch.
const LEAST_CHUNK: usize = 4096;

/// Workgroups that share an image at most: each reads the counts of all.
const MOST_CHUNKS: usize = 64;

impl DynamicThreshold {
    /// The two neighbouring ranks of `count` magnitudes, and how far between them the quantile is.
    fn ranks(&self, count: usize) -> (usize, usize, f64) {
        let place = self.ratio.get() * (count - 1) as f64;
        let low = place.floor() as usize;
        (low, (low + 1).min(count - 1), place - place.floor())
    }
}

display!("dynamic_threshold", DynamicThreshold { ratio, limit });

impl Operator for DynamicThreshold {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x, output, row] = check.operands()?;
        check_output(check, x, output, row)?;
        let Self { ratio, limit } = self;
        let is_bound = limit.get() >= 1.0;
        if !(0.0..=1.0).contains(&ratio.get()) || !is_bound {
            let expected = "ratio must be 0 to 1, limit at least 1";
            return Err(check.conflict(format!("{expected}, found {ratio}, {limit}")));
        }
        Ok(vec![TensorType::f32(&x.shape[..1])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (x, output) = (inputs[0], inputs[1]);
        let row = Coefficients::read(&inputs[2].data);
        let (channels, width) = (x.shape.last(), output.shape.last());
        let image = x.data.len() / x.shape[0];
        let (low, high, share) = self.ranks(image);
        let bound = x.data.chunks(image).enumerate().map(|(n, x)| {
            let predicted =
                |i: usize| output.data[(n * image + i) / channels * width + i % channels];
            let mut magnitudes: Vec<f64> = (0..image)
                .map(|i| (row.image_x * x[i] + row.image_output * predicted(i)).abs())
                .collect();
            if magnitudes.iter().any(|magnitude| magnitude.is_nan()) {
                return f64::NAN;
            }
            magnitudes.sort_by(f64::total_cmp);
            let (low, high) = (magnitudes[low], magnitudes[high]);
            // Two infinite ones have no difference.
            let quantile = if low == high { low } else { low + share * (high - low) };
            quantile.clamp(1.0, self.limit.get())
        });
        vec![Tensor::new(TensorType::f32(&x.shape[..1]).shape, bound.collect())]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, output, row] = fitted(&equation.inputs);
        let (of, wide) = (lowering.type_of(x), lowering.type_of(output));
        let (batch, vectors) = (of.shape[0], of.vectors() / of.shape[0]);
        let (rank, next_rank, share) = self.ranks(of.shape.elements() / batch);
        let chunk_vectors = vectors.div_ceil(MOST_CHUNKS).max(LEAST_CHUNK);
        let chunks = vectors.div_ceil(chunk_vectors);
        let params = shader::Params {
            batch: batch as u32,
            vectors: vectors as u32,
            channels: of.shape.last() as u32,
            channels4: of.pitch() as u32 / 4,
            output_channels4: wide.pitch() as u32 / 4,
            chunks: chunks as u32,
            chunk_vectors: chunk_vectors as u32,
            rank: rank as u32,
            next_rank: next_rank as u32,
            share: share as f32,
            limit: self.limit.get() as f32,
            ..Default::default()
        };
        let overrides = shader::Overrides { is_wide: wide.shape != of.shape };
        let [y, z, _] = fold(batch);
        let counts_of = TensorType::u32(&[batch, 2 * (2 + chunks * BINS)]);
        let mut counts = None;
        // A small image needs no help.
        let digits: &[u32] = if chunks == 1 { &[] } else { &[24, 16, 8, 0] };
        for &shift in digits {
            let counts_out = lowering.scratch(counts_of);
            let kernel = shader::Count { row, output, x, counts, counts_out };
            let params = shader::Params { shift, ..params };
            lowering.push(kernel.dispatch(params, overrides, [params.chunks, y, z]))?;
            counts = Some(counts_out);
        }
        let kernel = shader::Forward { row, output, x, counts, bound: equation.outputs[0] };
        Ok(lowering.push(kernel.dispatch(params, overrides, fold(batch)))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(3, inputs, &inputs[..1])
    }
}

fn case(ratio: f64, limit: f64, x: TensorType, output: TensorType, row: Input) -> Case {
    let op = DynamicThreshold { ratio: ratio.into(), limit: limit.into() };
    Case::new(op, vec![Input::normal(x), Input::normal(output), row]).terms(4).half(&[1])
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let row = || row_input(Coefficients { image_x: 1.6, image_output: -1.3, ..Default::default() });
    let mut all = Vec::new();
    for shape in [&[2, 7, 5, 3][..], &[5, 4, 4, 1], &[1, 16, 16, 4]] {
        let x = TensorType::f32(shape);
        all.push(case(0.9, 4.0, x, x, row()));
        all.push(case(0.995, 2.0, x, x.with_last(2 * x.shape.last()), row()));
        all.push(case(0.1, 9.0, x, x, row()));
    }
    // More than one workgroup could walk.
    let large = TensorType::f32(&[1, 600, 600, 3]);
    let many = TensorType::f32(&[MANY_IMAGES, 1]);
    for (of, note) in [(large, "a large image"), (many, "many images")] {
        all.push(case(0.995, 4.0, of, of, row()).half(&[]).name(note));
    }
    all
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let (x, ratio, limit) = (dice.image(), dice.float(0.0, 1.0), dice.float(1.0, 5.0));
    let output = if dice.flip() { x.with_last(2 * x.shape.last()) } else { x };
    case(ratio, limit, x, output, random_row(dice))
}
