//! Low-rank adapters (LoRA): Hu et al. 2021. A file holds two matrices for each layer that it changes,
//! and their product, times a scale, is added to the layer's weight.
mod files;
mod keys;
mod write;

use super::{Layout, TensorFile, open};
use crate::{
    error::WeightsError,
    nn::{Parameter, ParameterSpec},
    value::{Shape, TensorType},
};
pub use files::{LoraFile, Loras};
pub use keys::Adapted;
use keys::{Keys, Kind, Metadata};
use std::{collections::BTreeMap, path::Path};
pub(crate) use write::adapter_bytes;

/// The change of a layer: `x` adds `alpha / rank * up(down(x))` to the layer's output.
///
/// Example: [`Lora`].
#[derive(Clone, Debug, PartialEq)]
pub struct LowRank {
    /// `[in, rank]`, or `[height, width, in, rank]` of a convolution.
    pub down: Parameter,
    /// `[rank, out]`, or `[1, 1, rank, out]` of a convolution.
    pub up: Parameter,
    /// The numerator of the factor `alpha / rank`.
    pub alpha: f64,
}

impl LowRank {
    /// Columns of `down`, rows of `up`.
    pub fn rank(&self) -> usize {
        self.down.shape.last()
    }
}

/// The adapters of a file by network and layer.
///
/// ```
/// use ddim::weights::{Adapted, Lora, Precision, write_tensors};
/// # use ddim::{nn::{Initial, ParameterSpec}, value::TensorType};
/// # let (name, of) = ("proj.weight".to_owned(), TensorType::f32(&[2, 3]));
/// # let specs = [ParameterSpec { name, of, initial: Initial::Constant(0.0) }];
/// # let folder = tempfile::tempdir()?;
///
/// // The network has one layer, `proj`, of two inputs and three outputs.
/// let path = folder.path().join("style.safetensors");
/// let down = ("unet.proj.lora_A.weight", &[1, 2][..], &[1.0, 2.0][..]);
/// let up = ("unet.proj.lora_B.weight", &[3, 1][..], &[1.0, 2.0, 3.0][..]);
/// write_tensors(&path, Precision::F32, [down, up])?;
/// let lora = Lora::read(&path, &[(Adapted::Unet, &specs[..])])?;
/// let layers = lora.layers(Adapted::Unet).map(|(layer, change)| (layer, change.rank()));
/// assert!(layers.eq([("proj", 1)]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lora(BTreeMap<(Adapted, String), LowRank>);

/// The tensors of one layer: names and shapes in the file.
#[derive(Default)]
struct Found {
    down: Option<(String, Vec<usize>)>,
    up: Option<(String, Vec<usize>)>,
    alpha: Option<(String, Vec<usize>)>,
}

impl Lora {
    /// Reads a file with the names of kohya's scripts, of diffusers of 2023, or of peft, for networks
    /// with these parameters. Alpha is the layer's own, or the file's, or else the rank.
    ///
    /// # Errors
    /// If the file cannot be read, a tensor belongs to no layer of the networks, a layer lacks one of its
    /// two, or one has not the shape that the layer asks for; the error names the tensor.
    pub fn read(
        path: &Path,
        networks: &[(Adapted, &[ParameterSpec])],
    ) -> Result<Self, WeightsError> {
        Self::of_file(path, &*open(path)?, networks)
    }

    /// As [`Lora::read`], of an open file; `path` is for the errors alone.
    pub(crate) fn of_file(
        path: &Path,
        file: &dyn TensorFile,
        networks: &[(Adapted, &[ParameterSpec])],
    ) -> Result<Self, WeightsError> {
        let keys = Keys::of(networks);
        let metadata = Metadata::of(path, file)?;
        let mut layers: BTreeMap<(Adapted, &str), (Shape, Found)> = BTreeMap::new();
        for (tensor, shape) in file.tensors() {
            let Some((kind, of, layer, weight)) = keys.find(&tensor) else {
                return Err(WeightsError::Unknown { path: path.into(), tensor, found: shape });
            };
            let (_, found) = layers.entry((of, layer)).or_insert((weight, Found::default()));
            let place = match kind {
                Kind::Down => &mut found.down,
                Kind::Up => &mut found.up,
                Kind::Alpha => &mut found.alpha,
            };
            if place.is_some() {
                return Err(WeightsError::Twice { path: path.into(), tensor });
            }
            *place = Some((tensor, shape));
        }
        let mut lora = Self::default();
        for ((of, layer), (weight, found)) in layers {
            let alpha = metadata.alpha(of, layer);
            let low_rank = found.read(path, file, layer, weight, alpha)?;
            lora.0.insert((of, layer.to_owned()), low_rank);
        }
        Ok(lora)
    }

    /// The layers of a network and their changes.
    pub fn layers(&self, of: Adapted) -> impl Iterator<Item = (&str, &LowRank)> {
        let own = self.0.iter().filter(move |((other, _), _)| *other == of);
        own.map(|((_, layer), low_rank)| (&layer[..], low_rank))
    }
}

impl Found {
    /// Reads the two matrices of a layer whose weight has this shape.
    fn read(
        self,
        path: &Path,
        file: &dyn TensorFile,
        layer: &str,
        weight: Shape,
        alpha: Option<f64>,
    ) -> Result<LowRank, WeightsError> {
        let missing = |what: &str| WeightsError::Missing {
            path: path.into(),
            tensor: format!("{layer}: {what}"),
            expected: Layout::of("", &weight).stored_shape(&weight),
        };
        let (up_name, up) = self.up.ok_or_else(|| missing("the matrix up"))?;
        let (down_name, down) = self.down.ok_or_else(|| missing("the matrix down"))?;
        let rank = up.get(1).copied().unwrap_or(0).max(1);
        let of = TensorType::f32(&weight);
        let up_shape = match weight.len() {
            2 => vec![rank, of.shape.last()],
            _ => vec![1, 1, rank, of.shape.last()],
        };
        let up = read(path, file, (up_name, up), Shape::new(&up_shape))?;
        let down = read(path, file, (down_name, down), of.with_last(rank).shape)?;
        let alpha = match self.alpha {
            Some((tensor, shape)) => match file.read(&tensor)?.to_f64()[..] {
                [alpha] if alpha.is_finite() => alpha,
                _ => {
                    let (path, expected) = (path.into(), Vec::new());
                    return Err(WeightsError::Shape { path, tensor, expected, found: shape });
                }
            },
            None => alpha.unwrap_or(rank as f64),
        };
        Ok(LowRank { down, up, alpha })
    }
}

/// A tensor of the file as a parameter of this shape.
fn read(
    path: &Path,
    file: &dyn TensorFile,
    (tensor, found): (String, Vec<usize>),
    shape: Shape,
) -> Result<Parameter, WeightsError> {
    let layout = Layout::of("", &shape);
    if !layout.accepts(&shape, &found) {
        let (path, expected) = (path.into(), layout.stored_shape(&shape));
        return Err(WeightsError::Shape { path, tensor, expected, found });
    }
    let data = layout.read(&shape, &file.read(&tensor)?.into_f32());
    if data.iter().any(|number| !number.is_finite()) {
        return Err(WeightsError::NotFinite { path: path.into(), tensor, tensors: 1 });
    }
    Ok(Parameter { shape, data })
}
