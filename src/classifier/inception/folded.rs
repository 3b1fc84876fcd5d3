//! InceptionV3's weights in a file, each batch norm folded into its convolution.
use crate::{
    error::{Error, WeightsError},
    models::inception::Inception,
    nn::{ParameterSource, ParameterSpec},
    value::Shape,
    weights::{Layout, TensorFile},
};
use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
};

/// Added to a variance of a batch norm.
const EPSILON: f64 = 1e-3;

/// The tensors of a batch norm.
const NORM: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

/// The network's parameters in an open file of torch-fidelity's names, which are pytorch-fid's and torchvision's too.
/// What the file holds besides, such as the layer of classes, is left there.
pub(super) struct Folded<'a> {
    path: PathBuf,
    file: &'a dyn TensorFile,
    specs: Vec<ParameterSpec>,
}

impl fmt::Debug for Folded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} parameters in {}", self.specs.len(), self.path.display())
    }
}

impl<'a> Folded<'a> {
    /// Checks that the file, which errors name by `path`, has what the network needs.
    ///
    /// # Errors
    /// Names the tensor that is missing or has another shape.
    pub fn new(path: &Path, file: &'a dyn TensorFile) -> Result<Self, Error> {
        let specs = Inception.parameters()?;
        let tensors: HashMap<String, Vec<usize>> = file.tensors().into_iter().collect();
        let check = |tensor: String, expected: Vec<usize>| match tensors.get(&tensor) {
            Some(found) if *found == expected => Ok(()),
            Some(found) => {
                let found = found.clone();
                Err(WeightsError::Shape { path: path.into(), tensor, expected, found })
            }
            None => Err(WeightsError::Missing { path: path.into(), tensor, expected }),
        };
        for ParameterSpec { name, of, .. } in &specs {
            match name.strip_suffix(".weight") {
                Some(layer) => {
                    let stored = Layout::Convolution.stored_shape(&of.shape);
                    check(format!("{layer}.conv.weight"), stored)?;
                }
                None => {
                    let layer = layer_of(name);
                    for tensor in NORM {
                        check(format!("{layer}.bn.{tensor}"), of.shape.to_vec())?;
                    }
                }
            }
        }
        Ok(Self { path: path.into(), file, specs })
    }

    /// The numbers of a tensor.
    fn read(&self, tensor: String) -> Result<Vec<f32>, WeightsError> {
        let numbers = self.file.read(&tensor)?.into_f32();
        if numbers.iter().all(|number| number.is_finite()) {
            return Ok(numbers);
        }
        Err(WeightsError::NotFinite { path: self.path.clone(), tensor, tensors: 1 })
    }

    /// What a layer's batch norm multiplies each channel by, and what it adds then.
    fn norm(&self, layer: &str) -> Result<Vec<[f64; 2]>, WeightsError> {
        let [weight, bias, mean, variance] =
            NORM.map(|tensor| self.read(format!("{layer}.bn.{tensor}")));
        let (weight, bias, mean, variance) = (weight?, bias?, mean?, variance?);
        let channel = |channel: usize| {
            let of = |numbers: &[f32]| f64::from(numbers[channel]);
            let factor = of(&weight) / (of(&variance) + EPSILON).sqrt();
            [factor, of(&bias) - of(&mean) * factor]
        };
        Ok((0..weight.len()).map(channel).collect())
    }
}

impl ParameterSource for Folded<'_> {
    fn names(&self) -> Vec<&str> {
        self.specs.iter().map(|spec| spec.name.as_str()).collect()
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        self.specs.iter().find(|spec| spec.name == name).map(|spec| spec.of.shape)
    }

    fn elements(&self, name: &str) -> Result<Cow<'_, [f32]>, Error> {
        let missing = || Error::MissingParameter { name: name.into() };
        let shape = self.shape(name).ok_or_else(missing)?;
        let layer = layer_of(name);
        let norm = self.norm(layer)?;
        if name.ends_with(".bias") {
            return Ok(norm.iter().map(|[_, shift]| *shift as f32).collect());
        }
        let kernel = self.read(format!("{layer}.conv.weight"))?;
        let mut kernel = Layout::Convolution.read(&shape, &kernel);
        for taps in kernel.chunks_exact_mut(shape.last()) {
            for (tap, [factor, _]) in taps.iter_mut().zip(&norm) {
                *tap = (f64::from(*tap) * factor) as f32;
            }
        }
        Ok(kernel.into())
    }
}

