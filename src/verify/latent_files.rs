//! Cases of Stable Diffusion's files: they open, their configuration is told, and both networks compute what they
//! did.
use super::{
    Outcome,
    case_files::{Case, Results},
    case_graph::{Axes, CaseGraph},
    networks,
    refusal::Checkpoint,
};
use crate::{
    error::{Error, WeightsError},
    gpu::Gpu,
    latent::Codec,
    nn::FrozenModel,
    pipeline::{Dialect, LatentPipeline, StableDiffusion},
    value::Shape,
    weights::{self, NonFinite, Numbers, TensorFile},
};
use std::{ops::Range, path::Path};

/// Whether the file of a whole Stable Diffusion opens, its configuration is told, and its networks run.
pub(super) fn run(gpu: &Gpu, case: &Case, config: &Checkpoint) -> Result<Outcome, Error> {
    let path = &case.model()?;
    let told = told(path, config)?;
    if told != Outcome::Passed {
        return Ok(told);
    }
    case.compare(&computed(gpu, case, path, config)?)
}

/// One pass through the U-Net, the encoder and the decoder.
fn computed(gpu: &Gpu, case: &Case, path: &Path, config: &Checkpoint) -> Result<Results, Error> {
    let opened = LatentPipeline::of_file(path, config.ldm.as_ref(), NonFinite::Refuse)?;
    let &[_, tokens, _] = &case.tensor("encoder_hidden_states")?.shape[..] else {
        return Err(case.refuse("encoder_hidden_states must have three axes"));
    };
    let unet = opened.unet.with_tokens(tokens);
    let mut case_graph = CaseGraph::new(case);
    let inputs = networks::inputs(case, &mut case_graph, &unet, None)?;
    let limit = gpu.target().max_binding;
    let model = FrozenModel::new(&mut case_graph.graph, &unet, &inputs, limit)?;
    for (arena, contents) in model.contents(&*opened.unet_weights)? {
        case_graph.contents(arena, contents);
    }
    case_graph.output("y", model.prediction, Axes::Image);
    let mut results = case_graph.run(gpu)?;

    let codec = Codec { gpu, network: &opened.vae, weights: &*opened.vae_weights, tile: None };
    let (image, pixels) = case.dense("image", Axes::Image)?;
    let (latent, numbers) = case.dense("latent", Axes::Image)?;
    let size = |shape: &Shape| [shape[0], shape[1], shape[2]];
    let posterior = codec.encode(&pixels, size(&image))?;
    let decoded = codec.decode(&numbers, size(&latent))?;
    for (name, shape, data) in [
        ("mean", &latent, &posterior.mean),
        ("logvar", &latent, &posterior.logvar),
        ("decoded", &image, &decoded),
    ] {
        let stored = Axes::Image.write(shape, data).into_iter().map(f64::from);
        results.insert(name.to_owned(), stored.collect());
    }
    Ok(results)
}

/// Whether the file's configuration is told, and its damaged copies are refused.
fn told(path: &Path, config: &Checkpoint) -> Result<Outcome, Error> {
    let file = weights::open(path)?;
    let (dialect, place) = Dialect::of_file(path, &*file)?;
    if dialect != Dialect::StableDiffusion {
        return Ok(Outcome::Failed(format!("found {dialect}")));
    }
    let found = StableDiffusion::of(&*file, place, config.ldm.as_ref())?;
    found.check(path, &*file, place)?;
    // The same from the shapes alone, but for what no shape tells.
    let told = StableDiffusion::of(&*file, place, None)?;
    told.check(path, &*file, place)?;
    let same = told.unet == found.unet && told.vae == found.vae;
    let mut wrong = vec![(!same).then(|| "the shapes tell another model".to_owned())];
    let parts = [
        (&config.unet, Some(found.unet_json())),
        (&config.vae, config.vae.as_ref().and(found.vae_json())),
    ];
    for (wanted, told) in parts {
        for (key, wanted) in wanted.iter().flatten() {
            let Some(told) = &told else {
                wrong.push(Some("no autoencoder is told".into()));
                continue;
            };
            // Of what follows from neither file nor yml nothing is told.
            let Some(told) = told.get(key) else { continue };
            wrong.push((told != wanted).then(|| format!("{key}: {told}, expected {wanted}")));
        }
    }
    for refusal in &config.must_refuse {
        wrong.push(match refusal.change.as_str() {
            Some("block_out_channels doubled") => {
                let mut changed = found.clone();
                changed.unet.widths.iter_mut().for_each(|width| *width *= 2);
                refusal.difference(changed.check(path, &*file, place).map_err(Error::from))
            }
            Some(change)
                if change.starts_with("a tensor of ") && change.ends_with(" is removed") =>
            {
                let part = &change["a tensor of ".len()..change.len() - " is removed".len()];
                without_each(path, &*file, &format!("{place}{part}."))?
            }
            _ => Some(format!("unknown change {}", refusal.change)),
        });
    }
    Ok(Outcome::of(wrong))
}

/// A file without one of its tensors.
pub(super) struct Without<'a> {
    pub file: &'a dyn TensorFile,
    pub tensor: &'a str,
}

impl TensorFile for Without<'_> {
    fn format(&self) -> String {
        self.file.format()
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        self.file.tensors().into_iter().filter(|(name, _)| name != self.tensor).collect()
    }

    fn read_rows(&self, name: &str, rows: Option<Range<usize>>) -> Result<Numbers, WeightsError> {
        self.file.read_rows(name, rows)
    }
}

/// Removes each tensor below `part` in turn: the error has to name it.
fn without_each(path: &Path, file: &dyn TensorFile, part: &str) -> Result<Option<String>, Error> {
    for (name, _) in file.tensors() {
        let Some(inside) = name.strip_prefix(part) else { continue };
        let rest = Without { file, tensor: &name };
        let opened = Dialect::of_file(path, &rest).map_err(Error::from).and_then(|(_, place)| {
            Ok(StableDiffusion::of(&rest, place, None)?.check(path, &rest, place)?)
        });
        match opened {
            Ok(()) => return Ok(Some(format!("without {name} it loads"))),
            Err(error) if !error.to_string().contains(inside) => {
                return Ok(Some(format!("without {name}: {:?}", error.to_string())));
            }
            Err(_) => {}
        }
    }
    Ok(None)
}
