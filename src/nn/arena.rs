//! Arenas: flat tensors in which the parameters of a model lie, one after another.
use super::{ParameterSource, ParameterSpec, Weights};
use crate::{
    error::Error,
    graph::Graph,
    ops::{Constant, Pack, View},
    value::{ElementType, TensorType, Value},
};
use std::{borrow::Cow, collections::HashMap, iter, ops::Range};

/// What fills an arena: dense elements that follow each other.
///
/// Example: [`crate::nn::FrozenModel`].
pub type Piece<'a> = Result<Cow<'a, [f32]>, Error>;

/// Position of a parameter.
///
/// Example: [`Arenas`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which arena.
    pub arena: usize,
    /// First element.
    pub offset: usize,
}

/// Parameters laid into flat arenas, each of one storage and none larger than the device binds.
/// Gradients, moments and moving averages of f32 parameters use the same places in arenas of their own.
///
/// ```
/// # use ddim::{Error, graph::Graph, value::TensorType};
/// use ddim::nn::{Arenas, Initial, ParameterSpec, Place, Weights};
///
/// let (of, initial) = (TensorType::f32(&[4, 3]), Initial::Normal(1.0));
/// let specs = vec![ParameterSpec { name: "last.weight".into(), of, initial }];
/// let weights = Weights::initial(&specs, 7);
/// let arenas = Arenas::new(specs, 1 << 20);
/// assert_eq!(arenas.places, [Place { arena: 0, offset: 0 }]);
///
/// let mut graph = Graph::new();
/// let inputs = arenas.inputs(&mut graph);
/// let views = arenas.views(&mut graph, &inputs)?;
/// assert_eq!(views.get("last.weight").map(|value| graph.type_of(value)), Some(of));
/// // What to write to the inputs, and the parameters in what was read from them.
/// let contents = arenas.contents(&weights)?;
/// assert_eq!(arenas.weights(contents.into_iter().map(Ok::<_, Error>))?, weights);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Arenas {
    /// The parameters.
    pub specs: Vec<ParameterSpec>,
    /// Their places.
    pub places: Vec<Place>,
    /// Type of each arena, `[elements]`.
    pub arenas: Vec<TensorType>,
}

impl Arenas {
    /// Lays the parameters out in order, in f32 arenas of at most `max_bytes`.
    pub fn new(specs: Vec<ParameterSpec>, max_bytes: u64) -> Self {
        Self::stored(specs, ElementType::F32, max_bytes)
    }

    /// As [`Arenas::new`], the kernels, matrices and tables stored as `weights`; biases and the parameters
    /// of norms stay f32, for they are few and sums begin with them.
    pub fn stored(mut specs: Vec<ParameterSpec>, weights: ElementType, max_bytes: u64) -> Self {
        let mut arenas: Vec<TensorType> = Vec::new();
        let mut places = Vec::with_capacity(specs.len());
        for spec in &mut specs {
            let element = if spec.of.shape.len() > 1 { weights } else { ElementType::F32 };
            spec.of.element = element;
            let size = View::room(spec.of);
            let open = arenas.iter().rposition(|arena| arena.element == element);
            let filled = open.map_or(0, |arena| arenas[arena].shape.elements());
            let arena = open.filter(|_| (element.bytes() * (filled + size)) as u64 <= max_bytes);
            let (arena, offset) = arena.map_or((arenas.len(), 0), |arena| (arena, filled));
            let of = TensorType::f32(&[offset + size]).with_element(element);
            if arena == arenas.len() {
                arenas.push(of);
            } else {
                arenas[arena] = of;
            }
            places.push(Place { arena, offset });
        }
        Self { specs, places, arenas }
    }