/// The layer of a parameter.
fn layer_of(parameter: &str) -> &str {
    parameter.rsplit_once('.').map_or(parameter, |(layer, _)| layer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Numbers;
    use std::ops::Range;

    /// Tensors of one number each, by the end of their names; `changed` is another one.
    struct Constants {
        tensors: Vec<(String, Vec<usize>)>,
        changed: Option<(&'static str, f32)>,
    }

    impl Constants {
        /// All that the network needs.
        fn of_network() -> Self {
            let mut tensors = Vec::new();
            for ParameterSpec { name, of, .. } in Inception.parameters().expect("a network") {
                let layer = layer_of(&name);
                if name.ends_with(".weight") {
                    let stored = Layout::Convolution.stored_shape(&of.shape);
                    tensors.push((format!("{layer}.conv.weight"), stored));
                } else {
                    let norm = NORM.map(|of_norm| format!("{layer}.bn.{of_norm}"));
                    tensors.extend(norm.map(|name| (name, of.shape.to_vec())));
                }
            }
            Self { tensors, changed: None }
        }
    }

    impl TensorFile for Constants {
        fn format(&self) -> String {
            "constants".into()
        }

        fn tensors(&self) -> Vec<(String, Vec<usize>)> {
            self.tensors.clone()
        }

        fn read_rows(&self, name: &str, _: Option<Range<usize>>) -> Result<Numbers, WeightsError> {
            let (_, shape) = self.tensors.iter().find(|(of, _)| of == name).expect("a tensor");
            let usual = [
                ("conv.weight", 0.5),
                ("bn.weight", 6.0),
                ("bn.bias", 1.0),
                ("running_mean", 0.25),
                ("running_var", 4.0 - EPSILON as f32),
            ];
            let number = |(end, number): (&str, f32)| name.ends_with(end).then_some(number);
            let number = self.changed.and_then(number).or(usual.into_iter().find_map(number));
            let count = shape.iter().product();
            Ok(Numbers::F32(vec![number.expect("a tensor of the network"); count]))
        }
    }

    const PATH: &str = "inception.pth";

    #[test]
    fn a_norm_is_a_factor_and_a_shift() {
        let mut file = Constants::of_network();
        file.tensors.push(("fc.bias".into(), vec![1008]));
        let folded = Folded::new(Path::new(PATH), &file).expect("all tensors");
        let near = |name: &str, wanted: f32| {
            let found = folded.elements(name).expect("a parameter");
            assert_eq!(Some(found.len()), folded.shape(name).map(|shape| shape.elements()));
            assert!(found.iter().all(|number| (number - wanted).abs() < 1e-5), "{name}");
        };
        // 6 / sqrt(4) times a half; 1 less that factor times a quarter.
        near("Mixed_6c.branch7x7_2.weight", 1.5);
        near("Mixed_6c.branch7x7_2.bias", 0.25);
        assert!(folded.elements("fc.bias").is_err());
    }

    #[test]
    fn files_of_other_networks_and_bad_numbers_are_refused_by_the_name_of_the_tensor() {
        let refused = |file: &Constants| {
            let folded = Folded::new(Path::new(PATH), file);
            folded.and_then(|of| of.load().map(drop)).expect_err("refused").to_string()
        };
        let first = "Conv2d_1a_3x3.bn.running_var";
        let mut file = Constants::of_network();
        file.changed = Some((first, f32::NAN));
        let said = refused(&file);
        assert!(said.contains(PATH) && said.contains(first) && said.contains("finite"), "{said}");
        let at = file.tensors.iter().position(|(name, _)| name == first).expect("it is there");
        file.tensors[at].1 = vec![2, 16];
        let said = refused(&file);
        assert!(said.contains(&format!("{first}: expected [32], found [2,16]")), "{said}");
        file.tensors.remove(at);
        let said = refused(&file);
        assert!(said.contains(&format!("{first}: expected [32], found no such")), "{said}");
    }
}
