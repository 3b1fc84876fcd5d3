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
    let smaller = || {
        let halves = iter::successors(Some(batch / 2), |batch| Some(batch / 2));
        halves.take_while(|batch| *batch > 0).find(|batch| fits(*batch))
    };
    let help = match error {
        Error::Lowering(_) | Error::Shape(_) => match (smaller(), &error) {
            (Some(batch), _) => format!("--batch {batch} fits"),
            (None, Error::Lowering(LoweringError::Binding { .. })) => {
                "no batch fits: smaller images or a smaller model would".into()
            }
            _ => return error.into(),
        },
        Error::Gpu(GpuError::OutOfMemory { .. }) if batch > 1 => {
            format!("--batch {} takes about half of the memory", batch / 2)
        }
        _ => return error.into(),
    };
    Failure::Usage(format!("batch {batch} of {height}x{width}: {error}: {help}"))
}
