//! Configurations of U-Nets: read, checked, written back, with no GPU.

use crate::common::case::Case;
use ddim::{
    error::ConfigError,
    graph::Graph,
    models::unet2d::{
        ClassEmbedding, DownBlock, MidBlock, SampleSize, TimeEmbedding, TimeScaleShift, UNet,
        UNetConfig, UpBlock,
    },
    nn::{Condition, FrozenModel, Model, ModelInputs, Weights},
    ops::Input,
    reference::{Environment, Tensor, evaluate},
    value::TensorType,
};

#[test]
fn the_cases_models_are_read() {
    for (model, groups, middle) in [
        ("unet_8_16_gray", 4, Some(4)),
        ("unet_32_64_rgb", 32, Some(32)),
        ("unet_8_16_class", 4, None),
    ] {
        let path = Case::folder().join("models").join(model).join("config.json");
        let config = UNetConfig::read(&path).expect("a valid config");
        assert_eq!(config.norm_num_groups, groups);
        assert_eq!(config.middle_norm_groups(), middle);
        assert_eq!(config.down_block_types, [DownBlock::Plain, DownBlock::Attention]);
        assert_eq!(config.up_block_types, [UpBlock::Attention, UpBlock::Plain]);
        let again = UNetConfig::parse(&config.to_json()).expect("its own text");
        assert_eq!(again, config);
        // Nothing that diffusers wrote is lost.
        let text = std::fs::read_to_string(&path).expect("the file");
        let theirs: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let ours: serde_json::Value = serde_json::from_str(&config.to_json()).expect("JSON");
        for (key, value) in theirs.as_object().expect("an object") {
            let same = ours[key] == *value || ours[key].as_f64() == value.as_f64();
            assert!(same, "{key}: {} for {value}", ours[key]);
        }
    }
}

#[test]
fn a_missing_key_means_the_default_of_diffusers() {
    let config = UNetConfig::parse("{}").expect("every key may be missing");
    assert_eq!(config, UNetConfig::default());
    let nulls =
        r#"{"in_channels": null, "block_out_channels": null, "act_fn": null, "norm_eps": null}"#;
    assert_eq!(UNetConfig::parse(nulls).expect("null is the default"), config);
    assert_eq!(config.heads(448), 56);
    assert_eq!(config.time_width(), 896);
    let config = UNetConfig::parse(
        r#"{"attention_head_dim": null, "mid_block_type": null, "sample_size": [32, 64],
            "act_fn": "swish", "class_embed_type": "timestep", "time_embedding_dim": 64,
            "resnet_time_scale_shift": "scale_shift", "num_head_channels": 3}"#,
    )
    .expect("all of this is allowed");
    assert_eq!(config.heads(448), 1);
    assert_eq!(config.mid_block_type, None::<MidBlock>);
    assert!(!config.has_middle_attention());
    assert_eq!(config.sample_size.map(SampleSize::sides), Some((32, 64)));
    assert_eq!(config.class_embed_type, Some(ClassEmbedding::Timestep));
    assert_eq!(config.resnet_time_scale_shift, TimeScaleShift::ScaleShift);
    assert_eq!(config.time_width(), 64);
}

