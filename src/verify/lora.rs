//! Cases of adapters: networks with and without them, what they change, their training, and files that must not
//! load.
use super::{
    Outcome,
    case_files::{Case, Results},
    case_graph::{Axes, CaseGraph},
    lora_files::refused,
    models::{Drawn, Start, trained_from},
    networks::{add_weights, inputs, text_model, vectors},
    refusal::Refusal,
    text_encoder::texts,
};
use crate::{
    diffusion::schedule::SchedulerConfig,
    error::Error,
    gpu::Gpu,
    models::clip_text::ClipText,
    nn::{
        AdaptedWeights, Adapters, Arenas, FrozenModel, Initial, LORA_DOWN, LORA_UP,
        ParameterSource, ParameterSpec, Weights,
    },
    pipeline::read_text_encoder,
    training::TrainingOptions,
    value::TensorType,
    weights::{Adapted, FileWeights, Lora, LoraFile, Loras},
};
use serde::Deserialize;
use std::sync::Arc;

/// The tensor of the texts as the U-Net attends to them.
const CONTEXT: &str = "encoder_hidden_states";

/// Settings of a case.
#[derive(Deserialize)]
struct Config {
    files: Vec<AdapterFile>,
    text_encoder: String,
    /// SDXL's second one, whose texts are `input_ids_2`.
    text_encoder_2: Option<String>,
    #[serde(default)]
    must_refuse: Vec<Refusal>,
}

/// A file of adapters and how strong they are.
#[derive(Deserialize)]
struct AdapterFile {
    path: String,
    weight: f64,
}

impl AdapterFile {
    fn of(&self, case: &Case) -> LoraFile {
        LoraFile { path: case.file(&self.path), strength: self.weight }
    }
}

/// A text encoder of a case; what belongs to it is named with the suffix.
struct Encoder {
    of: Adapted,
    suffix: &'static str,
    encoder: ClipText,
    weights: Arc<FileWeights>,
    specs: Vec<ParameterSpec>,
}

impl Encoder {
    /// Adds its results without and with adapters.
    fn outputs(
        &self,
        case: &Case,
        case_graph: &mut CaseGraph,
        loras: &Loras,
        limit: u64,
    ) -> Result<(), Error> {
        let Self { of, suffix, encoder, weights, .. } = self;
        let given = texts(case, case_graph, encoder, &format!("input_ids{suffix}"))?;
        let weights = AdaptedWeights { base: weights.clone(), adapters: loras.weights(*of) };
        let changed = encoder.clone().with_adapters(loras.adapters(*of));
        for (name, encoder) in [("_without", encoder), ("", &changed)] {
            let (graph, parameters) = (&mut case_graph.graph, encoder.parameters()?);
            let arenas = Arenas::new(parameters, limit);
            let model = FrozenModel::adapted(graph, arenas, encoder.adapters(), limit, |layers| {
                Ok(encoder.build(layers, &given)?.last_hidden_state)
            })?;
            let name = format!("text{suffix}{name}");
            output(case_graph, (&name, Axes::Same), &model, &weights)?;
        }
        Ok(())
    }
}

