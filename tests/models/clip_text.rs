//! CLIP's text encoder: a table of tokens in parts, files of its weights, where a text ends.
use ddim::{
    graph::Graph,
    models::clip_text::{ClipText, ClipTextConfig, TextInputs},
    nn::{LORA_DOWN, LORA_UP, Layers, ParameterSpec, Views, Weights},
    ops::{Constant, MeanSquaredError, Reduction},
    passes, pipeline,
    reference::{self, Environment, Tensor},
    value::{Shape, TensorType},
    weights::{self, Adapted, Lora, Loras, Precision},
};
use std::{collections::HashMap, fs, path::Path};

const TOKENS: usize = 7;
const IDS: [u32; 2 * TOKENS] = [48, 3, 3, 17, 49, 49, 49, 48, 0, 22, 31, 44, 5, 49];

fn config() -> ClipTextConfig {
    ClipTextConfig {
        vocab_size: 50,
        hidden_size: 12,
        intermediate_size: 20,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        max_position_embeddings: 9,
        eos_token_id: 49,
        ..ClipTextConfig::default()
    }
}

fn tensor(shape: Shape, data: &[f32]) -> Tensor {
    Tensor::new(shape, data.iter().map(|&x| x.into()).collect())
}

/// The last hidden state, and the gradients of its mean square by parameter.
fn evaluate(model: &ClipText, weights: &Weights) -> (Tensor, HashMap<String, Tensor>) {
    let mut graph = Graph::new();
    let inputs = TextInputs::inputs(&mut graph, 2, TOKENS);
    let rows = model.pooled_rows(&IDS, TOKENS);
    let mut known = Environment::new();
    let numbers = [
        (inputs.ids, IDS.to_vec()),
        (inputs.positions, ClipText::positions(2, TOKENS)),
        (inputs.pooled_rows, rows),
    ];
    for (value, numbers) in numbers {
        let numbers = numbers.into_iter().map(f64::from).collect();
        known.insert(value, Tensor::new(graph.type_of(value).shape, numbers));
    }
    let mut views = Views::default();
    for (name, parameter) in weights.iter() {
        let value = graph.input(TensorType::f32(&parameter.shape));
        views.insert(name, value);
        known.insert(value, tensor(parameter.shape, &parameter.data));
    }
    let outputs = model.build(&mut Layers::new(&mut graph, &views, None), &inputs);
    let y = outputs.expect("the weights are the model's").last_hidden_state;
    let of = graph.type_of(y);
    let zero = graph.push(Constant { of, number: 0.0.into() }, &[]).expect("a constant");
    let error = MeanSquaredError { reduction: Reduction::Mean };
    let loss = graph.push(error, &[y, zero]).expect("two of one type");
    let one = Constant { of: graph.type_of(loss), number: 1.0.into() };
    let seed = graph.push(one, &[]).expect("a constant");
    let names: Vec<&str> = weights.iter().map(|(name, _)| name).collect();
    let wrt: Vec<_> = names.iter().map(|name| views.get(name).expect("inserted above")).collect();
    let gradients = passes::gradient(&mut graph, loss, seed, &wrt).expect("all ops have gradients");
    let mut found = reference::evaluate(&graph, known).expect("all inputs are given");
    let gradients = names
        .iter()
        .zip(gradients)
        .filter_map(|(name, gradient)| Some(((*name).to_owned(), found.get(&gradient?)?.clone())));
    let gradients = gradients.collect();
    (found.remove(&y).expect("computed"), gradients)
}

fn specs(model: &ClipText) -> Vec<ParameterSpec> {
    model.parameters().expect("a checked configuration")
}

/// Writes the folder of an encoder.
fn write(folder: &Path, config: &ClipTextConfig, weights: &Weights) {
    let json = serde_json::to_string(config).expect("plain fields");
    fs::write(folder.join("config.json"), json).expect("a new folder");
    let file = folder.join("model.safetensors");
    weights::write(&file, weights, Precision::F32).expect("a new folder");
}

