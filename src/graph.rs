//! The language: a straight-line program over tensors. Above 300 lines: building,
//! checking and printing one type.
//!
//! ```
//! use ddim::{graph::Graph, ops::{Linear, Silu}, value::TensorType};
//!
//! let mut graph = Graph::new();
//! let x = graph.input(TensorType::f32(&[8, 4]));
//! let weight = graph.constant(TensorType::f32(&[4, 3]));
//! let h = graph.push(Linear, &[x, weight])?;
//! let y = graph.push(Silu, &[h])?;
//! graph.outputs.push(y);
//! graph.verify()?;
//! assert_eq!(graph.type_of(y), TensorType::f32(&[8, 3]));
//! assert!(graph.to_string().contains("%2: f32[8,3] = linear %0 %1\n"));
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program: `examples/convolution.rs`.
use crate::{
    error::{Error, GraphError},
    ops::{Op, Operator},
    plan::{Scope, Section, Trigger},
    value::{GraphId, TensorType, Value},
};
use std::{collections::HashSet, fmt};

/// `outputs = op(inputs)`.
///
/// Example: [`Graph`].
#[derive(Clone, Debug, PartialEq)]
pub struct Equation {
    /// What is computed.
    pub op: Op,
    /// Operands, in the op's order.
    pub inputs: Vec<Value>,
    /// Results, in the op's order.
    pub outputs: Vec<Value>,
    /// Where in the model.
    pub scope: Scope,
    /// Index into [`Graph::sections`].
    pub(crate) section: usize,
    /// How many equations before it compute the same, of which nothing is left.
    pub(crate) again: u32,
}

/// After a run, `state` holds what `next` computed: parameters, moments, counters.
///
/// Example: [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// An input of the graph.
    pub state: Value,
    /// Its next contents.
    pub next: Value,
}

/// A straight-line program: equations in execution order, every value defined once.
///
/// ```
/// use ddim::{graph::Graph, ops::Add, value::TensorType};
///
/// let mut graph = Graph::new();
/// let [total, x] = [(); 2].map(|()| graph.input(TensorType::f32(&[4])));
/// graph.enter("sum");
/// let next = graph.push(Add, &[total, x])?;
/// graph.leave();
/// graph.update(total, next);
/// assert_eq!(graph.equations[0].scope.as_str(), "sum");
/// assert!(graph.to_string().ends_with("%2: f32[4] = add %0 %1   // sum\nupdate %0 <- %2\n"));
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Graph {
    graph: GraphId,
    types: Vec<TensorType>,
    /// The program.
    pub equations: Vec<Equation>,
    /// What callers provide: data, parameters, state.
    pub inputs: Vec<Value>,
    /// Inputs that callers write rarely, such as the weights of a finished model: what depends
    /// on them alone is computed once after they were written, not in every run.
    pub constants: Vec<Value>,
    /// What callers may read after a run.
    pub outputs: Vec<Value>,
    /// What the next run starts from.
    pub updates: Vec<Update>,
    scope: Vec<String>,
    sections: Vec<(String, Trigger)>,
}

impl Default for Graph {
    fn default() -> Self {
        Self::new()
    }
}

impl Graph {
    /// An empty program.
    pub fn new() -> Self {
        Self {
            graph: GraphId::new(),
            types: Vec::new(),
            equations: Vec::new(),
            inputs: Vec::new(),
            constants: Vec::new(),
            outputs: Vec::new(),
            updates: Vec::new(),
            scope: Vec::new(),
            sections: vec![(Section::STEP.to_owned(), Trigger::EveryRun)],
        }
    }

    /// The graph's identity.
    pub(crate) fn graph_id(&self) -> GraphId {
        self.graph
    }

    /// Types of all values, in their order.
    pub fn types(&self) -> &[TensorType] {
        &self.types
    }

    /// Type of a value, if it is one of this graph.
    pub fn find(&self, value: Value) -> Option<TensorType> {
        self.types.get(value.index()).copied().filter(|_| value.graph_id() == self.graph)
    }

    /// Refuses values of other graphs, given to `user`.
    ///
    /// # Errors
    /// Names the first of them.
    pub(crate) fn check(&self, user: &str, values: &[Value]) -> Result<(), GraphError> {
        match values.iter().find(|value| self.find(**value).is_none()) {
            None => Ok(()),
            Some(&value) => Err(GraphError::Foreign { user: user.to_owned(), value }),
        }
    }

