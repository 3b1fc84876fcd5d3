//! Parameters that stay as they are while a graph runs.
use super::{
    Adapters, Arenas, ElementTypes, Layers, Model, ModelInputs, ParameterSource, ParameterSpec,
    Piece, Views, parameters,
};
use crate::{error::Error, graph::Graph, value::Value};

/// Parameters in arenas that are constants of a graph.
///
/// Example: [`FrozenModel`].
#[derive(Clone, Debug)]
pub struct FrozenParameters {
    /// Their layout.
    pub arenas: Arenas,
    /// The inputs that are the arenas.
    pub inputs: Vec<Value>,
}

impl FrozenParameters {
    /// Adds the arenas.
    pub fn new(graph: &mut Graph, arenas: Arenas) -> Self {
        let inputs = arenas.inputs(graph);
        Self { arenas, inputs }
    }

    /// The parameters in them.
    ///
    /// # Errors
    /// If `graph` is not the one that they were added to.
    pub fn views(&self, graph: &mut Graph) -> Result<Views, Error> {
        self.arenas.views(graph, &self.inputs)
    }

    /// The graph's inputs that hold the parameters, and what to write to each: see [`Arenas::pieces`].
    ///
    /// # Errors
    /// If a parameter is missing or has another shape.
    pub fn pieces<'a>(
        &'a self,
        source: &'a dyn ParameterSource,
    ) -> Result<impl Iterator<Item = (Value, impl Iterator<Item = Piece<'a>>)>, Error> {
        Ok(self.inputs.iter().copied().zip(self.arenas.pieces(source)?))
    }

    /// The graph's inputs that hold the parameters, and what to write to each, whole.
    ///
    /// # Errors
    /// As [`Arenas::contents`].
    pub fn contents(&self, source: &dyn ParameterSource) -> Result<Vec<(Value, Vec<f32>)>, Error> {
        Ok(self.inputs.iter().copied().zip(self.arenas.contents(source)?).collect())
    }
}

/// A model in a graph, its parameters in arenas that are constant while the graph runs.
///
/// ```no_run
/// # use ddim::{gpu::{Executor, Gpu, GpuOptions}, models::unet2d::{UNet, UNetConfig}, passes};
/// # use ddim::{graph::Graph, value::{ElementType, TensorType}};
/// use ddim::nn::{Condition, ElementTypes, FrozenModel, ModelInputs, Weights};
///
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// let unet = UNet::new(UNetConfig::default())?;
/// let mut graph = Graph::new();
/// let x = graph.input(TensorType::f32(&[1, 32, 32, 3]));
/// let timesteps = graph.input(TensorType::f32(&[1]));
/// let condition = Condition::inputs(&mut graph, &unet, 1);
/// let inputs = ModelInputs { x, timesteps, condition };
/// let (most, types) = (gpu.target().max_binding, ElementTypes::of(ElementType::F16));
/// let model = FrozenModel::stored(&mut graph, &unet, &inputs, most, types)?;
/// graph.outputs.push(model.prediction);
///
/// let mut executor = Executor::new(&gpu, passes::compile(&graph, gpu.target())?)?;
/// let weights = Weights::initial(&model.parameters.arenas.specs, 7);
/// for (arena, pieces) in model.pieces(&weights)? {
///     executor.write_pieces(arena, pieces)?;
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FrozenModel {
    /// The prediction, `[batch, height, width, out_channels]`.
    pub prediction: Value,
    /// Its parameters.
    pub parameters: FrozenParameters,
    /// Those of its adapters, if it has any.
    pub adapters: Option<FrozenParameters>,
    /// All of them by name.
    pub views: Views,
}

impl FrozenModel {
    /// Appends `model`, its arenas of at most `max_bytes` each.
    ///
    /// # Errors
    /// As [`Model::build`].
    pub fn new(
        graph: &mut Graph,
        model: &dyn Model,
        inputs: &ModelInputs,
        max_bytes: u64,
    ) -> Result<Self, Error> {
        Self::stored(graph, model, inputs, max_bytes, ElementTypes::default())
    }

    /// As [`FrozenModel::new`], its weights and activations stored as `types` says; adapters are f32, and the
    /// prediction has the storage of `inputs.x`.
    ///
    /// # Errors
    /// As [`Model::build`].
    pub fn stored(
        graph: &mut Graph,
        model: &dyn Model,
        inputs: &ModelInputs,
        max_bytes: u64,
        types: ElementTypes,
    ) -> Result<Self, Error> {
        let of = graph.type_of(inputs.x);
        let own = parameters(model, [of.shape[0], of.shape[1], of.shape[2]])?;
        let arenas = Arenas::stored(own, types.weights, max_bytes);
        Self::adapted(graph, arenas, model.adapters(), max_bytes, |layers| {
            let x = layers.cast(inputs.x, types.activations)?;
            let prediction = model.build(layers, &ModelInputs { x, ..*inputs })?;
            layers.cast(prediction, of.element)
        })
    }

    /// Appends what `build` makes of these parameters, their arenas of at most `max_bytes` each.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn of(
        graph: &mut Graph,
        parameters: Vec<ParameterSpec>,
        max_bytes: u64,
        build: impl FnOnce(&mut Layers) -> Result<Value, Error>,
    ) -> Result<Self, Error> {
        Self::adapted(graph, Arenas::new(parameters, max_bytes), None, max_bytes, build)
    }

    /// Appends what `build` makes of the parameters in these arenas and of adapters, whose arenas take at most
    /// `max_bytes` each.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn adapted(
        graph: &mut Graph,
        arenas: Arenas,
        adapters: Option<&Adapters>,
        max_bytes: u64,
        build: impl FnOnce(&mut Layers) -> Result<Value, Error>,
    ) -> Result<Self, Error> {
        let parameters = FrozenParameters::new(graph, arenas);
        let mut views = parameters.views(graph)?;
        let of = adapters.map(|of| {
            let arenas = Arenas::new(of.specs.clone(), max_bytes);
            (of, FrozenParameters::new(graph, arenas))
        });
        if let Some((of, frozen)) = &of {
            let own = frozen.views(graph)?;
            views.extend(of.scaled(graph, own)?);
        }
        let prediction = build(&mut Layers::new(graph, &views, None))?;
        Ok(Self { prediction, parameters, adapters: of.map(|(_, frozen)| frozen), views })
    }

    /// As [`FrozenParameters::pieces`], of adapters too.
    ///
    /// # Errors
    /// If a parameter is missing or has another shape.
    pub fn pieces<'a>(
        &'a self,
        source: &'a dyn ParameterSource,
    ) -> Result<impl Iterator<Item = (Value, impl Iterator<Item = Piece<'a>>)>, Error> {
        let adapters = self.adapters.as_ref().map(|of| of.pieces(source)).transpose()?;
        Ok(self.parameters.pieces(source)?.chain(adapters.into_iter().flatten()))
    }

    /// As [`FrozenParameters::contents`], of adapters too.
    ///
    /// # Errors
    /// As [`Arenas::contents`].
    pub fn contents(&self, source: &dyn ParameterSource) -> Result<Vec<(Value, Vec<f32>)>, Error> {
        let all = [Some(&self.parameters), self.adapters.as_ref()].into_iter().flatten();
        Ok(all.map(|of| of.contents(source)).collect::<Result<Vec<_>, _>>()?.concat())
    }
}
