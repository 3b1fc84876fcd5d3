//! Cases of checkpoints: files as their users have them, and files that must not open.
use super::{
    Outcome,
    case_files::{Case, Results},
    case_graph::{Axes, CaseGraph},
    latent_files,
    refusal::{Checkpoint, STABLE_DIFFUSION, load},
};
use crate::{
    error::Error,
    gpu::Gpu,
    models::unet2d::UNet,
    nn::{Condition, FrozenModel, Model, ModelInputs},
    pipeline::Network,
    value::ElementType,
    weights::{FileWeights, NonFinite},
};
use serde_json::Value as Json;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A forward pass with the file, and the changes with which it must not load.
pub(super) fn run(gpu: &Gpu, case: &Case) -> Result<Outcome, Error> {
    let config: Checkpoint = case.config()?;
    let path = case.model()?;
    if config.family == STABLE_DIFFUSION {
        return latent_files::run(gpu, case, &config);
    }
    let settings = config.flags.or(config.config);
    let network = Network::open(&path, settings.as_ref(), None)?;
    let weights = network.weights(NonFinite::Refuse)?;
    let outcome = case.compare(&forward(gpu, case, &network.unet, &weights)?)?;
    if outcome != Outcome::Passed {
        return Ok(outcome);
    }
    let refused = config.must_refuse.iter().map(|refusal| {
        let changed = match &refusal.change {
            Json::Object(_) => with_settings(&path, settings.as_ref(), &refusal.change),
            Json::String(text) => with_files(&path, text),
            other => Err(format!("{}: unknown change {other}", config.family)),
        };
        changed.map_or_else(Some, |loaded| refusal.difference(loaded))
    });
    Ok(Outcome::of(refused))
}

/// What loading with a change came to; the outer error says that the change is not known.
type Changed = Result<Result<(), Error>, String>;

/// Loads with changed settings.
fn with_settings(path: &Path, settings: Option<&Json>, change: &Json) -> Changed {
    let mut settings = match settings {
        Some(settings) => settings.clone(),
        None => {
            let config = path.join("config.json");
            let text = fs::read_to_string(&config).map_err(|error| error.to_string())?;
            serde_json::from_str(&text).map_err(|error| error.to_string())?
        }
    };
    for (key, value) in change.as_object().into_iter().flatten() {
        if !replace(&mut settings, key, value) {
            return Err(format!("no setting {key} to change"));
        }
    }
    Ok(load(path, Some(&settings), None))
}

/// Replaces the value of a key, wherever it is.
fn replace(settings: &mut Json, key: &str, value: &Json) -> bool {
    let Json::Object(map) = settings else { return false };
    if let Some(found) = map.get_mut(key) {
        *found = value.clone();
        return true;
    }
    map.values_mut().any(|inner| replace(inner, key, value))
}

/// Loads with changed files.
fn with_files(path: &Path, change: &str) -> Changed {
    if let Some(variant) =
        change.strip_prefix("variant ").and_then(|rest| rest.strip_suffix(" is asked for"))
    {
        return Ok(load(path, None, Some(variant)));
    }
    let text = |error: std::io::Error| error.to_string();
    let copy = tempfile::tempdir().map_err(text)?;
    let mut names = Vec::new();
    copied(path, copy.path(), &mut names).map_err(text)?;
    names.sort();
    let find = |part: &str| {
        let found = names.iter().rfind(|path| path.to_string_lossy().contains(part));
        found.cloned().ok_or(format!("no file named *{part}*"))
    };
    if change.contains("shard") && change.ends_with(" is deleted") {
        fs::remove_file(find("-of-")?).map_err(text)?;
    } else if let Some(name) = change.strip_prefix("weight_map names ") {
        let index = find(".index.")?;
        let file = fs::read_to_string(&index).map_err(text)?;
        let mut file: Json = serde_json::from_str(&file).map_err(|error| error.to_string())?;
        let map = file["weight_map"].as_object_mut();
        let (_, first) = map.and_then(|map| map.iter_mut().next()).ok_or("an empty weight_map")?;
        *first = name.into();
        fs::write(index, file.to_string()).map_err(text)?;
    } else {
        return Err(format!("unknown change {change}"));
    }
    Ok(load(copy.path(), None, None))
}

/// Copies the files of a folder and notes the copies' paths; not their modes, which may forbid writing.
fn copied(from: &Path, to: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&to)?;
            copied(&entry.path(), &to, paths)?;
        } else {
            fs::write(&to, fs::read(entry.path())?)?;
            paths.push(to);
        }
    }
    Ok(())
}

/// `y` of the model for the case's `x`, `t` and perhaps `class_labels`.
fn forward(gpu: &Gpu, case: &Case, unet: &UNet, weights: &FileWeights) -> Result<Results, Error> {
    let mut case_graph = CaseGraph::new(case);
    let x = case_graph.input("x", Axes::Image)?;
    let timesteps = case_graph.input("t", Axes::Same)?;
    let labels = match unet.label_type(case_graph.graph.type_of(x).shape[0]) {
        Some(of) => {
            if of.element == ElementType::U32 {
                case.indices("class_labels", unet.classes().unwrap_or(usize::MAX))?;
            }
            Some(case_graph.input_as("class_labels", Axes::Same, of.element)?)
        }
        None => None,
    };
    let inputs =
        ModelInputs { x, timesteps, condition: Condition { labels, ..Condition::default() } };
    let limit = gpu.target().max_binding;
    let model = FrozenModel::new(&mut case_graph.graph, unet, &inputs, limit)?;
    for (arena, contents) in model.contents(weights)? {
        case_graph.contents(arena, contents);
    }
    case_graph.output("y", model.prediction, Axes::Image);
    case_graph.run(gpu)
}
