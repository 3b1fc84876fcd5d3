//! The U-Net's graph, its loss and all its gradients, evaluated on the CPU in f64, against the
//! reference cases: what is left between these and the device is the kernels.

use std::path::Path;

use crate::common::case::Case;
use ddim::{
    graph::Graph,
    models::unet2d::{UNet, UNetConfig},
    nn::{Arenas, Condition, Layers, Model, ModelInputs},
    ops::{Constant, MeanSquaredError, Reduction},
    passes,
    reference::{Environment, Tensor, evaluate},
    value::{Shape, TensorType},
    weights::{self, Layout},
};

/// From `[batch, channels, height, width]` to channels innermost.
fn channels_last(data: &[f64], [batch, channels, height, width]: [usize; 4]) -> Tensor {
    let shape = Shape::new(&[batch, height, width, channels]);
    let mut result = Tensor::zeros(shape);
    let pixels = height * width;
    for (index, number) in data.iter().enumerate() {
        let (plane, pixel) = (index / pixels, index % pixels);
        let (image, channel) = (plane / channels, plane % channels);
        result.data[(image * pixels + pixel) * channels + channel] = *number;
    }
    result
}

/// And back.
fn channels_first(tensor: &Tensor) -> Vec<f64> {
    let &[batch, height, width, channels] = &tensor.shape[..] else { panic!("an image") };
    let pixels = height * width;
    let mut result = vec![0.0; tensor.data.len()];
    for (index, number) in tensor.data.iter().enumerate() {
        let (pixel, channel) = (index / channels, index % channels);
        let (image, pixel) = (pixel / pixels, pixel % pixels);
        result[(image * channels + channel) * pixels + pixel] = *number;
    }
    assert_eq!(result.len(), batch * channels * pixels);
    result
}

fn image(case: &Case, name: &str) -> Tensor {
    let shape: [usize; 4] = case.shape(name).try_into().expect("four axes");
    channels_last(&case.input(name), shape)
}

/// The norm of a gradient and its product with a sine, as the cases keep them.
fn digest(gradient: &[f64]) -> [f64; 2] {
    let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    let sine = |(index, g): (usize, &f64)| g * (0.1 * (index + 1) as f64).sin();
    [norm, gradient.iter().enumerate().map(sine).sum()]
}

fn check(cases: &Path, case: &Case) {
    let folder = cases.join(case.model());
    let config = UNetConfig::read(&folder.join("config.json")).expect("a valid config");
    let model = UNet::new(config).expect("a consistent config");
    let specs = model.parameters().expect("a list of parameters");
    let file = folder.join("diffusion_pytorch_model.safetensors");
    let weights = weights::read(&file, &specs).expect("the model's weights");
    let layout = Arenas::new(specs, 1 << 20);

    let (x, target) = (image(case, "x"), image(case, "target"));
    let batch = x.shape[0];
    let mut graph = Graph::new();
    let mut given = Environment::new();
    let mut give = |graph: &mut Graph, of: TensorType, data: Vec<f64>| {
        let value = graph.input(of);
        given.insert(value, Tensor::new(of.shape, data));
        value
    };
    let x = give(&mut graph, TensorType::f32(&x.shape), x.data.clone());
    let timesteps = give(&mut graph, TensorType::f32(&[batch]), case.input("t"));
    let labels = model.label_type(batch).map(|of| give(&mut graph, of, case.input("class_labels")));
    let condition = Condition { labels, ..Condition::default() };
    let inputs = ModelInputs { x, timesteps, condition };
    let target = give(&mut graph, TensorType::f32(&target.shape), target.data.clone());
    let arenas = layout.inputs(&mut graph);
    let contents = layout.contents(&weights).expect("every parameter was read");
    for (arena, contents) in arenas.iter().zip(contents) {
        let shape = graph.type_of(*arena).shape;
        let data = contents.into_iter().map(f64::from).collect();
        given.insert(*arena, Tensor::new(shape, data));
    }
    let views = layout.views(&mut graph, &arenas).expect("the layout's own arenas");
    let mut layers = Layers::new(&mut graph, &views, None);
    let y = model.build(&mut layers, &inputs).expect("a graph");
    let error = MeanSquaredError { reduction: Reduction::Mean };
    let loss = graph.push(error, &[y, target]).expect("images of one shape");
    let one = Constant { of: graph.type_of(loss), number: 1.0.into() };
    let one = graph.push(one, &[]).expect("a constant");
    let of_parameters = layout.specs.iter().filter_map(|spec| views.get(&spec.name));
    let wanted: Vec<_> = std::iter::once(inputs.x).chain(of_parameters).collect();
    let gradients = passes::gradient(&mut graph, loss, one, &wanted).expect("every op has one");

    let values = evaluate(&graph, given).expect("every input is given");
    let compare = |output: &str, got: &[f64]| {
        if let Err(message) = case.compare(output, got) {
            panic!("{message}");
        }
    };
    compare("y", &channels_first(&values[&y]));
    compare("loss", &values[&loss].data);
    let gradient = |index: usize| gradients[index].map(|value| &values[&value]);
    compare("gx", &channels_first(gradient(0).expect("y depends on x")));
    let mut checked = 3;
    for (index, spec) in layout.specs.iter().enumerate() {
        let ours = gradient(index + 1).map_or_else(|| Tensor::zeros(spec.of.shape), Tensor::clone);
        // The gradient in PyTorch's order; f32 is finer than any tolerance here.
        let dense: Vec<f32> = ours.data.iter().map(|g| *g as f32).collect();
        let theirs = Layout::of(&spec.name, &spec.of.shape).write(&spec.of.shape, &dense);
        let theirs: Vec<f64> = theirs.into_iter().map(f64::from).collect();
        let (whole, short) = (format!("grad.{}", spec.name), format!("grad_digest.{}", spec.name));
        if case.has_output(&whole) {
            compare(&whole, &theirs);
        } else {
            compare(&short, &digest(&theirs));
        }
        checked += 1;
    }
    assert_eq!(checked, case.outputs().count(), "{}: outputs checked", case.name());
}

#[test]
fn the_public_cases() {
    let cases = Case::folder();
    Case::group("unet").for_each(|case| check(&cases, &case));
}

#[test]
fn more_settings() {
    let cases = Case::folder().with_file_name("cases_unet");
    let mut count = 0;
    for case in Case::group_below(cases.clone(), "unet") {
        check(&cases, &case);
        count += 1;
    }
    assert_eq!(count, 4);
}
