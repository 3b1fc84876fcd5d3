//! Parameters: names, types and first values.
use crate::{
    ops::{Input, TablePart},
    value::TensorType,
};

/// Initial values of a parameter.
///
/// Example: [`ParameterSpec`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// Uniform in `[-bound, bound)`; PyTorch's default for convolutions and linears, with
    /// `bound = 1 / sqrt(fan in)` (He et al. 2015, with a = sqrt 5).
    Uniform(f64),
    /// Normal with this deviation; 1 of tables.
    Normal(f64),
    /// One number: 1 and 0 for the weight and bias of a norm.
    Constant(f64),
}

/// A parameter that a model asks for.
///
/// ```
/// use ddim::{nn::{Initial, ParameterSpec}, value::TensorType};
///
/// let (of, initial) = (TensorType::f32(&[64, 10]), Initial::Uniform(0.125));
/// let spec = ParameterSpec { name: "last.weight".into(), of, initial };
/// let first = spec.initialise(7);
/// assert_eq!(first.len(), 64 * 10);
/// assert!(first.iter().all(|x| x.abs() <= 0.125));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSpec {
    /// diffusers' name, like `down_blocks.0.resnets.0.conv1.weight`.
    pub name: String,
    /// Type in this crate's layout.
    pub of: TensorType,
    /// Its initial values.
    pub initial: Initial,
}

impl ParameterSpec {
    /// The name of so many rows of the table `name`.
    pub(crate) fn part_name(name: &str, part: TablePart, own: usize) -> String {
        let TablePart { first, rows } = part;
        format!("{name}[{first}..{} of {rows}]", first + own)
    }

    /// The name of the table of which the parameter of this name is a part, and which part: tables are
    /// cut where they are more than a device binds.
    pub fn part(name: &str) -> Option<(&str, TablePart)> {
        let (table, rest) = name.strip_suffix(']')?.split_once('[')?;
        let (range, rows) = rest.split_once(" of ")?;
        let first = range.split_once("..")?.0.parse().ok()?;
        Some((table, TablePart { first, rows: rows.parse().ok()? }))
    }

    /// First contents, dense; the same for the same `seed`.
    pub fn initialise(&self, seed: u64) -> Vec<f32> {
        let input = match self.initial {
            Initial::Uniform(bound) => Input::uniform(self.of, -bound, bound),
            Initial::Normal(deviation) => Input::shifted(self.of, 0.0, deviation),
            Initial::Constant(number) => return vec![number as f32; self.of.shape.elements()],
        };
        // The name keys the stream (FNV-1a), so adding a layer changes no other's start.
        let key = self.name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        input
            .tensor(key ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .data
            .iter()
            .map(|&x| x as f32)
            .collect()
    }
}