#[test]
fn a_table_in_parts_computes_what_the_whole_does() {
    let whole = ClipText::new(config()).expect("it fits");
    let weights = Weights::initial(&specs(&whole), 5);
    let folder = tempfile::tempdir().expect("a new folder");
    write(folder.path(), whole.config(), &weights);
    // Rows of 12 numbers: 17 to a part.
    let (cut, parts) = pipeline::read_text_encoder(folder.path(), 17 * 48).expect("its own file");
    let parts = parts.read().expect("its own file");
    let tables = parts.iter().filter_map(|(name, of)| {
        let (table, part) = ParameterSpec::part(name)?;
        assert_eq!(table, "text_model.embeddings.token_embedding.weight");
        assert_eq!(part.rows, 50);
        Some((part.first, of.shape[0]))
    });
    let mut tables: Vec<_> = tables.collect();
    tables.sort_unstable();
    assert_eq!(tables, [(0, 17), (17, 17), (34, 16)]);
    assert_eq!(parts.elements(), weights.elements());

    let (expected, of_whole) = evaluate(&whole, &weights);
    let (found, of_parts) = evaluate(&cut, &parts);
    assert_eq!(found, expected);
    for (name, gradient) in &of_parts {
        let (table, first) = match ParameterSpec::part(name) {
            Some((table, part)) => (table, 12 * part.first),
            None => (&name[..], 0),
        };
        let whole = &of_whole[table].data[first..][..gradient.data.len()];
        assert_eq!(gradient.data, whole, "{name}");
    }
    assert_eq!(of_parts.len(), of_whole.len() + 2);
}

#[test]
fn names_without_their_first_word_are_read_too() {
    let model = ClipText::new(config()).expect("it fits");
    let weights = Weights::initial(&specs(&model), 6);
    let mut short = Weights::default();
    for (name, of) in weights.iter() {
        let name = name.strip_prefix("text_model.").expect("no projection");
        short.insert(name, of.shape, of.data.clone());
    }
    let folder = tempfile::tempdir().expect("a new folder");
    write(folder.path(), model.config(), &short);
    let (_, read) = pipeline::read_text_encoder(folder.path(), u64::MAX).expect("known names");
    assert_eq!(read.read().expect("known names"), weights);
}

#[test]
fn a_text_ends_at_its_first_end() {
    let of = |eos_token_id| {
        let config = ClipTextConfig { eos_token_id, ..config() };
        ClipText::new(config).expect("it fits").pooled_rows(&IDS, TOKENS)
    };
    assert_eq!(of(49), [4, 13]);
    // In old files the largest number counts; an end that is not there is at the first token.
    assert_eq!(of(2), [4, 13]);
    assert_eq!(of(44), [0, 11]);
}

