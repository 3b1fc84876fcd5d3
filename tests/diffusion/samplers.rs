//! Samplers on the device: any network that is a graph, closures, guidance, and what an image
//! depends on.
use crate::common::support;
use ddim::{
    Error,
    diffusion::{
        ClosureSampler, Evaluation, Guidance, Sampler,
        samplers::{
            Churn, DdimOptions, Table, ddim_table, heun_table, predictor_corrector_table,
            schedule_levels,
        },
        schedule::{Prediction, SchedulerConfig, Spacing},
    },
    gpu::{Executor, Gpu},
    graph::Graph,
    nn::{Layers, Model, ModelInputs, Weights},
    ops::{AddEmbedding, Scale},
    passes,
    value::{Shape, TensorType, Value},
};

/// A model that is not ours: the prediction is a part of x, moved by a row of a table of labels.
struct Linear {
    slope: f64,
    classes: Option<usize>,
}

impl Linear {
    fn new(slope: f64, classes: Option<usize>) -> Self {
        Self { slope, classes }
    }

    fn weights(&self) -> Weights {
        let mut weights = Weights::default();
        if let Some(classes) = self.classes {
            let table = (0..classes).map(|class| 0.1 * class as f32 - 0.2).collect();
            weights.insert("table.weight", Shape::new(&[classes, 1]), table);
        }
        weights
    }
}

impl Model for Linear {
    fn channels(&self) -> usize {
        1
    }

    fn label_type(&self, batch: usize) -> Option<TensorType> {
        self.classes.map(|_| TensorType::u32(&[batch]))
    }

    fn classes(&self) -> Option<usize> {
        self.classes
    }

    fn build(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
        let scale = Scale { scale: self.slope.into(), shift: 0.05.into() };
        let output = layers.push(scale, &[inputs.x])?;
        let (Some(labels), Some(classes)) = (inputs.condition.labels, self.classes) else {
            return Ok(output);
        };
        let moved = layers.embedding("table", labels, classes, 1)?;
        layers.push(AddEmbedding, &[output, moved])
    }
}

fn table(eta: f64) -> Table {
    SchedulerConfig::default().ddim(5, eta).expect("five steps")
}

fn sample(gpu: &Gpu, network: &Linear, batch: usize, table: &Table, count: usize) -> Vec<f32> {
    let mut sampler = Sampler::new(gpu, network, &network.weights(), [batch, 6, 6], table, None, 3)
        .expect("a small network");
    sampler.sample(count, |_| {}).expect("a device that is there")
}

#[test]
fn an_image_depends_on_its_number_alone() {
    let Some(gpu) = support::gpu() else { return };
    let network = Linear::new(0.9, None);
    let schedule = SchedulerConfig::default().schedule().expect("a schedule");
    let list = Spacing::Linspace.timesteps(1000, 4, 0).expect("four steps");
    let levels = schedule_levels(&schedule, &list).expect("signal everywhere");
    let output = Prediction::default();
    for table in [
        table(1.0),
        heun_table(&levels, &output, &Churn::NONE, |_| 0.0).expect("a table"),
        predictor_corrector_table(&levels, 2, 0.16, &output).expect("a table"),
    ] {
        let whole = sample(&gpu, &network, 6, &table, 6);
        assert_eq!(whole, sample(&gpu, &network, 2, &table, 6));
        assert_eq!(whole, sample(&gpu, &network, 4, &table, 6));
        assert!(whole.iter().all(|x| x.is_finite()));
        assert_ne!(whole[..36], whole[36..72]);
    }
}

