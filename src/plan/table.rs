//! The table of kernel families: which win where.
use super::{DeviceKind, Family, OpClass, Problem, Target};
use Family::{Cooperative, Serial, Subgroup, Tiled, Tree, Wide, Window, Winograd, WinogradNarrow};
use std::fmt;

/// A line of the table: the families in the order in which they win.
///
/// Example: [`TABLE`].
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Where it holds.
    pub on: DeviceKind,
    /// The classes it is for; empty for all.
    pub classes: &'static [OpClass],
    /// Fewest rows.
    pub rows: usize,
    /// Fewest channels.
    pub channels: usize,
    /// Most channels written.
    pub outputs: usize,
    /// The families, fastest first.
    pub families: &'static [Family],
}

impl Rule {
    /// Whether it holds there.
    pub(super) fn applies(&self, target: &Target, problem: &Problem) -> bool {
        self.on == target.profile.kind
            && (self.classes.is_empty() || self.classes.contains(&problem.class))
            && problem.rows >= self.rows
            && problem.channels >= self.channels
            && problem.outputs <= self.outputs
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.on)?;
        for (n, class) in self.classes.iter().enumerate() {
            write!(f, "{} {class}", if n == 0 { ":" } else { "," })?;
        }
        if self.rows > 0 {
            write!(f, ", at least {} rows and {} channels", self.rows, self.channels)?;
        }
        if self.outputs < usize::MAX {
            write!(f, ", at most {} channels written", self.outputs)?;
        }
        let families: Vec<_> = self.families.iter().map(|family| family.name()).collect();
        write!(f, " -> {}", families.join(", "))
    }
}

/// The table; the first rule that applies decides, and of its families the first on offer.
///
/// Of the software drivers: lavapipe, `cargo bench -- families`. There a subgroup's shuffle costs
/// as much as a move and a load as much as twenty, whatever its bytes, on GPUs the reverse; minimal
/// filtering pays for its transforms from 16 tiles of 2x4 pixels and 16 channels on, and from 16
/// narrow tiles and 128 channels on; where at most 16 channels are
/// written, lanes that own windows of the image win (`ddim profile` of `ddim experiments`' model, 32
/// images: 0.9 of the time of a step). In training the rounding of the forward
/// pass goes into the gradients: wide tiles make these miss the tolerance of a reference case
/// (unet_32_64_rgb_b3_16x16), narrow ones do not.
///
/// Of GPUs: none was measured. On one whose rates are known, another family of the line goes before the first if it is
/// faster by the model of the device ([`Candidate::time`](super::Candidate::time)): minimal filtering, where its products
/// are so many that three launches and the bytes of the spread tiles cost less than the multiply-adds that it saves. On
/// one of unknown rates it is not chosen: nothing says which of these costs more there.
///
/// The model does not know cooperative matrices: where the caller allows them, lines decide by reasoning. They have tiles of
/// 64 rows and 64 columns and split no sum: where these are few, `tiled` has smaller tiles and splits; where channels are
/// few, most of a step is zeros.
///
/// ```
/// use ddim::plan::{DeviceKind, Family, TABLE};
///
/// for rule in TABLE {
///     println!("{rule}");
/// }
/// let gpus = TABLE.iter().rfind(|rule| rule.on == DeviceKind::Gpu).expect("a rule for GPUs");
/// assert_eq!(gpus.families[0], Family::Tiled);
/// ```
pub const TABLE: &[Rule] = &[
    Rule {
        classes: &[OpClass::Convolution, OpClass::TrainedConvolution, OpClass::InputGradient],
        rows: 128,
        outputs: 16,
        families: &[Window, Subgroup, Tiled],
        ..SOFTWARE
    },
    Rule {
        classes: &[OpClass::Convolution, OpClass::InputGradient, OpClass::WeightGradient],
        rows: 128,
        channels: 16,
        // Narrow tiles where the filters of wide ones pass the largest binding.
        families: &[Winograd, WinogradNarrow, Subgroup, Tiled],
        ..SOFTWARE
    },
    Rule {
        classes: &[OpClass::Convolution],
        rows: 64,
        channels: 128,
        families: &[WinogradNarrow, Subgroup, Tiled],
        ..SOFTWARE
    },
    Rule {
        classes: &[OpClass::TrainedConvolution],
        rows: 128,
        channels: 16,
        families: &[WinogradNarrow, Subgroup, Tiled],
        ..SOFTWARE
    },
    SOFTWARE,
    Rule {
        on: DeviceKind::Gpu,
        classes: &[OpClass::TrainedConvolution],
        rows: MATRIX_ROWS,
        channels: MATRIX_CHANNELS,
        families: &[Cooperative, Tiled, Subgroup, WinogradNarrow],
        ..SOFTWARE
    },
    Rule {
        on: DeviceKind::Gpu,
        classes: &[OpClass::TrainedConvolution],
        families: &[Tiled, Subgroup, WinogradNarrow, Cooperative],
        ..SOFTWARE
    },
    Rule {
        on: DeviceKind::Gpu,
        classes: &[OpClass::Product, OpClass::Convolution, OpClass::InputGradient],
        rows: MATRIX_ROWS,
        channels: MATRIX_CHANNELS,
        families: &[Cooperative, Tiled, Subgroup, Winograd, WinogradNarrow],
        ..SOFTWARE
    },
    Rule {
        on: DeviceKind::Gpu,
        families: &[Tiled, Tree, Subgroup, Serial, Winograd, WinogradNarrow, Cooperative],
        ..SOFTWARE
    },
];

/// Fewest rows, and channels, of which cooperative matrices go first.
const MATRIX_ROWS: usize = 2048;
const MATRIX_CHANNELS: usize = 32;

/// The last line for software drivers: everything that the lines before it do not name.
const SOFTWARE: Rule = Rule {
    on: DeviceKind::Software,
    classes: &[],
    rows: 0,
    channels: 0,
    outputs: usize::MAX,
    families: &[Wide, Subgroup, Serial, Tiled, Tree, WinogradNarrow, Winograd, Window, Cooperative],
};
