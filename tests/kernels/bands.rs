//! Pictures that are larger than the device's largest binding, in bands of rows: the same numbers as in one piece.
use crate::common::support;
use ddim::{
    gpu::{Executor, Gpu},
    graph::Graph,
    models::autoencoder_kl::{Autoencoder, AutoencoderConfig},
    nn::{FrozenModel, Weights},
    ops::{
        Add, ApplyAffine, AveragePool, Concat, Conv2d, Conv2dInputGradient, Conv2dWeightGradient,
        FusedConv2d, FusedConv2dWeightGradient, GroupMoments, GroupNorm, GroupNormBackward, Input,
        Linear, LinearWeightGradient, Load, Op, Prologue, Silu, SumRows, UpsampleNearest,
        UpsampleNearestBackward,
    },
    passes,
    plan::{Plan, Target},
    value::{TensorType, Value},
};
use serde_json::json;

/// What an executor computes of random inputs, its slots full of NaN before.
fn results(gpu: &Gpu, graph: &Graph, plan: Plan, inputs: &[(Value, Vec<f32>)]) -> Vec<Vec<f32>> {
    let mut executor = Executor::new(gpu, plan).expect("the device takes it");
    executor.poison().expect("the device works");
    for (value, data) in inputs {
        executor.write(*value, data).expect("its own shape");
    }
    executor.run(1).expect("the device works");
    graph.outputs.iter().map(|value| executor.read(*value).expect("an output")).collect()
}

fn normal(graph: &Graph, values: &[Value]) -> Vec<(Value, Vec<f32>)> {
    let numbers = |(&value, seed): (&Value, u64)| {
        let tensor = Input::normal(graph.type_of(value)).tensor(seed);
        (value, tensor.data.into_iter().map(|x| x as f32).collect())
    };
    values.iter().zip(1..).map(numbers).collect()
}

/// The target with a largest binding of so many bytes.
fn narrow(target: &Target, max_binding: u64) -> Target {
    Target { max_binding, ..target.clone() }
}

fn largest_binding(plan: &Plan) -> u64 {
    let values = plan.dispatches().flat_map(|launch| &launch.bindings);
    let values = values.filter_map(|binding| binding.value);
    values.map(|value| plan.find(value).expect("its own").bytes()).max().unwrap_or(0)
}

/// Both plans of a graph, with what they were given; the second binds at most `limit` bytes.
fn compare(gpu: &Gpu, graph: &Graph, inputs: &[(Value, Vec<f32>)], limit: u64, name: &str) {
    let target = narrow(gpu.target(), limit);
    for (fused, compile) in
        [(true, passes::compile as fn(&_, &_) -> _), (false, passes::compile_unfused)]
    {
        let whole = compile(graph, gpu.target()).expect("a plan");
        let cut = compile(graph, &target).unwrap_or_else(|error| panic!("{name}: {error}"));
        let [most, least] = [&whole, &cut].map(largest_binding);
        assert!(least <= limit && limit < most, "{name}, fused {fused}: {least}, {limit}, {most}");
        let [whole, cut] = [whole, cut].map(|plan| results(gpu, graph, plan, inputs));
        for (at, (a, b)) in whole.iter().zip(&cut).enumerate() {
            let most = a.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
            let finite = b.iter().all(|x| x.is_finite());
            // Sums in another order, and other kernels, whose error is up to four times as large.
            assert!(
                finite && most > 0.0 && worst <= 2e-5 * most,
                "{name}, result {at}, fused {fused}: {worst} of {most}"
            );
        }
    }
}

/// One op on pictures of 52 rows, of which the last are no whole band.
fn single(gpu: &Gpu, op: impl Into<Op>, operands: &[&[usize]], limit: u64) {
    let (op, mut graph) = (op.into(), Graph::new());
    let inputs: Vec<Value> =
        operands.iter().map(|shape| graph.input(TensorType::f32(shape))).collect();
    graph.outputs = graph.push_all(op.clone(), &inputs).expect("operands fit");
    let given = normal(&graph, &inputs);
    compare(gpu, &graph, &given, limit, &op.to_string());
}