#[test]
fn faults_name_key_expected_and_found() {
    for (text, expected) in [
        (r#"{"block_out_channels": [32, "x"]}"#, "block_out_channels[1]: invalid type: string"),
        (r#"{"block_out_channels": []}"#, "block_out_channels: expected 1 to 16 levels, found 0"),
        (r#"{"block_out_channels": [32, 64]}"#, "down_block_types: expected 2 levels, found 4"),
        (r#"{"norm_num_groups": 5}"#, "norm_num_groups: expected a divisor of 224"),
        (r#"{"norm_num_groups": 0}"#, "norm_num_groups: expected a divisor of 224"),
        (r#"{"attention_head_dim": 9}"#, "attention_head_dim: expected a divisor of 448"),
        (r#"{"attn_norm_num_groups": 3}"#, "attn_norm_num_groups: expected a divisor of 896"),
        (r#"{"act_fn": "gelu"}"#, "act_fn: unknown variant `gelu`"),
        (r#"{"resnet_time_scale_shift": "spatial"}"#, "resnet_time_scale_shift: unknown variant"),
        (r#"{"time_embedding_type": "fourier"}"#, "time_embedding_type: unknown variant"),
        (r#"{"down_block_types": ["SkipDownBlock2D"]}"#, "down_block_types[0]: unknown variant"),
        (r#"{"downsample_padding": 2}"#, "downsample_padding: expected 0 to 1 zeros, found 2"),
        (r#"{"dropout": 1.0}"#, "dropout: expected at least 0 and below 1, found 1"),
        (r#"{"sample_size": "big"}"#, "sample_size: a number or two numbers"),
        (r#"{"sample_size": 30}"#, "multiples of 8, found 30x30"),
        (r#"{"_class_name": "AutoencoderKL"}"#, "_class_name: expected UNet2DModel"),
        (r#"{"in_channels": -1}"#, "in_channels: invalid value: integer `-1`"),
        (r#"{"layers_per_block": 18446744073709551615}"#, "layers_per_block: expected 1 to 1000"),
        (r#"{"norm_eps": NaN}"#, "norm_eps: invalid type: string \"NaN\""),
        (r#"{"mid_block_scale_factor": -Infinity}"#, "mid_block_scale_factor: invalid type"),
        (r#"{"in_channels": 3"#, "EOF"),
        ("", "EOF"),
    ] {
        let error = UNetConfig::parse(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let error = UNetConfig::default().check_image(8, 12).expect_err("12 is not a multiple of 8");
    assert!(matches!(error, ConfigError::Image { multiple: 8, height: 8, width: 12, .. }));
    let missing = UNetConfig::read("no/such/config.json".as_ref()).expect_err("no file");
    assert!(missing.to_string().starts_with("no/such/config.json: "), "{missing}");
}

#[test]
fn every_key_stands_on_the_page() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.md");
    let page = std::fs::read_to_string(page).expect("the page");
    // Those that diffusers does not have are written where they are set.
    let one = Some(1);
    let config = UNetConfig {
        num_attention_heads: one,
        conv_in_channels: one,
        time_proj_channels: one,
        ..UNetConfig::default()
    };
    let keys: serde_json::Value = serde_json::from_str(&config.to_json()).expect("JSON");
    let keys = keys.as_object().expect("an object");
    for key in keys.keys() {
        assert_eq!(page.matches(&format!("| `{key}` |")).count(), 1, "{key}");
    }
    assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), keys.len());
}

#[test]
fn a_network_that_is_not_told_the_level_gives_the_same_at_all() {
    let output = |time_embedding_type, timestep: f64| {
        let config = UNetConfig {
            in_channels: 1,
            out_channels: 1,
            block_out_channels: vec![4],
            down_block_types: vec![DownBlock::Plain],
            up_block_types: vec![UpBlock::Plain],
            layers_per_block: 1,
            norm_num_groups: 2,
            attention_head_dim: Some(4),
            time_embedding_type,
            ..UNetConfig::default()
        };
        let again = UNetConfig::parse(&config.to_json()).expect("its own text");
        assert_eq!(again, config);
        let unet = UNet::new(config).expect("a consistent model");
        let mut graph = Graph::new();
        let x = graph.input(TensorType::f32(&[1, 4, 4, unet.channels()]));
        let timesteps = graph.input(TensorType::f32(&[1]));
        let inputs = ModelInputs { x, timesteps, condition: Condition::default() };
        let model = FrozenModel::new(&mut graph, &unet, &inputs, 1 << 20).expect("a graph");
        let weights = Weights::initial(&model.parameters.arenas.specs, 3);
        let mut given = Environment::new();
        given.insert(x, Input::normal(graph.type_of(x)).tensor(1));
        given.insert(timesteps, Tensor::new(graph.type_of(timesteps).shape, vec![timestep]));
        for (arena, contents) in model.contents(&weights).expect("all parameters") {
            let data = contents.into_iter().map(f64::from).collect();
            given.insert(arena, Tensor::new(graph.type_of(arena).shape, data));
        }
        evaluate(&graph, given).expect("every input is given")[&model.prediction].data.clone()
    };
    assert_eq!(output(TimeEmbedding::None, 3.0), output(TimeEmbedding::None, 500.0));
    assert_ne!(output(TimeEmbedding::Positional, 3.0), output(TimeEmbedding::Positional, 500.0));
}
