//! Runs the reference cases of a folder.
#[cfg(feature = "tokenizer")]
use super::tokenizer;
use super::{
    Outcome, Summary, autoencoder,
    case_files::{Case, Entry, Index, parse, read_text},
    checkpoints, classifier,
    listed_files::{Files, Listed},
    lora, models, networks, objectives, ops, samplers, schedules, text_encoder, vlb,
};
use crate::{
    error::{CasesError, Error, GpuError},
    gpu::Gpu,
};
use std::{collections::BTreeSet, path::Path};

/// Runs every reference case below `folder` on the device: the cases that its `index.json` lists,
/// of `groups` alone unless that is empty, and the files to open that `GROUP/index.json` lists, as
/// `GROUP/index/NAME`. `on_result` is given each, as `ops/NAME`, when it is done,
/// and how many there are in all.
///
/// A case that is damaged or cannot run has failed, with the error as its text.
///
/// ```no_run
/// use ddim::{gpu::{Gpu, GpuOptions}, verify::reference_cases};
///
/// let (gpu, groups) = (Gpu::new(&GpuOptions::default())?, ["ops".to_owned()]);
/// let summary = reference_cases(&gpu, "cases".as_ref(), &groups, |name, outcome, _| {
///     println!("{}", outcome.line(name));
/// })?;
/// assert_eq!(summary.failed, 0, "{summary}");
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// If the list is missing, damaged, or has no case of a group, or if the device is lost.
pub fn reference_cases(
    gpu: &Gpu,
    folder: &Path,
    groups: &[String],
    mut on_result: impl FnMut(&str, &Outcome, usize),
) -> Result<Summary, Error> {
    let path = folder.join("index.json");
    let Index { mut cases } = parse(&path, &read_text(&path)?)?;
    if let Some(asked) = groups.iter().find(|&group| cases.iter().all(|case| case.group != *group))
    {
        let present: BTreeSet<String> = cases.into_iter().map(|case| case.group).collect();
        let (asked, present) = (asked.clone(), present.into_iter().collect());
        return Err(CasesError::Group { path, asked, present }.into());
    }
    cases.retain(|case| groups.is_empty() || groups.contains(&case.group));
    let listed = listed(folder, &cases)?;
    let total = cases.len() + listed.len();
    let mut summary = Summary::default();
    for Entry { group, name } in cases {
        let outcome = match Case::read(folder, &group, &name).and_then(|case| run(gpu, &case)) {
            Ok(outcome) => outcome,
            Err(error @ Error::Gpu(GpuError::Lost { .. })) => return Err(error),
            Err(error) => Outcome::Failed(error.to_string()),
        };
        on_result(&format!("{group}/{name}"), &outcome, total);
        summary.count(&outcome);
    }
    for (group, file) in listed {
        let outcome = file.run(folder);
        on_result(&format!("{group}/index/{}", file.name), &outcome, total);
        summary.count(&outcome);
    }
    Ok(summary)
}

/// The files to open of each group that has a list of its own, `GROUP/index.json`.
fn listed(folder: &Path, cases: &[Entry]) -> Result<Vec<(String, Listed)>, Error> {
    let groups: BTreeSet<&str> = cases.iter().map(|case| &case.group[..]).collect();
    let mut listed = Vec::new();
    for group in groups {
        let path = folder.join(group).join("index.json");
        if path.exists() {
            let Files { files } = parse(&path, &read_text(&path)?)?;
            listed.extend(files.into_iter().map(|file| (group.to_owned(), file)));
        }
    }
    Ok(listed)
}

fn run(gpu: &Gpu, case: &Case) -> Result<Outcome, Error> {
    let results = match case.kind() {
        "conv2d" | "linear" | "group_norm" | "layer_norm" | "silu" | "gelu" | "geglu"
        | "attention" | "upsample_nearest2" | "avgpool2" => ops::differentiated(gpu, case),
        "timestep_embedding" => ops::timestep_embedding(gpu, case),
        "mse" => ops::mean_squared_error(gpu, case),
        "optimizer" => ops::optimizer(gpu, case),
        "attn_block" => models::attention_block(gpu, case),
        "resnet_block" => models::resnet_block(gpu, case),
        "unet" => networks::unet(gpu, case),
        "unet_condition" => networks::unet_condition(gpu, case),
        "autoencoder_kl" => autoencoder::run(gpu, case),
        "train" => return models::train(gpu, case),
        "edm" | "flow_matching" | "min_snr" | "denoising_score_matching" => {
            return objectives::run(gpu, case);
        }
        "schedule" => schedules::schedule(case),
        "timesteps" => schedules::timesteps(case),
        "vlb" => vlb::run(gpu, case),
        "classifier" => classifier::run(gpu, case),
        "ddim" | "ddpm" | "ddim_paper" => samplers::run(gpu, case),
        "diffusers_scheduler" => samplers::scheduler(gpu, case),
        "ddim_inversion" => samplers::inversion(gpu, case),
        "ddim_inverse_scheduler" => samplers::inverse_scheduler(gpu, case),
        "probability_flow" => samplers::probability_flow(gpu, case),
        "vpsde" => samplers::vpsde(gpu, case),
        "annealed_langevin" => samplers::annealed_langevin(gpu, case),
        "ldm_sampling" => samplers::latent_sampling(gpu, case),
        "img2img" | "inpaint_legacy" => samplers::from_picture(gpu, case),
        "vae_tiled" => samplers::tiled_autoencoder(gpu, case),
        "vae_bands" => samplers::autoencoder_in_bands(gpu, case),
        "checkpoint" => return checkpoints::run(gpu, case),
        #[cfg(feature = "tokenizer")]
        "tokenizer" => return tokenizer::run(case),
        #[cfg(feature = "tokenizer")]
        "prompt" => samplers::prompt(gpu, case),
        #[cfg(not(feature = "tokenizer"))]
        "tokenizer" | "prompt" => {
            return Ok(Outcome::Skipped("built without the feature tokenizer".into()));
        }
        "lora_apply" => return lora::apply(gpu, case),
        "lora_train" => return lora::train(gpu, case),
        "text_encoder" => return text_encoder::run(gpu, case),
        "slerp" => samplers::interpolation(case),
        "classifier_free_guidance" => samplers::guidance(gpu, case),
        "classifier_guidance" => samplers::classifier_guidance(gpu, case),
        kind => return Ok(Outcome::Skipped(format!("kind {kind}"))),
    };
    case.compare(&results?)
}
