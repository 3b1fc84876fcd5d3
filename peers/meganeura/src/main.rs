//! meganeura on the training step of its own tiny U-Net, with Adam. Its result is the loss of
//! each step so far.
use meganeura::{
    Graph, Session, SessionConfig, build,
    graph::Op,
    models::sd_unet::{self, SDUNetConfig},
};
use peer_common::{Result, Work, parameter, serve, uniform};

struct Training {
    session: Session,
    losses: Vec<f32>,
    note: String,
}

impl Work for Training {
    fn run(&mut self) -> Result<()> {
        self.session.step();
        self.session.wait();
        Ok(())
    }

    fn prepare(&mut self) -> Result<()> {
        if self.session.adam_step_count() > 0 {
            self.losses.push(self.session.read_loss());
        }
        Ok(())
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        self.prepare()?;
        Ok(self.losses.clone())
    }

    fn notes(&self) -> Vec<String> {
        vec![self.note.clone()]
    }
}

/// Multiply-adds of convolutions, products and attention, counted as two: the forward pass.
fn operations(graph: &Graph) -> f64 {
    let shape = |id| &graph.node(id).ty.shape;
    let each = graph.nodes().iter().map(|node| {
        let outputs = node.ty.num_elements() as f64;
        match &node.op {
            Op::Conv2d { in_channels, kernel_h, kernel_w, .. } => {
                2.0 * outputs * f64::from(in_channels * kernel_h * kernel_w)
            }
            Op::MatMul => 2.0 * outputs * shape(node.inputs[0])[1] as f64,
            Op::MultiHeadAttn { .. } => 4.0 * outputs * shape(node.inputs[1])[0] as f64,
            _ => 0.0,
        }
    });
    each.sum()
}

fn training() -> Result<(String, Box<dyn Work>)> {
    let config = SDUNetConfig::tiny();
    let mut graph = Graph::new();
    let loss = sd_unet::build_training_graph(&mut graph, &config);
    graph.set_outputs(vec![loss]);
    let parameters = sd_unet::count_params(&config);
    // The backward pass of each costs twice the forward pass.
    let gflop = 3.0 * operations(&graph) / 1e9;
    let note = format!("{parameters} parameters, {gflop:.2} GFLOP a step");

    let mut session = build(&graph, SessionConfig::default()).0;
    for node in graph.nodes() {
        match &node.op {
            Op::Parameter { name } => {
                // Flat in the graph, so that the gain is not known: of the size of a small start.
                let count = node.ty.num_elements();
                let numbers = match parameter(name, &[count]) {
                    norm if name.contains("norm") => norm,
                    others => others.into_iter().map(|x| 0.4 * x).collect(),
                };
                session.set_parameter(name, &numbers);
            }
            Op::Input { name } => {
                session.set_input(name, &uniform(1, node.ty.num_elements(), 1.0));
            }
            _ => {}
        }
    }
    session.set_adam(1e-4, 0.9, 0.999, 1e-8);
    let adapter = session.device_information().device_name.clone();
    Ok((adapter, Box::new(Training { session, losses: Vec::new(), note })))
}

fn main() {
    serve(|kind, _| if kind == "tiny_training" { training().map(Some) } else { Ok(None) });
}