/// Kind `lora_apply`.
pub(super) fn apply(gpu: &Gpu, case: &Case) -> Result<Outcome, Error> {
    let config: Config = case.config()?;
    let (unet, weights) = text_model(case, CONTEXT)?;
    let limit = gpu.target().max_binding;
    let one = (Adapted::TextEncoder, "", Some(&config.text_encoder));
    let two = (Adapted::TextEncoder2, "_2", config.text_encoder_2.as_ref());
    let mut encoders = Vec::new();
    for (of, suffix, folder) in [one, two] {
        let Some(folder) = folder else { continue };
        let (encoder, weights) = read_text_encoder(&case.file(folder), limit)?;
        let specs = encoder.parameters()?;
        encoders.push(Encoder { of, suffix, encoder, weights: Arc::new(weights), specs });
    }
    let specs = unet.parameters()?;
    let of_texts = encoders.iter().map(|encoder| (encoder.of, &encoder.specs[..]));
    let networks: Vec<_> = [(Adapted::Unet, &specs[..])].into_iter().chain(of_texts).collect();
    let files: Vec<LoraFile> = config.files.iter().map(|file| file.of(case)).collect();
    let loras = Loras::read(&files, &networks)?;

    let mut case_graph = CaseGraph::new(case);
    let given = inputs(case, &mut case_graph, &unet, vectors(case, &unet)?)?;
    let adapters = loras.weights(Adapted::Unet);
    let weights = AdaptedWeights { base: Arc::new(weights), adapters: adapters.clone() };
    let changed = unet.clone().with_adapters(loras.adapters(Adapted::Unet));
    for (name, unet) in [("y_without", &unet), ("y", &changed)] {
        let model = FrozenModel::new(&mut case_graph.graph, unet, &given, limit)?;
        output(&mut case_graph, (name, Axes::Image), &model, &weights)?;
    }
    for encoder in &encoders {
        encoder.outputs(case, &mut case_graph, &loras, limit)?;
    }
    let mut results = case_graph.run(gpu)?;
    add_changes("", &adapters, &mut results);
    for Encoder { of, suffix, .. } in &encoders {
        add_changes(&format!("text_encoder{suffix}."), &loras.weights(*of), &mut results);
    }
    let outcome = case.compare(&results)?;
    if outcome != Outcome::Passed {
        return Ok(outcome);
    }
    let mut differences = Vec::new();
    for refusal in &config.must_refuse {
        for file in &files {
            differences.push(refused(&file.path, &networks, refusal)?);
        }
    }
    Ok(Outcome::of(differences))
}

/// Makes what a model gives the result of this name, with its weights in place.
fn output(
    case_graph: &mut CaseGraph,
    (name, axes): (&str, Axes),
    model: &FrozenModel,
    weights: &dyn ParameterSource,
) -> Result<(), Error> {
    for (arena, contents) in model.contents(weights)? {
        case_graph.contents(arena, contents);
    }
    case_graph.output(name, model.prediction, axes);
    Ok(())
}

/// Adds to the results what adapters add to the weights of their layers: the product of the two matrices.
fn add_changes(prefix: &str, adapters: &Weights, results: &mut Results) {
    let mut changes = Weights::default();
    for (name, down) in adapters.iter() {
        let Some(layer) = name.strip_suffix(LORA_DOWN) else { continue };
        let Some(up) = adapters.get(&format!("{layer}{LORA_UP}")) else { continue };
        let (rank, outputs) = (down.shape.last(), up.shape.last());
        let product = |row: &[f32], output: usize| {
            let terms = row.iter().zip(up.data[output..].iter().step_by(outputs));
            terms.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
        };
        let rows = down.data.chunks_exact(rank);
        let data = rows.flat_map(|row| (0..outputs).map(move |output| product(row, output)));
        let of = TensorType::f32(&down.shape).with_last(outputs);
        let name = format!("{prefix}{}", layer.trim_end_matches('.'));
        changes.insert(&name, of.shape, data.collect());
    }
    add_weights("delta", &changes, results);
}

/// Kind `lora_train`.
pub(super) fn train(gpu: &Gpu, case: &Case) -> Result<Outcome, Error> {
    let init: String = case.setting("init_file")?;
    let (rank, alpha): (f64, f64) = (case.setting("rank")?, case.setting("alpha")?);
    let (unet, frozen) = text_model(case, CONTEXT)?;
    let lora = Lora::read(&case.file(&init), &[(Adapted::Unet, &unet.parameters()?)])?;
    let (mut specs, mut weights) = (Vec::new(), Weights::default());
    for (layer, low_rank) in lora.layers(Adapted::Unet) {
        for (name, of) in [(LORA_DOWN, &low_rank.down), (LORA_UP, &low_rank.up)] {
            let name = format!("{layer}.{name}");
            weights.insert(&name, of.shape, of.data.clone());
            let (of, initial) = (TensorType::f32(&of.shape), Initial::Constant(0.0));
            specs.push(ParameterSpec { name, of, initial });
        }
    }
    let model = unet.with_adapters(Adapters { specs, scale: alpha / rank });
    // The settings' keys that a scheduler knows are the schedule's; it ignores the others.
    let scheduler = SchedulerConfig::parse(&case.settings().to_string())?;
    case.indices("t", scheduler.num_train_timesteps)?;
    let drawn = Drawn { rows: case.tensor("t")?.numbers.to_f64(), noises: None };
    let start = Start { model, frozen: Some(frozen), weights };
    trained_from(gpu, case, scheduler, TrainingOptions::default(), drawn, start)
}
