//! A small graph for each fusion, to be compared with itself unfused.
use super::BenchCase;
use crate::{
    diffusion::samplers::Table,
    error::Error,
    graph::Graph,
    ops::{
        Add, AddEmbedding, Attention, Concat, Conv2d, Counter, GroupNorm, Linear, SamplingRow,
        Scale, Silu, TimestepEmbedding, UpsampleNearest,
    },
    passes,
    value::{ElementType, TensorType, Value},
};

/// Steps of the trajectory.
const STEPS: usize = 50;

const CONV: Conv2d = Conv2d { stride: 1, padding: [1; 4] };

/// A graph under construction, of images with these extents.
struct Builder {
    graph: Graph,
    batch: usize,
    side: usize,
    channels: usize,
}

/// Graphs of images `[batch, side, side, channels]`, one for each fusion, then a block of all.
///
/// ```
/// use ddim::{bench_cases::fusions, plan::Target};
///
/// let cases = fusions([1, 8, 16])?;
/// assert_eq!(cases[0].title(), "fusion/norm and silu 1x8x8x16");
/// let variants = cases[0].variants(&Target::default());
/// assert!(variants.iter().map(|variant| &variant.name).eq(["fused", "unfused"]));
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// If the channels are no multiple of the groups, 8.
pub fn fusions(extents: [usize; 3]) -> Result<Vec<BenchCase>, Error> {
    type Build = fn(&mut Builder) -> Result<Vec<Value>, Error>;
    let builds: [(&str, Build); 13] = [
        ("norm and silu", Builder::norm_alone),
        ("upsampling read in place", Builder::upsampling),
        ("norm and silu where read", Builder::prologue),
        ("concatenation read in place", Builder::concatenation),
        ("embedding added where written", Builder::embedding),
        ("residual added where written", Builder::residual),
        ("moments where written", Builder::moments),
        ("silu of a linear layer", Builder::activation),
        ("projections of an embedding as one", Builder::projections),
        ("queries, keys and values as one", Builder::attention),
        ("time embedding of a trajectory at once", Builder::trajectory),
        ("gradients through norm and silu", Builder::gradients),
        ("residual block", Builder::block),
    ];
    let [batch, side, channels] = extents;
    let case = |(name, build): (&str, Build)| {
        let mut builder = Builder { graph: Graph::new(), batch, side, channels };
        builder.graph.outputs = build(&mut builder)?;
        let name = format!("{name} {batch}x{side}x{side}x{channels}");
        Ok(BenchCase::fusion(name, builder.graph))
    };
    builds.into_iter().map(case).collect()
}

impl Builder {
    fn image(&mut self, side: usize, channels: usize) -> Value {
        self.graph.input(TensorType::f32(&[self.batch, side, side, channels]))
    }

    fn x(&mut self) -> Value {
        self.image(self.side, self.channels)
    }

    fn row(&mut self) -> Value {
        self.graph.input(TensorType::f32(&[self.batch, self.channels]))
    }

    /// With a bias; the weights are constants.
    fn conv(&mut self, x: Value) -> Result<Value, Error> {
        let (from, to) = (self.graph.type_of(x).shape.last(), self.channels);
        let weight = self.graph.constant(TensorType::f32(&[3, 3, from, to]));
        let bias = self.graph.constant(TensorType::f32(&[to]));
        self.graph.push(CONV, &[x, weight, bias])
    }

    fn linear(&mut self, x: Value) -> Result<Value, Error> {
        let (from, to) = (self.graph.type_of(x).shape.last(), self.channels);
        let weight = self.graph.constant(TensorType::f32(&[from, to]));
        let bias = self.graph.constant(TensorType::f32(&[to]));
        self.graph.push(Linear, &[x, weight, bias])
    }

    fn norm(&mut self, x: Value) -> Result<Value, Error> {
        let channels = self.graph.type_of(x).shape.last();
        let [weight, bias] = [(); 2].map(|()| self.graph.constant(TensorType::f32(&[channels])));
        self.graph.push(GroupNorm { groups: 8, eps: 1e-6.into() }, &[x, weight, bias])
    }

    fn norm_silu(&mut self, x: Value) -> Result<Value, Error> {
        let y = self.norm(x)?;
        self.graph.push(Silu, &[y])
    }

    fn norm_alone(&mut self) -> Result<Vec<Value>, Error> {
        let x = self.x();
        Ok(vec![self.norm_silu(x)?])
    }