#[test]
fn a_closure_on_the_device_is_as_a_graph() {
    let Some(gpu) = support::gpu() else { return };
    let table = table(0.5);
    let expected = sample(&gpu, &Linear::new(0.9, None), 2, &table, 2);

    // The same network in a plan of the caller's own, fed by copies on the queue.
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[2, 6, 6, 1]));
    let scale = Scale { scale: 0.9.into(), shift: 0.05.into() };
    let y = graph.push(scale, &[x]).expect("fits");
    graph.outputs.push(y);
    let mut own = Executor::new(&gpu, passes::compile(&graph, gpu.target()).expect("compiles"))
        .expect("a small network");
    let mut told = Vec::new();
    let mut sampler =
        ClosureSampler::new(&gpu, [2, 6, 6, 1], 1, &table, 3).expect("a small network");
    sampler.begin(0).expect("a device that is there");
    sampler
        .run(|evaluation: &Evaluation| -> Result<(), Error> {
            told.push(evaluation.timestep);
            let copy = |from: &ddim::gpu::DeviceTensor, to: &ddim::gpu::DeviceTensor| {
                let mut encoder = gpu.device().create_command_encoder(&Default::default());
                let bytes = from.of.bytes();
                encoder.copy_buffer_to_buffer(
                    &from.buffer,
                    from.offset,
                    &to.buffer,
                    to.offset,
                    bytes,
                );
                gpu.queue().submit([encoder.finish()]);
            };
            copy(&evaluation.x, &own.tensor(x)?);
            own.run(1)?;
            copy(&own.tensor(y)?, &evaluation.output);
            Ok(())
        })
        .expect("five steps");
    assert_eq!(told, [800.0, 600.0, 400.0, 200.0, 0.0]);
    assert_eq!(sampler.images().expect("a device that is there"), expected);
}

#[test]
fn guidance_is_what_its_formulas_say() {
    let Some(gpu) = support::gpu() else { return };
    let network = Linear::new(0.9, Some(4));
    let table = {
        let schedule = SchedulerConfig::default().schedule().expect("a schedule");
        let output = Prediction::default();
        ddim_table(&schedule, &[500], &output, &DdimOptions::default()).expect("one step")
    };
    let run = |guidance: Option<Guidance>, label: u32| {
        let mut sampler =
            Sampler::new(&gpu, &network, &network.weights(), [3, 6, 6], &table, guidance, 3)
                .expect("a small network");
        sampler.set_labels(&[label; 3]).expect("three labels");
        sampler.begin(0).expect("a device that is there");
        sampler.advance(1).expect("a device that is there");
        sampler.images().expect("a device that is there")
    };
    let (plain, labelled) = (run(None, 3), run(None, 1));
    // One step without clipping is linear in the prediction, so guidance mixes its results.
    let mixed = |scale: f32| -> Vec<f32> {
        plain.iter().zip(&labelled).map(|(u, c)| u + scale * (c - u)).collect()
    };
    for (guidance, expected) in [
        (Guidance::of_scale(1.0, 3), labelled.clone()),
        (Guidance::of_scale(0.0, 3), plain.clone()),
        (Guidance::of_scale(3.0, 3), mixed(3.0)),
        (Guidance::ho_salimans(2.0, 3), mixed(3.0)),
    ] {
        // A few roundings of numbers up to 4, magnified by the scale.
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(run(Some(guidance), 1).iter().zip(&expected).all(close), "{guidance:?}");
    }
    let without = Linear::new(0.9, None);
    let refused = Sampler::new(
        &gpu,
        &without,
        &without.weights(),
        [1, 6, 6],
        &table,
        Some(Guidance::of_scale(2.0, 0)),
        0,
    );
    assert!(matches!(refused.err(), Some(Error::Labels { found: None, .. })));
    let refused = Sampler::new(
        &gpu,
        &network,
        &network.weights(),
        [1, 6, 6],
        &table,
        Some(Guidance::of_scale(2.0, 4)),
        0,
    );
    assert!(matches!(refused.err(), Some(Error::Class { found: 4, classes: 4 })));
    let mut sampler = Sampler::new(&gpu, &network, &network.weights(), [2, 6, 6], &table, None, 0)
        .expect("a small network");
    let error = sampler.set_labels(&[0, 7]).expect_err("four classes").to_string();
    assert_eq!(error, "class 7: the model has 4 classes, counted from 0");
}

/// The fused update costs one launch a step, and a trajectory no wait.
#[test]
fn a_trajectory_is_one_launch_a_step_beside_the_network() {
    let Some(gpu) = support::gpu() else { return };
    let network = Linear::new(0.9, None);
    let mut sampler =
        Sampler::new(&gpu, &network, &network.weights(), [2, 6, 6], &table(1.0), None, 0)
            .expect("a small network");
    // Row, network, update, counter.
    assert_eq!(sampler.plan().dispatches().count(), 4);
    sampler.begin(0).expect("a device that is there");
    let before = sampler.executor().stats();
    sampler.advance(5).expect("a device that is there");
    let after = sampler.executor().stats();
    assert_eq!((after.waits, after.maps), (before.waits, before.maps));
}
