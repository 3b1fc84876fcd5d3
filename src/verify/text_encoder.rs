//! Cases of text encoders: their outputs, a loss and its gradients, and changes with which a file must not
//! load.
use super::{
    Outcome,
    case_files::{Case, Results},
    case_graph::{Axes, CaseGraph},
    latent_files::Without,
    networks::Parameters,
    refusal::Refusal,
};
use crate::{
    error::Error,
    gpu::Gpu,
    models::clip_text::{ClipText, ClipTextConfig, TextInputs, TextOutputs},
    nn::Layers,
    ops::{Add, Constant, MeanSquaredError, Reduction},
    pipeline::{TextPlace, read_text_encoder},
    value::{TensorType, Value},
    weights::{self, FileWeights},
};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use std::path::Path;

/// Settings of a case.
#[derive(Deserialize)]
struct Config {
    architecture: String,
    text_config: Map<String, Json>,
    container: String,
    #[serde(default)]
    must_refuse: Vec<Refusal>,
}

impl Config {
    /// The encoder, of which some settings may be changed.
    fn model(&self, changed: &[(&str, Json)]) -> Result<ClipText, Error> {
        let mut settings = self.text_config.clone();
        settings.insert("architectures".into(), vec![Json::from(&self.architecture[..])].into());
        settings.extend(changed.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        Ok(ClipText::new(ClipTextConfig::parse(&Json::Object(settings).to_string())?)?)
    }

    fn place(&self, case: &Case) -> Result<Option<TextPlace>, Error> {
        Ok(Some(match self.container.as_str() {
            "folder" => return Ok(None),
            "sd1" => TextPlace::Sd1,
            "sd2" => TextPlace::Sd2,
            "sdxl_1" => TextPlace::Sdxl1,
            "sdxl_2" => TextPlace::Sdxl2,
            other => return Err(case.refuse(format!("config: unknown container {other}"))),
        }))
    }
}

pub(super) fn run(gpu: &Gpu, case: &Case) -> Result<Outcome, Error> {
    let config: Config = case.config()?;
    let path = case.model()?;
    let place = config.place(case)?;
    let (model, weights) = match place {
        None => read_text_encoder(&path, gpu.target().max_binding)?,
        Some(place) => {
            let model = config.model(&[])?.within(gpu.target().max_binding);
            let weights = place.weights(&path, weights::open(&path)?.into(), &model)?;
            (model, weights)
        }
    };
    let outcome = case.compare(&results(gpu, case, &model, &weights)?)?;
    if outcome != Outcome::Passed {
        return Ok(outcome);
    }
    let Some(place) = place else { return Ok(outcome) };
    let refused = config.must_refuse.iter().map(|refusal| refused(&config, &path, place, refusal));
    Ok(Outcome::of(refused.collect::<Result<Vec<_>, _>>()?))
}

/// What is wrong with the answer to a change.
fn refused(
    config: &Config,
    path: &Path,
    place: TextPlace,
    refusal: &Refusal,
) -> Result<Option<String>, Error> {
    let file = weights::open(path)?;
    Ok(match refusal.change.as_str() {
        Some("hidden_size halved") => {
            let width = config.text_config["hidden_size"].as_u64().unwrap_or(0) / 2;
            let loaded = config.model(&[("hidden_size", width.into())]);
            let loaded = loaded.and_then(|model| place.check(path, &*file, &model));
            refusal.difference(loaded)
        }
        Some("a tensor that these outputs need is removed") => {
            let model = config.model(&[])?;
            let mut wrong = None;
            for (name, _) in file.tensors() {
                let Some(inside) = name.strip_prefix(place.prefix()) else { continue };
                if place.ignores(inside, model.config()) {
                    continue;
                }
                let rest = Without { file: &*file, tensor: &name };
                let found = match place.check(path, &rest, &model) {
                    Ok(()) => "it loads".to_owned(),
                    Err(error) if error.to_string().contains(inside) => continue,
                    Err(error) => format!("{:?}", error.to_string()),
                };
                wrong = Some(format!("without {name}: {found}"));
            }
            wrong
        }
        _ => Some(format!("unknown change {}", refusal.change)),
    })
}

/// The case's texts as inputs, whose ids go by this name.
pub(super) fn texts(
    case: &Case,
    case_graph: &mut CaseGraph,
    model: &ClipText,
    name: &str,
) -> Result<TextInputs, Error> {
    let ids = case.indices(name, model.config().vocab_size)?;
    let &[batch, tokens] = &case.tensor(name)?.shape[..] else {
        return Err(case.refuse(format!("{name} must have two axes: texts and their tokens")));
    };
    let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
    let mut given = |of, numbers: &[u32]| {
        case_graph.given(of, numbers.iter().map(|&number| number as f32).collect())
    };
    let of = TensorType::u32(&[batch, tokens]);
    Ok(TextInputs {
        ids: given(of, &ids),
        positions: given(of, &ClipText::positions(batch, tokens)),
        pooled_rows: given(TensorType::u32(&[batch]), &model.pooled_rows(&ids, tokens)),
    })
}

fn results(
    gpu: &Gpu,
    case: &Case,
    model: &ClipText,
    weights: &FileWeights,
) -> Result<Results, Error> {
    let mut case_graph = CaseGraph::new(case);
    let inputs = texts(case, &mut case_graph, model, "input_ids")?;
    let parameters = Parameters::new(gpu, &mut case_graph, model.parameters()?, weights)?;
    let layers = &mut Layers::new(&mut case_graph.graph, &parameters.views, None);
    let outputs = model.build(layers, &inputs)?;
    let loss = loss(&mut case_graph, &outputs)?;
    let one = Constant { of: case_graph.graph.type_of(loss), number: 1.0.into() };
    let seed = case_graph.graph.push(one, &[])?;
    let states = &outputs.hidden_states;
    let named = [
        ("last_hidden_state", Some(outputs.last_hidden_state)),
        ("penultimate", Some(states[states.len() - 2])),
        ("penultimate_norm", Some(outputs.penultimate_norm)),
        ("pooled", Some(outputs.pooled)),
        ("text_embeds", outputs.text_embeds),
        ("loss", Some(loss)),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            case_graph.output(name, value, Axes::Same);
        }
    }
    let state = |number| format!("hidden {number}");
    for (number, &value) in states.iter().enumerate() {
        case_graph.output(&state(number), value, Axes::Same);
    }
    let tokens = (outputs.token_embeddings, "gtoken_embeds", Axes::Same);
    parameters.gradients(&mut case_graph, [loss, seed], &[tokens])?;
    let mut results = parameters.results(case_graph.run(gpu)?)?;
    let states = (0..states.len()).flat_map(|number| results.remove(&state(number)));
    let states = states.flatten().collect();
    results.insert("hidden_states".into(), states);
    Ok(results)
}

/// The mean square of what the case has a target for.
fn loss(case_graph: &mut CaseGraph, outputs: &TextOutputs) -> Result<Value, Error> {
    let error = MeanSquaredError { reduction: Reduction::Mean };
    let target = case_graph.input("target", Axes::Same)?;
    let loss = case_graph.graph.push(error, &[outputs.last_hidden_state, target])?;
    let Some(embeds) = outputs.text_embeds else { return Ok(loss) };
    let target = case_graph.input("target_embeds", Axes::Same)?;
    let other = case_graph.graph.push(error, &[embeds, target])?;
    case_graph.graph.push(Add, &[loss, other])
}