    fn upsampling(&mut self) -> Result<Vec<Value>, Error> {
        let x = self.image(self.side / 2, self.channels);
        let x = self.graph.push(UpsampleNearest, &[x])?;
        Ok(vec![self.conv(x)?])
    }

    fn prologue(&mut self) -> Result<Vec<Value>, Error> {
        let x = self.x();
        let x = self.norm_silu(x)?;
        Ok(vec![self.conv(x)?])
    }

    fn concatenation(&mut self) -> Result<Vec<Value>, Error> {
        let (x0, x1) = (self.x(), self.x());
        let x = self.graph.push(Concat, &[x0, x1])?;
        let x = self.norm_silu(x)?;
        Ok(vec![self.conv(x)?])
    }

    fn embedding(&mut self) -> Result<Vec<Value>, Error> {
        let (x, embedding) = (self.x(), self.row());
        let y = self.conv(x)?;
        Ok(vec![self.graph.push(AddEmbedding, &[y, embedding])?])
    }

    fn residual(&mut self) -> Result<Vec<Value>, Error> {
        let (x, residual) = (self.x(), self.x());
        let y = self.conv(x)?;
        Ok(vec![self.graph.push(Add, &[y, residual])?])
    }

    fn moments(&mut self) -> Result<Vec<Value>, Error> {
        let x = self.x();
        let y = self.conv(x)?;
        let z = self.norm_silu(y)?;
        Ok(vec![y, z])
    }

    fn activation(&mut self) -> Result<Vec<Value>, Error> {
        let x = self.x();
        let y = self.linear(x)?;
        Ok(vec![self.graph.push(Silu, &[y])?])
    }

    fn projections(&mut self) -> Result<Vec<Value>, Error> {
        let (mut x, embedding) = (self.x(), self.row());
        for _ in 0..4 {
            let projected = self.linear(embedding)?;
            x = self.conv(x)?;
            x = self.graph.push(AddEmbedding, &[x, projected])?;
        }
        Ok(vec![x])
    }

    fn attention(&mut self) -> Result<Vec<Value>, Error> {
        let x = self.x();
        // Large scores would pick a key by their rounding.
        let less = Scale { scale: (1.0 / self.channels as f64).into(), shift: 0.0.into() };
        let x = self.graph.push(less, &[x])?;
        let [q, k, v] = [self.linear(x)?, self.linear(x)?, self.linear(x)?];
        Ok(vec![self.graph.push(Attention::to_all(1), &[q, k, v])?])
    }

    fn trajectory(&mut self) -> Result<Vec<Value>, Error> {
        let (x, counter) = (self.x(), self.graph.input(Counter::of()));
        let table = self.graph.constant(TensorType::f32(&[STEPS, Table::COLUMNS]));
        let row = self.graph.push_all(SamplingRow { batch: self.batch }, &[counter, table])?;
        let embedding = TimestepEmbedding {
            width: self.channels,
            flip_sin_to_cos: false,
            freq_shift: 1.0.into(),
            max_period: 10_000.0.into(),
            element: ElementType::F32,
        };
        let embedding = self.graph.push(embedding, &[row[2]])?;
        let hidden = self.linear(embedding)?;
        let hidden = self.graph.push(Silu, &[hidden])?;
        let projected = self.linear(hidden)?;
        let y = self.conv(x)?;
        Ok(vec![self.graph.push(AddEmbedding, &[y, projected])?])
    }

    fn gradients(&mut self) -> Result<Vec<Value>, Error> {
        let x = self.x();
        let y = self.norm_silu(x)?;
        let y = self.conv(y)?;
        let dy = self.x();
        let of: Vec<Value> = self.graph.inputs.iter().copied().filter(|v| *v != dy).collect();
        let gradients = passes::gradient(&mut self.graph, y, dy, &of)?;
        Ok(gradients.into_iter().flatten().chain([y]).collect())
    }

    fn block(&mut self) -> Result<Vec<Value>, Error> {
        let (x, embedding) = (self.x(), self.row());
        let y = self.norm_silu(x)?;
        let y = self.conv(y)?;
        let y = self.graph.push(AddEmbedding, &[y, embedding])?;
        let y = self.norm_silu(y)?;
        let y = self.conv(y)?;
        Ok(vec![self.graph.push(Add, &[y, x])?])
    }
}
