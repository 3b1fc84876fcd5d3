//! What can be wrong with a folder of cases, and how a case can fail.
use super::{Error, FileError};
use std::path::PathBuf;

/// What is wrong with a folder of reference cases.
///
/// ```
/// use ddim::{error::CasesError, verify::parse_index};
///
/// let text = r#"{"cases": [{"group": "ops", "name": "silu"}]}"#;
/// let cases = parse_index("index.json".as_ref(), text)?;
/// assert_eq!(cases, [("ops".to_owned(), "silu".to_owned())]);
/// let refused = parse_index("index.json".as_ref(), "{}");
/// assert!(matches!(refused, Err(CasesError::Format { .. })));
/// # Ok::<(), CasesError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CasesError {
    /// A file could not be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// A file that is not what the format asks for.
    #[error("{}: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A group without cases.
    #[error("{} lists no group {asked}, only {}", path.display(), present.join(", "))]
    Group {
        /// The list of cases.
        path: PathBuf,
        /// The group asked for.
        asked: String,
        /// Those there are.
        present: Vec<String>,
    },
}

/// What the device computed where it should have computed something else.
///
/// Example: [`CaseError`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Mismatch {
    /// An element is off.
    #[error(
        "output {output}[{element}]: {got:e} for {want:e}, error {error:.1e} > {tolerance:.1e}"
    )]
    Element {
        /// Which output.
        output: usize,
        /// Row-major position.
        element: usize,
        /// The device's number.
        got: f64,
        /// The reference's number.
        want: f64,
        /// Their distance.
        error: f64,
        /// The largest allowed.
        tolerance: f64,
    },
    /// An element is of another class than the case promises, where one number of an operand is not
    /// finite.
    #[error(
        "{number} at operand {operand}[{place}]: output {output}[{element}] is {got}, where the \
         reference is {want}"
    )]
    Class {
        /// The number.
        number: f64,
        /// Which operand.
        operand: usize,
        /// Its row-major position there.
        place: usize,
        /// Which output.
        output: usize,
        /// Row-major position.
        element: usize,
        /// The class of the device's number.
        got: NumberClass,
        /// The class of the reference's.
        want: NumberClass,
    },
    /// A kernel left something else than zero in a pad lane.
    #[error("output {output}: pad lane of row {row} is not zero")]
    Pad {
        /// Which output.
        output: usize,
        /// Which row.
        row: usize,
    },
    /// A kernel wrote past the end of its output.
    #[error("output {output}: bytes after its end were overwritten")]
    Sentinel {
        /// Which output.
        output: usize,
    },
}

/// Why a case did not pass.
///
/// ```no_run
/// use ddim::{error::{CaseError, Mismatch, NumberClass}, gpu::{Gpu, GpuOptions}, verify};
/// # use ddim::{ops::{Case, Input, Silu}, plan::DefaultHeuristic, value::TensorType};
///
/// let gpu = Gpu::new(&GpuOptions::default())?;
/// let case = Case::new(Silu, vec![Input::normal(TensorType::f32(&[5, 13]))]);
/// match verify::check_special(&gpu, &case, &DefaultHeuristic) {
///     Err(CaseError::Mismatch(Mismatch::Class { number, got: NumberClass::Finite, .. })) => {
///         println!("{number} is lost");
///     }
///     other => other?,
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The results differ.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// It did not run.
    #[error(transparent)]
    Error(#[from] Error),
}

/// Whether a number is finite.
///
/// Example: [`CaseError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberClass {
    /// It is.
    #[error("finite")]
    Finite,
    /// Positive and infinite.
    #[error("infinite")]
    Infinite,
    /// Negative and infinite.
    #[error("negative and infinite")]
    NegativeInfinite,
    /// NaN.
    #[error("NaN")]
    NotANumber,
}

impl NumberClass {
    /// Of a number as an f32.
    pub(crate) fn of(number: f64) -> Self {
        match number as f32 {
            x if x.is_nan() => Self::NotANumber,
            f32::INFINITY => Self::Infinite,
            f32::NEG_INFINITY => Self::NegativeInfinite,
            _ => Self::Finite,
        }
    }
}
