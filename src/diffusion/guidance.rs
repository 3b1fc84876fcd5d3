//! Guidance: without a classifier, Ho and Salimans 2022; by one, Dhariwal and Nichol 2021.
use crate::{
    error::Error,
    graph::Graph,
    nn::{Condition, FrozenModel, Model, ModelInputs, ParameterSource},
    ops::{Constant, Guide, SamplingRow, SoftmaxCrossEntropy},
    passes,
    plan::Target,
    value::{TensorType, Value},
};

/// Classifier-free guidance: each image is predicted twice in one batch, without and with its
/// label.
///
/// ```
/// use ddim::diffusion::Guidance;
///
/// // Of 10 classes, label 10 stands for none.
/// let guidance = Guidance::of_scale(3.0, 10);
/// assert_eq!(guidance, Guidance::ho_salimans(2.0, 10));
/// let softer = Guidance { rescale: 0.7, ..guidance };
/// assert_eq!(softer.scale, 3.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance {
    /// `e = u + scale (c - u)`: 1 follows the label as it was trained.
    pub scale: f64,
    /// Share of the prediction that is brought back to the deviation of `c`: 0 to 1.
    pub rescale: f64,
    /// The label that stands for none.
    pub null_label: u32,
}

impl Guidance {
    /// Imagen's and diffusers' scale: `u + scale (c - u)`.
    pub fn of_scale(scale: f64, null_label: u32) -> Self {
        Self { scale, rescale: 0.0, null_label }
    }

    /// Ho and Salimans' weight, *Classifier-Free Diffusion Guidance* (2022), equation 6:
    /// `(1 + w) c - w u`, which is a scale of `1 + w`.
    pub fn ho_salimans(w: f64, null_label: u32) -> Self {
        Self::of_scale(1.0 + w, null_label)
    }

    /// The guided prediction from those of twice the images, the ones without a label first.
    pub(super) fn apply(
        &self,
        graph: &mut Graph,
        predictions: Value,
        channels: usize,
    ) -> Result<Value, Error> {
        let Self { scale, rescale, .. } = *self;
        graph.push(Guide { scale: scale.into(), rescale: rescale.into(), channels }, &[predictions])
    }
}

/// Classifier guidance: Dhariwal and Nichol, *Diffusion Models Beat GANs on Image Synthesis* (2021),
/// algorithms 1 and 2, of tables that give the gradient a weight.
///
/// ```
/// use ddim::diffusion::{ClassifierGuidance, SamplingGraph, SamplingOptions};
/// # use ddim::models::classifier_unet::{ClassifierConfig, ClassifierUNet};
/// # use ddim::models::unet2d::{UNet, UNetConfig};
/// # use ddim::{diffusion::schedule::SchedulerConfig, nn::Weights};
/// # use ddim::{plan::Target, value::TensorType};
/// # let unet = UNet::new(UNetConfig::parse(r#"{
/// #     "block_out_channels": [32, 64], "norm_num_groups": 8,
/// #     "down_block_types": ["DownBlock2D", "DownBlock2D"],
/// #     "up_block_types": ["UpBlock2D", "UpBlock2D"]
/// # }"#)?)?;
/// # let network = ClassifierUNet::new(ClassifierConfig::parse(r#"{
/// #     "image_size": 32, "num_classes": 10, "classifier_width": 64, "channel_mult": "1,2,2"
/// # }"#)?)?;
///
/// let weights = Weights::initial(&network.parameters()?, 0);
/// let guide = ClassifierGuidance { classifier: &network, weights: &weights, scale: 2.0 };
/// let options = SamplingOptions { classifier: Some(guide), ..SamplingOptions::default() };
/// let table = SchedulerConfig::default().ddpm(100)?;
/// let step = SamplingGraph::new(&Target::default(), &unet, [4, 32, 32], &table, &options)?;
/// let labels = step.classifier.as_ref().map(|guiding| step.graph.type_of(guiding.labels));
/// assert_eq!(labels, Some(TensorType::u32(&[4])));
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct ClassifierGuidance<'a> {
    /// Predicts logits `[batch, classes]` of noisy images at their timesteps.
    pub classifier: &'a dyn Model,
    /// Its weights.
    pub weights: &'a dyn ParameterSource,
    /// `s`: 1 samples from the joint distribution, more prefers what the classifier is sure of.
    pub scale: f64,
}

/// A classifier in the graph of a sampling step.
///
/// Example: [`ClassifierGuidance`].
pub struct GuidingClassifier {
    /// `u32[batch]`: the class that each image is led to.
    pub labels: Value,
    /// `s grad log p(label | x_t)`, of the type of `x_t`.
    pub gradient: Value,
    /// The network.
    pub model: FrozenModel,
}

impl ClassifierGuidance<'_> {
    /// Appends the gradient at the images `x`, at the timestep that the counter finds in the table.
    pub(super) fn gradient(
        &self,
        graph: &mut Graph,
        target: &Target,
        [x, counter, table]: [Value; 3],
    ) -> Result<GuidingClassifier, Error> {
        let batch = graph.type_of(x).shape[0];
        let labels = graph.input(TensorType::u32(&[batch]));
        let timesteps = graph.push_all(SamplingRow { batch }, &[counter, table])?[2];
        let inputs = ModelInputs { x, timesteps, condition: Condition::default() };
        let model = FrozenModel::new(graph, self.classifier, &inputs, target.max_binding)?;
        // The loss is the mean of -log p(label | x_t) over the batch, of which each image has its own term.
        let loss = graph.push(SoftmaxCrossEntropy, &[model.prediction, labels])?;
        let number = -self.scale * batch as f64;
        let of = graph.type_of(loss);
        let seed = graph.push(Constant { of, number: number.into() }, &[])?;
        let gradient = passes::gradient(graph, loss, seed, &[x])?[0];
        let zero = Constant { of: graph.type_of(x), number: 0.0.into() };
        let gradient = gradient.map_or_else(|| graph.push(zero, &[]), Ok)?;
        Ok(GuidingClassifier { labels, gradient, model })
    }
}