    /// f32 arenas whose contents have copies in halves, [`Arenas::copies`]: kernels, matrices and tables lie apart
    /// from biases and the parameters of norms, at places where the copies may be cut into views. In f32
    /// these are the arenas of [`Arenas::new`].
    ///
    /// ```
    /// use ddim::nn::{Arenas, Initial, ParameterSpec, Weights};
    /// use ddim::{Error, value::{ElementType, TensorType}};
    ///
    /// let spec = |name: &str, shape: &[usize]| {
    ///     let (of, initial) = (TensorType::f32(shape), Initial::Normal(1.0));
    ///     ParameterSpec { name: name.into(), of, initial }
    /// };
    /// let specs = vec![spec("weight", &[4, 3]), spec("bias", &[3]), spec("last", &[3, 2])];
    /// let masters = Arenas::masters(specs, ElementType::Bf16, 1 << 20);
    /// let copies = masters.copies(ElementType::Bf16);
    /// assert_eq!(masters.arenas[0], TensorType::f32(&[256]));
    /// assert_eq!(copies.arenas[0], masters.arenas[0].with_element(ElementType::Bf16));
    /// assert_eq!(copies.arenas[1], masters.arenas[1]);
    /// let weights = Weights::initial(&masters.specs, 7);
    /// let contents = masters.contents(&weights)?.into_iter().map(Ok::<_, Error>);
    /// assert_eq!(masters.weights(contents)?, weights);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn masters(specs: Vec<ParameterSpec>, copies: ElementType, max_bytes: u64) -> Self {
        let mut masters = Self::stored(specs, copies, max_bytes / 4 * copies.bytes() as u64);
        let all = masters.specs.iter_mut().map(|spec| &mut spec.of).chain(&mut masters.arenas);
        all.for_each(|of| of.element = ElementType::F32);
        masters
    }

    /// The layout of the copies of [`Arenas::masters`] for the same storage: arenas of biases and of the parameters of
    /// norms stay f32, and have none.
    ///
    /// Example: [`Arenas::masters`].
    pub fn copies(&self, element: ElementType) -> Self {
        let mut copies = self.clone();
        for (spec, place) in copies.specs.iter_mut().zip(&copies.places) {
            if spec.of.shape.len() > 1 {
                spec.of.element = element;
                copies.arenas[place.arena].element = element;
            }
        }
        copies
    }

    /// One graph input per arena, a constant: see [`Graph::constants`].
    pub fn inputs(&self, graph: &mut Graph) -> Vec<Value> {
        self.arenas.iter().map(|&of| graph.constant(of)).collect()
    }

    /// Every parameter as a view of its arena.
    ///
    /// # Errors
    /// If the arenas are not this layout's.
    pub fn views(&self, graph: &mut Graph, arenas: &[Value]) -> Result<Views, Error> {
        let mut views = Views::default();
        for (spec, place) in self.specs.iter().zip(&self.places) {
            let view = View { offset: place.offset, of: spec.of };
            let arena = arenas.get(place.arena..=place.arena).unwrap_or_default();
            views.insert(&spec.name, graph.push(view, arena)?);
        }
        Ok(views)
    }

    /// Arenas that hold `gradients`, one per parameter in order; `None` is zero.
    ///
    /// # Errors
    /// If a gradient has not its parameter's type.
    pub fn pack(
        &self,
        graph: &mut Graph,
        gradients: &[Option<Value>],
    ) -> Result<Vec<Value>, Error> {
        let arenas = self.arenas.iter().map(|of| 0..of.shape.elements()).enumerate();
        arenas.map(|(arena, all)| self.pack_part(graph, gradients, arena, all)).collect()
    }

    /// The same for a part of one arena, from a parameter's first element to another's.
    pub(crate) fn pack_part(
        &self,
        graph: &mut Graph,
        gradients: &[Option<Value>],
        arena: usize,
        part: Range<usize>,
    ) -> Result<Value, Error> {
        let (mut offsets, mut operands) = (Vec::new(), Vec::new());
        for ((place, spec), gradient) in self.places.iter().zip(&self.specs).zip(gradients) {
            if place.arena == arena && part.contains(&place.offset) {
                offsets.push(place.offset - part.start);
                operands.push(match gradient {
                    Some(gradient) => *gradient,
                    None => graph.push(Constant { of: spec.of, number: 0.0.into() }, &[])?,
                });
            }
        }
        graph.push(Pack { offsets, elements: part.len() }, &operands)
    }

    /// Number of parameters, as PyTorch counts them.
    pub fn elements(&self) -> usize {
        self.specs.iter().map(|spec| spec.of.shape.elements()).sum()
    }

    /// What fills one arena after another, in pieces that follow each other. A parameter is read when
    /// its piece is asked for.
    ///
    /// # Errors
    /// If a parameter is missing or has another shape.
    pub fn pieces<'a>(
        &'a self,
        source: &'a dyn ParameterSource,
    ) -> Result<impl Iterator<Item = impl Iterator<Item = Piece<'a>>>, Error> {
        for spec in &self.specs {
            if source.shape(&spec.name) != Some(spec.of.shape) {
                let name = format!("{}: {}", spec.name, spec.of);
                return Err(Error::MissingParameter { name });
            }
        }
        Ok((0..self.arenas.len()).map(move |arena| {
            self.rooms(arena).into_iter().flat_map(move |(spec, room)| {
                let rest = room - spec.of.physical_elements();
                let elements = source.elements(&spec.name).map(|of| padded(&spec.of, of));
                iter::once(elements).chain((rest > 0).then(|| Ok(vec![0.0; rest].into())))
            })
        }))
    }

    /// The parameters of an arena, each with the elements up to the next one.
    fn rooms(&self, arena: usize) -> Vec<(&ParameterSpec, usize)> {
        let own = self.specs.iter().zip(&self.places).filter(|(_, at)| at.arena == arena);
        let mut rooms: Vec<_> = own.map(|(spec, at)| (spec, at.offset)).collect();
        let mut end = self.arenas[arena].shape.elements();
        for (_, offset) in rooms.iter_mut().rev() {
            (*offset, end) = (end - *offset, *offset);
        }
        rooms
    }

    /// The contents of one arena after another, each whole.
    ///
    /// # Errors
    /// As [`Arenas::pieces`], or if a parameter cannot be read.
    pub fn contents(&self, source: &dyn ParameterSource) -> Result<Vec<Vec<f32>>, Error> {
        let arenas = self.pieces(source)?.map(|pieces| {
            let mut contents = Vec::new();
            for piece in pieces {
                contents.extend_from_slice(&piece?);
            }
            Ok(contents)
        });
        arenas.collect()
    }

    /// The parameters in `contents`, those of one arena after another.
    ///
    /// # Errors
    /// The first error among `contents`.
    pub fn weights<E>(
        &self,
        contents: impl IntoIterator<Item = Result<Vec<f32>, E>>,
    ) -> Result<Weights, E> {
        let mut weights = Weights::default();
        for (arena, contents) in contents.into_iter().enumerate() {
            let contents = contents?;
            let parameters = self.specs.iter().zip(&self.places);
            for (spec, place) in parameters.filter(|(_, at)| at.arena == arena) {
                let (columns, pitch) = (spec.of.shape.last(), spec.of.pitch());
                let rows = contents[place.offset..].chunks(pitch).take(spec.of.rows());
                let data = rows.flat_map(|row| row[..columns].iter().copied()).collect();
                weights.insert(&spec.name, spec.of.shape, data);
            }
        }
        Ok(weights)
    }
}

/// The rows of a tensor, each padded to its pitch.
fn padded<'a>(of: &TensorType, dense: Cow<'a, [f32]>) -> Cow<'a, [f32]> {
    let (columns, pitch) = (of.shape.last(), of.pitch());
    if columns == pitch {
        return dense;
    }
    let mut padded = vec![0.0; of.physical_elements()];
    for (to, from) in padded.chunks_exact_mut(pitch).zip(dense.chunks_exact(columns)) {
        to[..columns].copy_from_slice(from);
    }
    padded.into()
}

/// The values that stand for a model's parameters in a graph, by name.
///
/// Example: [`Arenas`].
#[derive(Clone, Debug, Default)]
pub struct Views(HashMap<String, Value>);

impl Views {
    /// Adds the value of a parameter.
    pub fn insert(&mut self, name: &str, value: Value) {
        self.0.insert(name.into(), value);
    }

    /// Adds the values of other parameters.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The value of a parameter of the layout that made these views.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.0.get(name).copied()
    }
}
