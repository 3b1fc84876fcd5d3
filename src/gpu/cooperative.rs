//! Whether a device computes right by the matrices that its driver lists. Between workgroup memory and such
//! matrices naga states no order of memory (wgpu's issue 8805), so no kernel uses them unseen.
use super::{Executor, Gpu};
use crate::{
    error::{CaseError, Error, GpuError, Mismatch},
    ops::{Case, Conv2d, Input, Linear, Operator},
    passes,
    plan::{Candidate, CooperativeMatrices, Family, KernelSelector, Problem, Target},
    value::{ElementType, TensorType},
};

/// Takes these matrices wherever they are offered.
struct Matrices;

impl KernelSelector for Matrices {
    fn select(&self, _: &Target, _: &Problem, candidates: &[Candidate]) -> usize {
        candidates.iter().position(|of| of.family == Family::Cooperative).unwrap_or(0)
    }
}

/// A product and a convolution whose last tiles are cut off on each side, in several steps.
fn cases() -> [Case; 2] {
    let product = vec![exact(&[150, 72]), exact(&[72, 84]), exact(&[84])];
    let images = vec![exact(&[2, 9, 11, 40]), exact(&[3, 3, 40, 68]), exact(&[68])];
    let conv = Conv2d { stride: 1, padding: [1; 4] };
    [Case::new(Linear, product).terms(72 + 1), Case::new(conv, images).terms(9 * 40 + 1)]
}

/// Numbers that f16 has: of these no rounding is left but that of sums in f32.
fn exact(shape: &[usize]) -> Input {
    let half = TensorType::f32(shape).with_element(ElementType::F16);
    Input::values(TensorType::f32(shape), Input::normal(half).tensor(shape.len() as u64).data)
}

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
        let gpu = self.with_matrices(matrices);
        for case in cases() {
            match check(&gpu, &case).await {
                Ok(()) => {}
                Err(CaseError::Error(Error::Gpu(lost @ GpuError::Lost { .. }))) => {
                    return Err(lost);
                }
                Err(error) => {
                    let why = format!("by those of {matrices}, {}: {error}", case.title());
                    return Ok(self.without_matrices(why));
                }
            }
        }
        Ok(gpu)
    }
}

/// Runs a case of one result and compares it with the reference.
async fn check(gpu: &Gpu, case: &Case) -> Result<(), CaseError> {
    let graph = case.graph()?;
    let plan = passes::compile_with(&graph, gpu.target(), &Matrices)?;
    let mut executor = Executor::new_async(gpu, plan).await?;
    let tensors = case.tensors();
    for (&value, tensor) in graph.inputs.iter().zip(&tensors) {
        let numbers: Vec<f32> = tensor.data.iter().map(|&x| x as f32).collect();
        executor.write_async(value, &numbers).await?;
    }
    executor.run_async(1, |_| ()).await?;
    let got = executor.read_async(graph.outputs[0]).await?;
    let want = case.op.reference(&tensors.iter().collect::<Vec<_>>()).swap_remove(0);
    let (of, largest) = (graph.type_of(graph.outputs[0]), want.max_abs());
    for (element, (&got, &want)) in got.iter().zip(&want.data).enumerate() {
        let got = f64::from(got);
        let (error, tolerance) = ((got - want).abs(), case.tolerance(of, want, largest));
        // Written so that NaN fails.
        if error.is_nan() || error > tolerance {
            let output = 0;
            return Err(Mismatch::Element { output, element, got, want, error, tolerance }.into());
        }
    }
    Ok(())
}