const H: usize = 52;
const W: usize = 32;
/// Bytes of a picture of 16 channels.
const PICTURE: u64 = (H * W * 16 * 4) as u64;

#[test]
fn single_ops_give_the_same_in_bands() {
    let Some(gpu) = support::gpu() else { return };
    let (x, half, wide, small) =
        (&[1, H, W, 16][..], &[1, H, W, 8][..], &[1, H, W, 32][..], &[1, H / 2, W / 2, 16][..]);
    let (taps, affine, row): (&[usize], &[usize], &[usize]) = (&[3, 3, 16, 16], &[1, 3, 16], &[16]);
    let limit = PICTURE * 2 / 3;
    single(&gpu, Add, &[x, x], limit);
    single(&gpu, Silu, &[x], limit);
    single(&gpu, Concat, &[half, half], limit);
    single(&gpu, Linear, &[x, &[16, 16], row], limit);
    single(&gpu, ApplyAffine { silu: true }, &[x, affine], limit);
    single(&gpu, UpsampleNearest, &[small], limit);
    single(&gpu, UpsampleNearestBackward, &[x], limit);
    single(&gpu, AveragePool, &[x], limit);
    single(&gpu, GroupMoments, &[x], limit);
    single(&gpu, GroupNorm { groups: 4, eps: 1e-6.into() }, &[x, row, row], limit);
    single(&gpu, SumRows, &[x], limit);
    single(&gpu, LinearWeightGradient { bias: true }, &[x, x], limit);
    let statistics = &[1, 4, 2][..];
    for (silu, residual) in [(false, false), (true, true)] {
        let op = GroupNormBackward { groups: 4, silu, residual };
        let mut operands = vec![x, statistics, row];
        operands.extend(silu.then_some(row));
        operands.push(x);
        operands.extend(residual.then_some(x));
        single(&gpu, op, &operands, limit);
    }
    for (stride, padding, y) in [
        (1, [1; 4], &[1, H, W, 16][..]),
        (1, [0, 2, 1, 1], &[1, H, W, 16]),
        (1, [2, 0, 1, 1], &[1, H, W, 16]),
        (2, [0, 1, 0, 1], small),
        (2, [1; 4], small),
    ] {
        let kernel = [3, 3];
        single(&gpu, Conv2d { stride, padding }, &[x, taps, row], limit);
        for residual in [false, true] {
            let op = Conv2dInputGradient { stride, padding, height: H, width: W, residual };
            single(&gpu, op, &[&[y, taps], &[x][..residual.into()]].concat(), limit);
        }
        let op = Conv2dWeightGradient { stride, padding, kernel, bias: true };
        single(&gpu, op, &[x, y], limit);
    }
    single(&gpu, Conv2d { stride: 1, padding: [0; 4] }, &[wide, &[1, 1, 32, 16]], limit);
}

#[test]
fn fused_convolutions_give_the_same_in_bands() {
    let Some(gpu) = support::gpu() else { return };
    let row: &[usize] = &[16];
    for (concat, prologue, upsample, kernel, height) in [
        (false, Prologue::Identity, false, 3, H),
        (true, Prologue::AffineSilu, false, 3, H),
        (false, Prologue::Affine, true, 3, H),
        (true, Prologue::AffineSilu, true, 3, H + 4),
        (false, Prologue::Identity, true, 1, H),
        (false, Prologue::AffineSilu, false, 1, H),
    ] {
        let scale = 1 + usize::from(upsample);
        let x = [1, height / scale, W / scale, 16 / (1 + usize::from(concat))];
        let y = [1, height / scale * scale, W, 16];
        let padding = if kernel == 3 { [1; 4] } else { [0; 4] };
        let (taps, affine) = ([kernel, kernel, 16, 16], [1, 3, 16]);
        let load = Load { concat, prologue, upsample };
        let mut read: Vec<&[usize]> = vec![&x];
        read.extend(concat.then_some(&x[..]));
        read.extend((prologue != Prologue::Identity).then_some(&affine[..]));
        let gradient =
            Conv2dWeightGradient { stride: 1, padding, kernel: [kernel; 2], bias: false };
        let op = FusedConv2dWeightGradient { gradient, load };
        single(&gpu, op, &[&read[..], &[&y]].concat(), PICTURE * 2 / 3);
        let conv = Conv2d { stride: 1, padding };
        for moments in [false, true] {
            let op =
                FusedConv2d { conv, load, bias: true, embedding: Some(0), residual: true, moments };
            let operands = [&read[..], &[&taps, row, &[1, 16], &y]].concat();
            single(&gpu, op, &operands, PICTURE * 2 / 3);
        }
    }
}

