//! Files of x_T, perhaps with the class of each: `ddim encode` writes them, `ddim sample` reads them.
use crate::{cli, failure::Failure, files};
use ddim::{
    pipeline::Pipeline,
    weights::{Stored, read_tensors},
};
use safetensors::{Dtype, SafeTensorError, tensor::TensorView};
use std::path::Path;

/// How the file of `ddim encode` is known.
pub const SIGN: &str = r#""__metadata__":{"software":"ddim"}"#;

/// The tensor of each image's class beside its x_T.
const LABELS: &str = "class_labels";

/// The x_T of a file.
pub struct Latents {
    /// `[count, height, width, channels]`.
    pub x: Vec<f32>,
    pub count: usize,
    pub size: [usize; 2],
    /// The class of each image, unless the file names none or the user another.
    pub labels: Option<Vec<u32>>,
}

impl Latents {
    /// Reads a file for a model.
    pub fn read(
        file: &Path,
        pipeline: &Pipeline,
        arguments: &cli::Sample,
    ) -> Result<Self, Failure> {
        let config = pipeline.unet.config();
        let expected = config.in_channels;
        let (mut x_t, mut classes) = (None, None);
        for stored in read_tensors(file)? {
            match stored.name.as_str() {
                "x_T" => x_t = Some(stored),
                LABELS => classes = Some(stored),
                _ => {}
            }
        }
        let Some(stored) = x_t else {
            return Err(Failure::file(file, "holds no tensor x_T"));
        };
        let shape = match stored.shape[..] {
            [count, channels, height, width] if channels == expected => {
                [count, channels, height, width]
            }
            _ => [0; 4],
        };
        if shape.contains(&0) {
            let found = &stored.shape;
            let text = format!("x_T: expected [N, {expected}, height, width], found {found:?}");
            return Err(Failure::file(file, text));
        }
        let [count, _, height, width] = shape;
        let wanted = arguments.size.map(|size| [size; 2]);
        let wanted = wanted.or(config.sample_size.map(|size| size.sides().into()));
        if let Some([rows, columns]) = wanted.filter(|wanted| *wanted != [height, width]) {
            let text =
                format!("x_T: expected {rows}x{columns} as the model, found {height}x{width}");
            return Err(Failure::file(file, text));
        }
        let labels = match classes {
            Some(classes) if arguments.guided.class.is_none() => {
                Some(check_labels(file, pipeline, &classes, count)?)
            }
            _ => None,
        };
        let x = channels_last(&stored.numbers.into_f32(), shape);
        Ok(Self { x, count, size: [height, width], labels })
    }
}

/// The classes of a file: one of the model's for each image.
fn check_labels(
    file: &Path,
    pipeline: &Pipeline,
    found: &Stored,
    count: usize,
) -> Result<Vec<u32>, Failure> {
    let numbers = found.numbers.to_f64();
    let refuse = |expected: String, found: String| {
        Err(Failure::file(file, format!("{LABELS}: expected {expected}, found {found}")))
    };
    let Some(classes) = pipeline.classes() else {
        return refuse("none, for the model has no classes".into(), format!("{:?}", found.shape));
    };
    if numbers.len() != count {
        return refuse(format!("{count} numbers"), numbers.len().to_string());
    }
    let is_class = |label: f64| label.fract() == 0.0 && (0.0..classes as f64).contains(&label);
    match numbers.iter().find(|label| !is_class(**label)) {
        Some(label) => refuse(format!("classes below {classes}"), label.to_string()),
        None => Ok(numbers.into_iter().map(|label| label as u32).collect()),
    }
}

/// Writes `x_T [count, height, width, channels]`, perhaps the classes, and the sign.
pub fn write(
    path: &Path,
    shape @ [count, height, width, channels]: [usize; 4],
    latents: &[f32],
    labels: Option<&[u32]>,
) -> Result<(), Failure> {
    let failed = |error: SafeTensorError| Failure::file(path, error);
    let bytes =
        |numbers: Vec<f32>| -> Vec<u8> { numbers.into_iter().flat_map(f32::to_le_bytes).collect() };
    let planes = vec![count, channels, height, width];
    let mut tensors = vec![("x_T", planes, bytes(channels_first(latents, shape)))];
    if let Some(labels) = labels {
        let labels = labels.iter().map(|&label| label as f32).collect();
        tensors.push((LABELS, vec![count], bytes(labels)));
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let metadata = [("software".to_owned(), "ddim".to_owned())].into();
    files::write(path, safetensors::serialize(views, Some(metadata)).map_err(failed)?)
}

/// `[count, height, width, channels]` as `[count, channels, height, width]`, PyTorch's order.
pub fn channels_first(dense: &[f32], [count, height, width, channels]: [usize; 4]) -> Vec<f32> {
    let mut planes = Vec::with_capacity(dense.len());
    for image in dense.chunks_exact(height * width * channels).take(count) {
        for channel in 0..channels {
            planes.extend(image.iter().skip(channel).step_by(channels));
        }
    }
    planes
}

/// `[count, channels, height, width]`, of which the extents are told in that order, as
/// `[count, height, width, channels]`: the same with the roles of pixels and channels exchanged.
fn channels_last(planes: &[f32], [count, channels, height, width]: [usize; 4]) -> Vec<f32> {
    channels_first(planes, [count, channels, 1, height * width])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_undoes_the_other() {
        let dense: Vec<f32> = (0..2 * 3 * 5 * 4).map(|x| x as f32).collect();
        let planes = channels_first(&dense, [2, 3, 5, 4]);
        assert_eq!(planes[..4], [0.0, 4.0, 8.0, 12.0]);
        assert_eq!(channels_last(&planes, [2, 4, 3, 5]), dense);
    }
}
