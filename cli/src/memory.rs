//! Work that does not fit the device: which batch would.
use crate::failure::Failure;
use ddim::{
    Error,
    error::{GpuError, LoweringError},
};
use std::iter;

/// The error of work on `batch` images of a size, with the batch that fits, if a smaller one helps.
pub fn advise(
    error: Error,
    batch: usize,
    [height, width]: [usize; 2],
    fits: impl Fn(usize) -> bool,
) -> Failure {
    let halves = iter::successors(Some(batch / 2), |batch| Some(batch / 2));
    let help = match error {
        Error::Lowering(LoweringError::Binding { .. } | LoweringError::Grid { .. }) => {
            match halves.take_while(|batch| *batch > 0).find(|batch| fits(*batch)) {
                Some(batch) => format!("--batch {batch} fits"),
                None => "no batch fits: smaller images or a smaller model would".into(),
            }
        }
        Error::Gpu(GpuError::OutOfMemory { .. }) if batch > 1 => {
            format!("--batch {} takes about half of the memory", batch / 2)
        }
        _ => return error.into(),
    };
    Failure::Usage(format!("batch {batch} of {height}x{width}: {error}: {help}"))
}