fn autoencoder() -> Autoencoder {
    let config = json!({
        "block_out_channels": [16, 32, 16], "norm_num_groups": 4, "layers_per_block": 1,
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
    });
    let config = AutoencoderConfig::parse(&config.to_string()).expect("a consistent model");
    Autoencoder::new(config).expect("a consistent model")
}

/// Encoder or decoder with its gradients by input and weights.
fn half(network: &Autoencoder, decodes: bool, limit: u64) -> (Graph, Vec<(Value, Vec<f32>)>) {
    let mut graph = Graph::new();
    let (shape, parameters) = match decodes {
        true => ([1, 18, 16, 4], network.decoder_parameters()),
        false => ([1, 72, 64, 3], network.encoder_parameters()),
    };
    let parameters = parameters.expect("a consistent model");
    let x = graph.input(TensorType::f32(&shape));
    let model = FrozenModel::of(&mut graph, parameters.clone(), limit, |layers| match decodes {
        true => network.decode(layers, x),
        false => network.encode(layers, x),
    });
    let model = model.expect("a graph");
    let dy = graph.input(graph.type_of(model.prediction));
    let views = parameters.iter().map(|spec| model.views.get(&spec.name).expect("its own"));
    let wanted: Vec<Value> = [x].into_iter().chain(views).collect();
    let gradients = passes::gradient(&mut graph, model.prediction, dy, &wanted);
    let gradients = gradients.expect("a gradient").into_iter().flatten();
    // Biases of keys have none but the rounding of zero.
    let named: Vec<Value> = gradients.collect();
    let keys = parameters.iter().position(|spec| spec.name.ends_with("to_k.bias"));
    graph.outputs = vec![model.prediction];
    let is_key = |at: usize| keys.is_some_and(|key| at == key + 1);
    graph.outputs.extend(named.iter().enumerate().filter(|(at, _)| !is_key(*at)).map(|(_, v)| *v));
    let mut given = normal(&graph, &[x, dy]);
    given.extend(model.contents(&Weights::initial(&parameters, 3)).expect("its own"));
    (graph, given)
}

#[test]
fn an_autoencoder_gives_the_same_in_bands_and_so_do_its_gradients() {
    let Some(gpu) = support::gpu() else { return };
    let network = autoencoder();
    for decodes in [true, false] {
        // Eighteen rows of 64 pixels of 32 channels; a picture has 72.
        let limit = 18 * 64 * 32 * 4;
        let (graph, given) = half(&network, decodes, limit);
        let name = if decodes { "decoder" } else { "encoder" };
        compare(&gpu, &graph, &given, limit, name);
    }
}

#[test]
fn what_cannot_be_cut_is_refused_by_name() {
    let target = narrow(&Target::default(), 4096);
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[2, 64, 64, 4]));
    graph.outputs = vec![graph.push(Silu, &[x]).expect("any shape")];
    let error = passes::compile(&graph, &target).expect_err("two pictures").to_string();
    assert!(error.contains("the device binds at most"), "{error}");
}