#[test]
fn settings_that_do_not_fit_are_named() {
    let refused = |text: &str, word: &str| {
        let error = ClipTextConfig::parse(text).expect_err(text).to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(r#"{"hidden_size": 10, "num_attention_heads": 3}"#, "num_attention_heads");
    refused(r#"{"hidden_act": "relu"}"#, "hidden_act");
    refused(r#"{"architectures": ["CLIPModel"]}"#, "architectures");
    refused(r#"{"num_hidden_layers": 0}"#, "num_hidden_layers");
    refused(r#"{"layer_norm_eps": 2}"#, "layer_norm_eps");
}

/// Two matrices of a layer by the names of a format, and alpha.
fn adapter(names: [&str; 2], alpha: Option<(&str, f32)>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a new folder");
    let down: Vec<f32> = (0..24).map(|i| (i as f32).sin()).collect();
    let up: Vec<f32> = (0..24).map(|i| (i as f32).cos()).collect();
    let mut tensors = vec![(names[0], &[2, 12][..], &down[..]), (names[1], &[12, 2], &up)];
    if let Some((name, alpha)) = &alpha {
        tensors.push((name, &[], std::slice::from_ref(alpha)));
    }
    let file = folder.path().join("lora.safetensors");
    weights::write_tensors(&file, Precision::F32, tensors).expect("a new folder");
    folder
}

fn read_lora(folder: &tempfile::TempDir, specs: &[ParameterSpec]) -> Result<Lora, String> {
    let file = folder.path().join("lora.safetensors");
    Lora::read(&file, &[(Adapted::TextEncoder, specs)]).map_err(|error| error.to_string())
}

#[test]
fn an_adapter_adds_its_product_to_a_layer() {
    let model = ClipText::new(config()).expect("it fits");
    let specs = specs(&model);
    let base = Weights::initial(&specs, 7);
    let layer = "text_model.encoder.layers.1.self_attn.q_proj";
    let flat = format!("lora_te_{}", layer.replace('.', "_"));
    let formats = [
        ([format!("{flat}.lora_down.weight"), format!("{flat}.lora_up.weight")], 1.0),
        (
            [
                format!("text_encoder.{layer}.lora_A.weight"),
                format!("text_encoder.{layer}.lora_B.weight"),
            ],
            2.0,
        ),
        (
            ["down", "up"].map(|part| {
                format!(
                    "text_encoder.text_model.encoder.layers.1.self_attn.to_q_lora.{part}.weight"
                )
            }),
            2.0,
        ),
    ];
    for ([down, up], alpha) in formats {
        let name = format!("{flat}.alpha");
        let own = (alpha == 1.0).then_some((&name[..], 1.0));
        let folder = adapter([&down, &up], own);
        let lora = read_lora(&folder, &specs).expect("a known format");
        let (_, low_rank) = lora.layers(Adapted::TextEncoder).next().expect("one layer");
        assert_eq!((low_rank.rank(), low_rank.alpha), (2, alpha), "{down}");

        // Twice, with two strengths: as one of their sum.
        let twice = Loras { files: vec![(lora.clone(), 0.5), (lora.clone(), -0.125)] };
        let product = twice.weights(Adapted::TextEncoder);
        let mut adapted = base.clone();
        for (name, of) in product.iter() {
            adapted.insert(name, of.shape, of.data.clone());
        }
        let mut merged = base.clone();
        let weight = base.get(&format!("{layer}.weight")).expect("a layer");
        let (a, b) = (&low_rank.down.data, &low_rank.up.data);
        let scale = 0.375 * alpha as f32 / 2.0;
        let sum = |i: usize, o: usize| (0..2).map(|r| a[2 * i + r] * b[12 * r + o]).sum::<f32>();
        let changed = (0..144).map(|at| weight.data[at] + scale * sum(at / 12, at % 12));
        merged.insert(&format!("{layer}.weight"), weight.shape, changed.collect());

        let (expected, _) = evaluate(&model, &merged);
        let (found, gradients) = evaluate(&model, &adapted);
        let apart = found.zip(&expected, |a, b| a - b).max_abs();
        // The merged weights are rounded to f32.
        assert!(apart < 1e-5, "{down}: {apart}");
        assert_ne!(found, evaluate(&model, &base).0);
        for name in [LORA_DOWN, LORA_UP] {
            assert!(gradients[&format!("{layer}.{name}")].max_abs() > 0.0);
        }
    }
}

#[test]
fn tensors_of_no_layer_and_of_other_shapes_are_named() {
    let model = ClipText::new(config()).expect("it fits");
    let specs = specs(&model);
    let of = |layer: &str| {
        let names = ["lora_A", "lora_B"].map(|part| format!("text_encoder.{layer}.{part}.weight"));
        let folder = adapter([&names[0], &names[1]], None);
        read_lora(&folder, &specs).expect_err(layer)
    };
    // A table and a norm have no adapter.
    for layer in ["encoder.layers.9.mlp.fc1", "embeddings.token_embedding", "final_layer_norm"] {
        let error = of(&format!("text_model.{layer}"));
        assert!(error.contains(layer), "{error}");
    }
    let error = of("text_model.encoder.layers.0.mlp.fc1");
    assert!(error.contains("layers.0.mlp.fc1") && error.contains("[12,2]"), "{error}");
}
