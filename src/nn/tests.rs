use super::{Arenas, Layers, Views, Weights, trace};
use crate::{error::Error, graph::Graph, ops::Conv2d, value::TensorType, value::Value};

fn block(layers: &mut Layers, x: Value) -> Result<Value, Error> {
    layers.scope("block", |layers| {
        let h = layers.conv2d("conv", x, 5, 3, Conv2d { stride: 1, padding: [1; 4] })?;
        let h = layers.group_norm("norm", h, 5, 1e-5)?;
        let once = layers.linear("shared", h, 5)?;
        layers.linear("shared", once, 5)
    })
}

fn image(graph: &mut Graph) -> Value {
    graph.input(TensorType::f32(&[1, 4, 4, 3]))
}

#[test]
fn tracing_finds_each_parameter_once_in_the_order_of_use() {
    let (found, _) = trace(Graph::new(), |layers| {
        let x = image(layers.graph);
        block(layers, x)
    })
    .expect("layers that fit");
    let names: Vec<&str> = found.iter().map(|spec| spec.name.as_str()).collect();
    let parts = ["conv.weight", "conv.bias", "norm.weight", "norm.bias", "shared.weight"];
    let mut expected: Vec<String> = parts.iter().map(|part| format!("block.{part}")).collect();
    expected.push("block.shared.bias".into());
    assert_eq!(names, expected);

    let mut graph = Graph::new();
    let x = image(&mut graph);
    let error = block(&mut Layers::new(&mut graph, &Views::default(), None), x);
    let error = error.expect_err("no parameter is given").to_string();
    assert!(error.contains("block.conv.weight"), "{error}");
}

#[test]
fn arenas_give_back_the_weights_that_they_were_filled_with() {
    let (found, _) = trace(Graph::new(), |layers| {
        let x = image(layers.graph);
        block(layers, x)
    })
    .expect("layers that fit");
    let weights = Weights::initial(&found, 3);
    for (most, count) in [(1 << 20, 1), (2048, 2), (4, found.len())] {
        let arenas = Arenas::new(found.clone(), most);
        assert_eq!(arenas.arenas.len(), count, "at most {most} bytes");
        let contents = arenas.contents(&weights).expect("every parameter");
        assert!(
            contents.iter().zip(&arenas.arenas).all(|(of, size)| of.len() == size.shape.elements())
        );
        let again = arenas.weights(contents.into_iter().map(Ok::<_, Error>));
        assert_eq!(again.expect("what was written"), weights);
    }
    let mut fewer = weights;
    fewer.insert("block.norm.bias", TensorType::f32(&[4]).shape, vec![0.0; 4]);
    let arenas = Arenas::new(found, 1 << 20);
    assert!(arenas.contents(&fewer).is_err(), "another shape");
    let error = arenas.views(&mut Graph::new(), &[]).expect_err("no arena").to_string();
    assert!(error.contains("takes 1 operands, found 0"), "{error}");
}