    /// Adds an input of this type.
    pub fn input(&mut self, of: TensorType) -> Value {
        let value = self.value(of);
        self.inputs.push(value);
        value
    }

    /// Adds an input of this type that callers write rarely: see [`Graph::constants`]. What follows from
    /// it is computed anew after [`Executor::write`](crate::gpu::Executor::write), and after work
    /// of the caller's own on its buffer only if
    /// [`Executor::written`](crate::gpu::Executor::written) says so.
    pub fn constant(&mut self, of: TensorType) -> Value {
        let value = self.input(of);
        self.constants.push(value);
        value
    }

    /// Names a value of this type that the next equation defines.
    fn value(&mut self, of: TensorType) -> Value {
        self.types.push(of);
        Value::new(self.graph, self.types.len() - 1)
    }

    /// Type of a value.
    ///
    /// # Panics
    /// If it is a value of another graph: see [`Graph::find`].
    pub fn type_of(&self, value: Value) -> TensorType {
        match self.find(value) {
            Some(of) => of,
            None => panic!("{value} is a value of another graph"),
        }
    }

    /// Appends `op(inputs)` and returns its first output.
    ///
    /// # Errors
    /// If the operands do not fit the op.
    pub fn push(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Result<Value, Error> {
        Ok(self.push_all(op, inputs)?[0])
    }

    /// Appends `op(inputs)` and returns all its outputs.
    ///
    /// # Errors
    /// If the operands do not fit the op.
    pub fn push_all(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Result<Vec<Value>, Error> {
        let scope = Scope::new(&self.scope());
        self.push_scoped(op.into(), inputs, scope)
    }

    /// Appends `op(inputs)` under the given scope; passes use this to keep the origin.
    ///
    /// # Errors
    /// If the operands do not fit the op.
    pub fn push_scoped(
        &mut self,
        op: Op,
        inputs: &[Value],
        scope: Scope,
    ) -> Result<Vec<Value>, Error> {
        if let Err(GraphError::Foreign { value, .. }) = self.check("", inputs) {
            return Err(GraphError::Foreign { user: op.to_string(), value }.into());
        }
        let types: Vec<TensorType> = inputs.iter().map(|v| self.type_of(*v)).collect();
        let outputs: Vec<Value> = op.infer(&types)?.into_iter().map(|of| self.value(of)).collect();
        let (inputs, section) = (inputs.to_vec(), self.sections.len() - 1);
        let equation = Equation { op, inputs, outputs: outputs.clone(), scope, section, again: 0 };
        self.equations.push(equation);
        Ok(outputs)
    }

    /// Begins a section: what is pushed from here on runs together, after the sections before it in
    /// each run, or alone by
    /// [`Executor::run_section`](crate::gpu::Executor::run_section). Passes move nothing from one
    /// section to another, and what a section leaves to another keeps its place.
    pub fn section(&mut self, name: &str) {
        self.begin(name, Trigger::EveryRun);
    }

    /// Begins a section that runs only when it is called by name.
    pub fn section_by_name(&mut self, name: &str) {
        self.begin(name, Trigger::ByName);
    }

    fn begin(&mut self, name: &str, trigger: Trigger) {
        let current = self.sections.len() - 1;
        if self.equations.last().is_none_or(|equation| equation.section < current) {
            self.sections.pop();
        }
        self.sections.push((name.to_owned(), trigger));
    }

    /// Names of the sections, in order, and when each runs.
    pub fn sections(&self) -> &[(String, Trigger)] {
        &self.sections
    }

    /// Appends `name` to the scope of what is pushed from here on.
    pub fn enter(&mut self, name: &str) {
        self.scope.push(name.to_owned());
    }

    /// Takes the last name off the scope.
    pub fn leave(&mut self) {
        self.scope.pop();
    }

    /// The scope as a path.
    pub fn scope(&self) -> String {
        self.scope.join("/")
    }

    /// Declares that after a run `state`, an input, holds what `next` computed.
    pub fn update(&mut self, state: Value, next: Value) {
        self.updates.push(Update { state, next });
    }

    /// Checks that the program is well formed: definitions before uses, types as inferred, sections
    /// one after another.
    ///
    /// # Errors
    /// The first violation.
    pub fn verify(&self) -> Result<(), Error> {
        self.check("the graph's inputs", &self.inputs)?;
        self.check("the graph's constants", &self.constants)?;
        for equation in &self.equations {
            for values in [&equation.inputs, &equation.outputs] {
                if let Err(GraphError::Foreign { value, .. }) = self.check("", values) {
                    return Err(GraphError::Foreign { user: equation.op.to_string(), value }.into());
                }
            }
        }
        let mut defined: HashSet<Value> = HashSet::new();
        for &value in &self.inputs {
            let of = self.type_of(value);
            if !of.is_countable() {
                return Err(GraphError::Size { value, of }.into());
            }
            defined.insert(value);
        }
        for (number, equation) in self.equations.iter().enumerate() {
            self.verify_equation(number, equation, &mut defined)?;
        }
        let names: HashSet<&String> = self.sections.iter().map(|(name, _)| name).collect();
        let in_order = self.equations.is_sorted_by_key(|equation| equation.section);
        if names.len() < self.sections.len() || !in_order {
            return Err(GraphError::Sections.into());
        }
        Ok(self.verify_ends(&defined)?)
    }

    fn verify_equation(
        &self,
        number: usize,
        equation: &Equation,
        defined: &mut HashSet<Value>,
    ) -> Result<(), Error> {
        let op = || equation.op.to_string();
        for &value in &equation.inputs {
            if !defined.contains(&value) {
                return Err(GraphError::Undefined { equation: number, op: op(), value }.into());
            }
        }
        let types: Vec<_> = equation.inputs.iter().map(|v| self.type_of(*v)).collect();
        let inferred = equation.op.infer(&types)?;
        let (expected, found) = (inferred.len(), equation.outputs.len());
        if expected != found {
            let op = op();
            return Err(GraphError::Results { equation: number, op, expected, found }.into());
        }
        for (&value, inferred) in equation.outputs.iter().zip(inferred) {
            if !defined.insert(value) {
                return Err(GraphError::Redefined { equation: number, op: op(), value }.into());
            }
            let recorded = self.type_of(value);
            if recorded != inferred {
                return Err(GraphError::Type { value, op: op(), recorded, inferred }.into());
            }
        }
        Ok(())
    }

    /// Outputs and updates name what there is.
    fn verify_ends(&self, defined: &HashSet<Value>) -> Result<(), GraphError> {
        let dangling = |role, value, problem| Err(GraphError::Dangling { role, value, problem });
        for &value in &self.outputs {
            if !defined.contains(&value) {
                return dangling("output", value, "never defined");
            }
        }
        for &Update { state, next } in &self.updates {
            if !self.inputs.contains(&state) {
                return dangling("update state", state, "not an input");
            }
            if !defined.contains(&next) {
                return dangling("update", next, "never defined");
            }
            if self.inputs.contains(&next) {
                return dangling("update", next, "an input, which no equation computes");
            }
            let (expected, found) = (self.type_of(state), self.type_of(next));
            if expected != found {
                return Err(GraphError::UpdateType { state, expected, next, found });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &value in &self.inputs {
            writeln!(f, "input {value}: {}", self.type_of(value))?;
        }
        let mut section = None;
        for equation in &self.equations {
            let name = self.sections.get(equation.section).map(|(name, _)| name);
            if let Some(name) = name.filter(|name| section.replace(*name) != Some(*name))
                && name != Section::STEP
            {
                writeln!(f, "section {name}")?;
            }
            for (n, &value) in equation.outputs.iter().enumerate() {
                let separator = if n == 0 { "" } else { ", " };
                write!(f, "{separator}{value}: {}", self.type_of(value))?;
            }
            write!(f, " = {}", equation.op)?;
            for value in &equation.inputs {
                write!(f, " {value}")?;
            }
            if equation.scope.as_str().is_empty() {
                writeln!(f)?;
            } else {
                writeln!(f, "   // {}", equation.scope.as_str())?;
            }
        }
        for update in &self.updates {
            writeln!(f, "update {} <- {}", update.state, update.next)?;
        }
        for value in &self.outputs {
            writeln!(f, "output {value}")?;
        }
        Ok(())
    }
}
