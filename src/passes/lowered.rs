//! What lowering hands to the passes after it.
use crate::{
    graph::{Equation, Graph},
    plan::{Choices, Section, StagedPart},
    value::{TensorType, Value},
};
use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

/// A value that lies inside another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// The value that holds it.
    pub whole: Value,
    /// First byte.
    pub offset: u64,
}

/// A graph as dispatches over values that have no place yet.
#[derive(Debug)]
pub(super) struct Lowered {
    /// The setup, then the graph's sections; those of `staged` come to stand before them.
    pub sections: Vec<Section>,
    /// The tensors that are packed on upload.
    pub staged: Vec<StagedPart>,
    /// The launches of each equation of the graph in its section, as they were lowered.
    pub own: Vec<Range<usize>>,
    /// How often each family was chosen.
    pub choices: Choices,
    /// Types of all values, scratch included.
    pub types: Vec<TensorType>,
    /// Where values lie that have no buffer of their own.
    pub parts: Parts,
    /// Values that several equations fill, bit by bit: their gaps must stay zero.
    pub arenas: HashSet<Value>,
}

impl Lowered {
    /// Bytes that each equation binds beside values of the graph, if nothing was taken out of the setup yet.
    pub fn scratch(&self, graph: &Graph) -> Vec<u64> {
        let known = graph.types().len();
        let of = |(equation, own): (&Equation, &Range<usize>)| {
            let launches = &self.sections[1 + equation.section].launches[own.clone()];
            let bindings = launches.iter().flat_map(|launch| &launch.bindings);
            let roots = bindings.filter_map(|of| Some(self.parts.place(of.value?).0.index()));
            let scratch: HashSet<usize> = roots.filter(|&index| index >= known).collect();
            scratch.into_iter().map(|index| self.types[index].bytes()).sum()
        };
        graph.equations.iter().zip(&self.own).map(of).collect()
    }
}

/// Values that share the bytes of another.
#[derive(Debug, Default)]
pub(super) struct Parts(pub HashMap<Value, Part>);

impl Parts {
    /// The buffer-owning value behind `value`, and the first byte in it.
    pub fn place(&self, mut value: Value) -> (Value, u64) {
        let mut offset = 0;
        while let Some(part) = self.0.get(&value) {
            offset += part.offset;
            value = part.whole;
        }
        (value, offset)
    }
}
