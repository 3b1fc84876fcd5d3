//! Cases of what is beside the steps of a sampler: guidance, and the way between two samples.
use super::stored;
use crate::{
    diffusion::{angle_between, slerp},
    error::Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::Guide,
    passes,
    value::TensorType,
    verify::{
        case_files::{Case, Results},
        case_graph::Axes,
    },
};

/// Kind `slerp`: on the host.
pub(in crate::verify) fn interpolation(case: &Case) -> Result<Results, Error> {
    let alphas: Vec<f64> = case.setting("alphas")?;
    let [from, to] = ["z1", "z2"].map(|name| case.tensor(name));
    let (from, to) = (from?.numbers.clone().into_f32(), to?.numbers.clone().into_f32());
    let points = alphas.iter().flat_map(|&share| slerp(&from, &to, share)).map(f64::from);
    Ok([("theta".to_owned(), vec![angle_between(&from, &to)]), ("z".to_owned(), points.collect())]
        .into())
}

/// Kind `classifier_free_guidance`.
pub(in crate::verify) fn guidance(gpu: &Gpu, case: &Case) -> Result<Results, Error> {
    let (scales, rescale_phi): (Vec<f64>, _) =
        (case.setting("scales")?, case.setting("rescale_phi")?);
    let (shape, plain) = case.dense("eps_uncond", Axes::Image)?;
    let labelled = case.dense("eps_cond", Axes::Image)?.1;
    let both = TensorType::f32(&[2 * shape[0], shape[1], shape[2], shape[3]]);
    let mut results = Results::new();
    for of in scales {
        for (name, scale, rescale) in
            [("scale", of, 0.0), ("rescaled", of, rescale_phi), ("ho_salimans", 1.0 + of, 0.0)]
        {
            let mut graph = Graph::new();
            let predictions = graph.input(both);
            let op = Guide { scale: scale.into(), rescale: rescale.into(), channels: shape.last() };
            let y = graph.push(op, &[predictions])?;
            graph.outputs.push(y);
            let mut executor = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
            executor.write(predictions, &[&plain[..], &labelled].concat())?;
            executor.run(1)?;
            results.insert(format!("{name}_{of:?}"), stored(&shape, [&executor.read(y)?]));
        }
    }
    Ok(results)
}
