//! Training with weights and activations in halves: copies of the masters, and the loss scale of f16.
use super::{
    optimizer::{Halves, Optimizer, Scaling},
    options::TrainingOptions,
    trainer::Trainer,
};
use crate::{
    error::{Error, TrainingError, Unexpected},
    gpu::Executor,
    graph::Graph,
    nn::Model,
    ops::{Advance, CastInto, NextScale},
    value::{ElementType, TensorType, Value},
};

/// The loss scale of a run in f16. A step whose gradients are not finite is skipped: it changes nothing but its own number,
/// and the scale is halved.
///
/// ```no_run
/// use ddim::training::{LossScale, Trainer};
/// # use ddim::gpu::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
///
/// let (mut trainer, _) = Trainer::resume(&gpu, "model".as_ref())?;
/// if let Some(LossScale { scale, in_row, skipped }) = trainer.loss_scale()? {
///     println!("{skipped} steps skipped, {in_row} of them just now; the scale is {scale}");
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// The scale.
    pub scale: f32,
    /// Steps skipped in a row, up to now.
    pub in_row: u64,
    /// Steps skipped in all.
    pub skipped: u64,
}

impl TrainingOptions {
    /// Refuses halves for what is always trained in f32.
    pub(crate) fn check_f32(&self, of: &str) -> Result<(), TrainingError> {
        let fits = self.precision == ElementType::F32;
        let expected = format!("f32, for {of}");
        Ok(Unexpected::check(fits, "precision", expected, self.precision)?)
    }

    /// Refuses halves for adapters: their two matrices are small, and `frozen` says how the others are stored.
    pub(super) fn check_precision(&self, model: &dyn Model) -> Result<(), TrainingError> {
        match model.adapters() {
            Some(_) => self.check_f32("adapters, whose model is stored as `frozen` says"),
            None => Ok(()),
        }
    }
}

impl Optimizer {
    /// The same for a step that stores weights and activations so: of the arenas, which are
    /// [`Arenas::masters`](crate::nn::Arenas::masters), those of kernels, matrices and tables have copies in halves, which
    /// each update writes too. f16 has a loss scale, whose first number the caller writes. Comes before
    /// [`Optimizer::begin`].
    ///
    /// ```
    /// use ddim::{graph::Graph, nn::Arenas, training::Optimizer, value::ElementType};
    /// # use ddim::models::classifier::ConvClassifier;
    /// # let network = ConvClassifier { size: [8, 8, 1], classes: 10 };
    ///
    /// let (mut graph, stored) = (Graph::new(), ElementType::F16);
    /// let masters = Arenas::masters(network.parameters()?, stored, 128 << 20);
    /// let optimizer = Optimizer::new(&mut graph, masters).storing(&mut graph, stored)?;
    /// let halves = optimizer.halves[0].expect("kernels come first");
    /// assert_eq!(graph.type_of(halves.made).element, stored);
    /// assert!(optimizer.scaling.is_some());
    /// # Ok::<(), ddim::Error>(())
    /// ```
    ///
    /// # Errors
    /// None of the graph that it was made for.
    pub fn storing(mut self, graph: &mut Graph, element: ElementType) -> Result<Self, Error> {
        let copies = self.arenas.copies(element).arenas;
        if copies != self.arenas.arenas {
            graph.section_by_name(Self::HALVES);
        }
        for ((halves, of), &master) in self.halves.iter_mut().zip(copies).zip(&self.state[0]) {
            if of != graph.type_of(master) {
                let state = graph.input(of);
                let made = graph.push(CastInto, &[state, master])?;
                *halves = Some(Halves { state, made });
            }
        }
        self.scaling = (element == ElementType::F16).then(|| {
            let [scale, tally] = [1, 4].map(|extent| graph.input(TensorType::f32(&[extent])));
            Scaling { scale, tally }
        });
        Ok(self)
    }

    /// Moves the counter on; a loss scale may skip a bad step.
    pub(super) fn advance(
        &self,
        graph: &mut Graph,
        [counter, key, norm]: [Value; 3],
    ) -> Result<(), Error> {
        let mut operands = vec![counter, key, norm];
        if let Some(Scaling { scale, tally }) = self.scaling {
            let op = NextScale { interval: Self::GROWTH, skips: Self::SKIPS };
            let next = graph.push_all(op, &[scale, tally, norm, key])?;
            graph.update(scale, next[0]);
            graph.update(tally, next[1]);
            operands.push(next[1]);
        }
        let advanced = graph.push(Advance { guarded: true }, &operands)?;
        graph.update(self.counter, advanced);
        Ok(())
    }

    /// Waits, then returns the scale, the good steps since it changed, and the steps skipped in a row and in all; nothing
    /// without a loss scale.
    pub(super) fn scaled(&self, executor: &mut Executor) -> Result<Option<[f32; 4]>, Error> {
        let Some(Scaling { scale, tally }) = self.scaling else { return Ok(None) };
        let (scale, tally) = (executor.read(scale)?, executor.read(tally)?);
        Ok(Some([scale[0], tally[0], tally[1], tally[2]]))
    }

    /// As [`Optimizer::scaled`], without blocking.
    pub(super) async fn scaled_async(
        &self,
        executor: &mut Executor,
    ) -> Result<Option<[f32; 4]>, Error> {
        let Some(Scaling { scale, tally }) = self.scaling else { return Ok(None) };
        let scale = executor.read_async(scale).await?;
        let tally = executor.read_async(tally).await?;
        Ok(Some([scale[0], tally[0], tally[1], tally[2]]))
    }
}

impl<M, S> Trainer<M, S> {
    /// Waits, then returns the loss scale, if the run has one.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn loss_scale(&mut self) -> Result<Option<LossScale>, Error> {
        let scaled = self.graph.optimizer.scaled(&mut self.executor)?;
        Ok(scaled.map(|[scale, _, in_row, skipped]| LossScale {
            scale,
            in_row: in_row as u64,
            skipped: skipped as u64,
        }))
    }

    /// Goes on with these numbers of a loss scale, or with those of a new run.
    pub(super) fn set_scaling(&mut self, known: Option<[f32; 4]>) -> Result<(), Error> {
        let Some(Scaling { scale, tally }) = self.graph.optimizer.scaling else { return Ok(()) };
        let [number, good, in_row, skipped] = known.unwrap_or([NextScale::FIRST, 0.0, 0.0, 0.0]);
        self.executor.write(scale, &[number])?;
        self.executor.write(tally, &[good, in_row, skipped, 0.0])
    }
}
