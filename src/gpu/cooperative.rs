//! Whether a device computes right by the matrices that its driver lists. Between workgroup memory and such
//! matrices naga states no order of memory (wgpu's issue 8805), so no kernel uses them unseen.
use super::{Executor, Gpu, roofline};
use crate::{
    error::{Error, GpuError},
    plan::{CooperativeMatrices, fold},
    shaders::conv2d_cooperative::{Forward, Overrides, Params},
    value::{GraphId, TensorType, Value},
};
use std::fmt;

/// A convolution with a bias, of images in a frame of zeros that keeps their size.
#[derive(Clone, Copy)]
struct Trial {
    /// Images, their rows, pixels in a row, channels.
    x: [usize; 4],
    /// Rows of taps, and taps in a row.
    kernel: usize,
    outputs: usize,
}

/// A product of matrices and a convolution whose last tiles are cut off on each side, in several steps.
const TRIALS: [Trial; 2] = [
    Trial { x: [1, 1, 150, 72], kernel: 1, outputs: 84 },
    Trial { x: [2, 9, 11, 40], kernel: 3, outputs: 68 },
];

/// The largest number of an operand. f16 has all whole numbers up to it, and products of them, but not their sums; f32 has
/// these too. So results can be checked to the last bit, in whatever order a device adds.
const LARGEST: u32 = 31;

impl Gpu {
    /// The same device, whose plans may use these matrices if it computes right by them.
    ///
    /// # Errors
    /// If the device is lost.
    pub(super) async fn try_matrices(
        self,
        offered: Result<CooperativeMatrices, String>,
    ) -> Result<Self, GpuError> {
        let matrices = match offered {
            Ok(matrices) => matrices,
            Err(why) => return Ok(self.without_matrices(why)),
        };
        let Some(workgroup) = matrices.workgroup() else {
            return Ok(self.without_matrices(format!("no workgroup holds those of {matrices}")));
        };
        let gpu = self.with_matrices(matrices);
        for trial in TRIALS {
            let why = match trial.check(&gpu, matrices, workgroup).await {
                Ok(None) => continue,
                Ok(Some(wrong)) => wrong,
                Err(Error::Gpu(lost @ GpuError::Lost { .. })) => return Err(lost),
                Err(error) => error.to_string(),
            };
            return Ok(self.without_matrices(format!("by those of {matrices}, {trial}: {why}")));
        }
        Ok(gpu)
    }
}

impl Trial {
    fn types(&self) -> [TensorType; 4] {
        let Self { x: [batch, height, width, inputs], kernel, outputs } = *self;
        [
            TensorType::f32(&self.x),
            TensorType::f32(&[kernel, kernel, inputs, outputs]),
            TensorType::f32(&[outputs]),
            TensorType::f32(&[batch, height, width, outputs]),
        ]
    }

    /// Runs it; what is wrong, if something is.
    async fn check(
        &self,
        gpu: &Gpu,
        CooperativeMatrices { edge, .. }: CooperativeMatrices,
        [side, lanes]: [u32; 2],
    ) -> Result<Option<String>, Error> {
        let types = self.types();
        let [x, weight, bias, y] = [0, 1, 2, 3].map(|index| Value::new(GraphId::MEASURE, index));
        let kernel = Forward { x, weight, bias: Some(bias), embedding: None, residual: None, y };
        let params = self.params(side);
        let pixels = self.x[..3].iter().product::<usize>();
        let [down, deep, _] = fold(pixels.div_ceil(side as usize));
        let overrides = Overrides { edge, side, lanes };
        let launch = kernel.dispatch(params, overrides, [params.column_groups, down, deep]);
        let plan = roofline::plan(gpu, vec![launch], types.to_vec());
        let mut executor = Executor::new_async(gpu, plan).await?;
        let operands = [0, 1, 2].map(|index| numbers(index, types[index as usize]));
        for (value, numbers) in [x, weight, bias].into_iter().zip(&operands) {
            executor.write_async(value, numbers).await?;
        }
        executor.run_async(1, |_| ()).await?;
        let (found, wanted) = (executor.read_async(y).await?, self.wanted(&operands));
        let mut elements = found.iter().zip(&wanted).enumerate();
        let wrong = elements.find(|(_, (found, wanted))| found != wanted);
        Ok(wrong.map(|(at, (found, wanted))| format!("element {at} is {found}, not {wanted}")))
    }

    fn params(&self, side: u32) -> Params {
        let [batch, height, width, in_channels] = self.x.map(|extent| extent as u32);
        let (kernel, outputs) = (self.kernel as u32, self.outputs as u32);
        Params {
            batch,
            in_height: height,
            in_width: width,
            in_channels,
            out_height: height,
            out_width: width,
            out_channels4: outputs.div_ceil(4),
            out_channels: outputs,
            kernel_height: kernel,
            kernel_width: kernel,
            stride: 1,
            spread: 1,
            top: kernel / 2,
            left: kernel / 2,
            lattice_width: width,
            column_groups: outputs.div_ceil(side),
            ..Params::default()
        }
    }

    /// The convolution of `x` by `weight`, plus `bias`.
    fn wanted(&self, [x, weight, bias]: &[Vec<f32>; 3]) -> Vec<f32> {
        let Self { x: [batch, height, width, inputs], kernel, outputs } = *self;
        let mut y = bias.repeat(batch * height * width);
        for (pixel, sums) in y.chunks_exact_mut(outputs).enumerate() {
            let (row, column) = (pixel / width, pixel % width);
            for (tap, weight) in weight.chunks_exact(inputs * outputs).enumerate() {
                // Of the frame.
                let [down, right] = [row % height + tap / kernel, column + tap % kernel]
                    .map(|at| at.wrapping_sub(kernel / 2));
                if down >= height || right >= width {
                    continue;
                }
                let source = (row / height * height + down) * width + right;
                let channels = &x[source * inputs..][..inputs];
                for (x, weights) in channels.iter().zip(weight.chunks_exact(outputs)) {
                    sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += x * weight);
                }
            }
        }
        y
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, weight, ..] = self.types();
        write!(f, "{x} by {weight}")
    }
}

/// Whole numbers in no order, of either sign: a linear congruential generator's upper bits (Numerical Recipes).
fn numbers(seed: u32, of: TensorType) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 16) % (2 * LARGEST + 1)) as f32 - LARGEST as f32
    };
    std::iter::repeat_with(next).take(of.shape.elements()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pixel in the middle, one in a corner, and a sum that f16 has not.
    #[test]
    fn what_is_wanted_is_the_convolution() {
        let trial = Trial { x: [1, 3, 3, 1], kernel: 3, outputs: 2 };
        let x: Vec<f32> = (1..=9).map(|n| n as f32).collect();
        let weight: Vec<f32> = (0..9).flat_map(|tap| [1.0, 10.0 * tap as f32]).collect();
        let y = trial.wanted(&[x, weight, vec![0.0, 2000.0]]);
        assert_eq!(y[8..10], [45.0, 2000.0 + 10.0 * 240.0]);
        // Taps 4, 5, 7, 8 meet pixels 1, 2, 4, 5.
        assert_eq!(y[..2], [12.0, 2000.0 + 10.0 * (4.0 + 10.0 + 28.0 + 40.0)]);
        let operands = TRIALS[1].types().map(|of| numbers(7, of));
        let [x, weight, bias, _] = operands;
        let largest = TRIALS[1].wanted(&[x, weight, bias]).into_iter().fold(0.0, f32::max);
        assert!(largest > 2.0 * 2048.0 && largest < 2_f32.powi(24), "{largest}");
    }
}
