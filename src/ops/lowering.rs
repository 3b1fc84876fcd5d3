//! What lowering an equation may ask and do. Above 300 lines: one builder.
use super::{Op, Operator, custom::Own};
use crate::{
    error::{Error, LoweringError},
    graph::{Equation, Graph},
    plan::{
        Candidate, Choices, Cost, Dispatch, Elements, KernelSelector, MAX_ITERATIONS,
        MAX_WORKGROUPS, Packed, Problem, Scope, Storage, Target,
    },
    value::{ElementType, GraphId, TensorType, Value},
};
use std::{
    collections::{HashMap, HashSet},
    mem,
    ops::Range,
    time::Duration,
};

/// Collects the dispatches of a plan, equation by equation.
///
/// Example: [`Operator`].
pub struct Lowering<'a> {
    target: &'a Target,
    selector: &'a dyn KernelSelector,
    graph: GraphId,
    pub(super) types: Vec<TensorType>,
    /// Launches of the setup, then of the graph's sections.
    sections: Vec<Vec<Dispatch>>,
    /// The section that launches go to.
    section: usize,
    scope: Scope,
    /// Types of the equation's operands.
    operands: Vec<TensorType>,
    /// Values that follow from constants alone.
    constants: HashSet<Value>,
    /// Whether the plan computes gradients of weights.
    trains: bool,
    differentiates: bool,
    /// How often the equation was computed before.
    again: u32,
    /// Other forms of values, by value, name of the form, its type, the section that makes it and how often
    /// it was made before: what an op of another crate asks for under a name of ours is no form that a
    /// kernel of ours reads, and a form that is kept for what is recomputed would take its memory.
    pub(super) forms: HashMap<(Value, &'static str, TensorType, usize, u32), Value>,
    /// Values that are parts of another one, and the byte in it at which they begin.
    parts: Vec<(Value, Value, u64)>,
    /// The forms that a dispatch makes.
    pub(super) made: HashSet<Value>,
    /// How often each family was chosen.
    choices: Choices,
    /// The equation of the custom op that is lowered, if it is one.
    pub(super) custom: Option<Own>,
}

impl<'a> Lowering<'a> {
    /// The first section: what follows from constants alone.
    const SETUP: usize = 0;

    /// Starts a plan over the values of a graph.
    pub(crate) fn new(target: &'a Target, selector: &'a dyn KernelSelector, graph: &Graph) -> Self {
        Self {
            target,
            selector,
            graph: graph.graph_id(),
            types: graph.types().to_vec(),
            sections: vec![Vec::new(); 1 + graph.sections().len()],
            section: Self::SETUP,
            scope: Scope::default(),
            operands: Vec::new(),
            constants: HashSet::new(),
            trains: false,
            differentiates: false,
            again: 0,
            forms: HashMap::new(),
            parts: Vec::new(),
            made: HashSet::new(),
            choices: Choices::new(),
            custom: None,
        }
    }

    /// Declares that the plan computes gradients of weights.
    pub fn train(&mut self) {
        self.trains = true;
    }

    /// Whether the plan computes gradients of weights: these take the rounding of the forward
    /// pass harder than its own result does.
    pub fn trains(&self) -> bool {
        self.trains
    }

    /// Declares that the plan computes gradients of products or convolutions.
    pub(crate) fn differentiate(&mut self) {
        self.differentiates = true;
    }

    /// Whether the plan computes such gradients, which may be too small for f16.
    pub(crate) fn differentiates(&self) -> bool {
        self.differentiates
    }

    /// Declares that these values follow from constants alone.
    pub(crate) fn mark_constant(&mut self, values: &[Value]) {
        self.constants.extend(values);
    }

    /// Begins an equation of the graph.
    pub(crate) fn begin(&mut self, equation: &Equation) {
        self.enter(equation.section);
        self.again = equation.again;
        self.reads(&equation.inputs);
    }

    /// Says what the equation reads that is lowered next.
    pub(crate) fn reads(&mut self, operands: &[Value]) {
        self.operands = operands.iter().map(|value| self.type_of(*value)).collect();
    }

    /// What is pushed from here on goes to this section of the graph.
    pub(crate) fn enter(&mut self, section: usize) {
        self.section = Self::SETUP + 1 + section;
    }

    /// Lowers one equation: `lower` pushes its dispatches; the largest is charged with `cost`,
    /// unless one says itself what it costs.
    ///
    /// # Errors
    /// Those of `lower`.
    pub fn equation<E>(
        &mut self,
        scope: &Scope,
        cost: Cost,
        lower: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.scope = scope.clone();
        let (section, first) = (self.section, self.sections[self.section].len());
        lower(self)?;
        let own = &mut self.sections[section][first..];
        // The work is the kernels' together; one that says what it computes, or else the largest
        // grid, does nearly all of it.
        let threads = |d: &Dispatch| d.workgroups.iter().map(|&n| u64::from(n)).product::<u64>();
        let size = |d: &Dispatch| (d.cost.flops, d.is_custom(), threads(d));
        if let Some(main) = own.iter_mut().max_by_key(|d| size(d)) {
            main.cost.bytes = cost.bytes;
            if main.cost.flops == 0 {
                main.cost.flops = cost.flops;
            }
        }
        let alone = own.len() == 1 && cost.bytes > 0;
        for dispatch in own {
            let bytes = moved(&self.types, dispatch);
            dispatch.work = if alone { cost } else { Cost { bytes, ..dispatch.cost } };
        }
        Ok(())
    }

    /// How long a candidate takes by the model of the device: its launches, and those that make anew in each run the
    /// forms that it reads; none if nothing says what its workgroups go through.
    pub(super) fn time(&self, candidate: &Candidate) -> Option<Duration> {
        let Candidate { packed, dispatches, .. } = candidate;
        dispatches.iter().find(|launch| launch.executed > 0)?;
        let kept = |form: &&Packed| form.kept && self.constants.contains(&form.of);
        let forms = packed.iter().filter(|form| !kept(form)).map(|form| &form.dispatch);
        forms.chain(dispatches).map(|launch| self.counted(launch)).sum()
    }

    /// How long a launch takes by the model of the device, as choices count it.
    pub(super) fn counted(&self, launch: &Dispatch) -> Option<Duration> {
        self.target.profile.counted(launch, moved(&self.types, launch))
    }

    /// What `lower` pushes goes to the setup if all `inputs` are constant; `outputs` then are too.
    ///
    /// # Errors
    /// Those of `lower`.
    pub(crate) fn fold_constants<E>(
        &mut self,
        inputs: &[Value],
        outputs: &[Value],
        lower: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let constant = |value: &Value| self.constants.contains(value);
        if inputs.is_empty() || !inputs.iter().all(constant) {
            return lower(self);
        }
        self.mark_constant(outputs);
        let outer = mem::replace(&mut self.section, Self::SETUP);
        let result = lower(self);
        self.section = outer;
        result
    }

    /// The device, as plain data.
    pub fn target(&self) -> &Target {
        self.target
    }

    /// Whether kernels may read these as pairs of f32, integers of 64 bits, four to a load: on a
    /// software driver a load costs by the lane and the element, not by its bytes.
    pub(super) fn in_pairs(&self, values: &[Value]) -> bool {
        let fits = |value: &Value| {
            let of = self.type_of(*value);
            of.element == ElementType::F32 && of.shape.last().is_multiple_of(8)
        };
        self.loads_pairs() && values.iter().all(fits)
    }

    /// Whether the device loads f32 in pairs: a software driver with integers of 64 bits.
    fn loads_pairs(&self) -> bool {
        self.target.profile.is_software() && self.target.int64
    }

    /// Type of a value.
    pub fn type_of(&self, value: Value) -> TensorType {
        self.types[value.index()]
    }

    /// A value that only these dispatches see: split-K slots, partial sums. The memory planner
    /// places it like any other.
    pub fn scratch(&mut self, of: TensorType) -> Value {
        self.types.push(of);
        Value::new(self.graph, self.types.len() - 1)
    }

    /// These rows of `whole [1, rows, ..]`, where they lie: a range of its bytes.
    pub(crate) fn rows(&mut self, whole: Value, rows: Range<usize>) -> Value {
        let of = self.type_of(whole);
        let first_byte = rows.start as u64 * of.with_extent(1, 1).bytes();
        self.part(whole, of.with_extent(1, rows.len()), first_byte)
    }

    /// The tensor of this type that begins at a byte of `whole`, where it lies.
    pub(crate) fn part(&mut self, whole: Value, of: TensorType, first_byte: u64) -> Value {
        let part = self.scratch(of);
        self.parts.push((part, whole, first_byte));
        part
    }

    /// The place of another form of `value`: the same for every op that asks for the `form` of
    /// this name. A [`Packed`](crate::plan::Packed) of the candidate says how it is made, and likewise whether that of
    /// a constant is kept.
    pub fn packed(
        &mut self,
        value: Value,
        form: &'static str,
        of: TensorType,
        kept: bool,
    ) -> Value {
        let constant = kept && self.constants.contains(&value);
        let (section, again) = if constant { (Self::SETUP, 0) } else { (self.section, self.again) };
        if let Some(&known) = self.forms.get(&(value, form, of, section, again)) {
            return known;
        }
        let place = self.scratch(of);
        self.forms.insert((value, form, of, section, again), place);
        place
    }

    /// Whether nothing made this form yet; from now on it is made.
    pub(super) fn is_first(&mut self, packed: &Packed) -> bool {
        self.made.insert(packed.form)
    }

    /// Appends the candidate that the plan's [`KernelSelector`] prefers for `op`, of those whose loops are
    /// short enough.
    ///
    /// # Errors
    /// As [`Lowering::push`], and if the choice is none of the candidates.
    pub fn choose(
        &mut self,
        op: &str,
        problem: Problem,
        mut candidates: Vec<Candidate>,
    ) -> Result<(), LoweringError> {
        let fits =
            |candidate: &Candidate| candidate.dispatches.iter().all(Dispatch::is_within_iterations);
        if candidates.iter().any(fits) {
            candidates.retain(fits);
        }
        let operands = self.operands.clone();
        let problem = Problem { op: op.to_owned(), operands, ..problem };
        let index = self.selector.select(self.target, &problem, &candidates);
        if index >= candidates.len() {
            let (op, candidates) = (problem.op, candidates.len());
            return Err(LoweringError::Choice { op, index, candidates });
        }
        let chosen = candidates.swap_remove(index);
        *self.choices.entry((problem.class, chosen.family)).or_default() += 1;
        for packed in chosen.packed {
            if self.is_first(&packed) {
                let of = if packed.kept { &[packed.of][..] } else { &[] };
                self.fold_constants(of, &[packed.form], |lowering| lowering.push(packed.dispatch))?;
            }
        }
        chosen.dispatches.into_iter().try_for_each(|dispatch| self.push(dispatch))
    }

    /// Lowers another op within this equation; its first output is a scratch value.
    ///
    /// # Errors
    /// Those of the op.
    pub(super) fn nested(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Result<Value, Error> {
        let op = op.into();
        let types: Vec<TensorType> = inputs.iter().map(|value| self.type_of(*value)).collect();
        let outputs: Vec<Value> =
            op.infer(&types)?.into_iter().map(|of| self.scratch(of)).collect();
        let (inputs, first, scope) = (inputs.to_vec(), outputs[0], self.scope.clone());
        let equation = Equation { op, inputs, outputs, scope, section: 0, again: 0 };
        equation.op.lower(self, &equation)?;
        Ok(first)
    }

    /// The dispatches that `lower` would append, for a candidate.
    ///
    /// # Errors
    /// Those of `lower`.
    pub(super) fn captured<T>(
        &mut self,
        lower: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<(Vec<Dispatch>, T), Error> {
        let first = self.sections[self.section].len();
        let result = lower(self)?;
        Ok((self.sections[self.section].split_off(first), result))
    }

    /// Appends a dispatch. The storage types of `activation4` and `weight4` follow from the
    /// bound values; in what it multiplies it says itself.
    ///
    /// # Errors
    /// If a value's storage is not the shader's, or a binding or grid passes a limit.
    pub fn push(&mut self, mut dispatch: Dispatch) -> Result<(), LoweringError> {
        let kernel = format!("{}.{}", dispatch.kernel.shader, dispatch.kernel.entry);
        self.check_custom(&dispatch)?;
        let (mut activation, mut weight) = (None, None);
        for binding in &dispatch.bindings {
            let Some(value) = binding.value else { continue };
            if value.graph_id() != self.graph || value.index() >= self.types.len() {
                return Err(LoweringError::Foreign { kernel, value });
            }
            let (of, name) = (self.type_of(value), binding.name.to_owned());
            if of.bytes() > self.target.max_binding {
                let (bytes, limit) = (of.bytes(), self.target.max_binding);
                return Err(LoweringError::Binding { kernel, name, of, bytes, limit });
            }
            let expected = match binding.storage {
                Storage::Activation => *activation.get_or_insert(of.element),
                Storage::Weight => *weight.get_or_insert(of.element),
                Storage::F32 => ElementType::F32,
                Storage::U32 => ElementType::U32,
                Storage::Bits => of.element,
            };
            if of.element != expected {
                let expected = expected.to_string();
                return Err(LoweringError::Storage { kernel, name, expected, found: of });
            }
        }
        let stored = |element: Option<ElementType>| element.unwrap_or(ElementType::F32);
        let [activation, weight] = [activation, weight].map(stored);
        let packed = !self.target.f16 && [activation, weight].contains(&ElementType::F16);
        let arithmetic = dispatch.kernel.elements.arithmetic;
        // A caller's own kernel declares its types itself.
        let paired = self.loads_pairs() && !dispatch.is_custom();
        dispatch.kernel.elements = Elements { activation, weight, packed, paired, arithmetic };
        if dispatch.workgroups.iter().any(|&n| n > MAX_WORKGROUPS) {
            return Err(LoweringError::Grid {
                kernel,
                grid: dispatch.workgroups,
                limit: MAX_WORKGROUPS,
            });
        }
        if !dispatch.is_within_iterations() {
            return Err(LoweringError::Iterations {
                kernel,
                iterations: dispatch.iterations,
                limit: MAX_ITERATIONS,
            });
        }
        // An empty grid computes nothing, and some backends refuse it.
        if dispatch.workgroups.contains(&0) {
            return Ok(());
        }
        let own = self.custom.is_none() && !dispatch.is_custom();
        dispatch.trusted = own || dispatch.vouched;
        let pads = self.pads(&dispatch);
        dispatch.scope = self.scope.clone();
        dispatch.recomputes = self.again > 0;
        self.sections[self.section].push(dispatch);
        pads.into_iter().try_for_each(|dispatch| self.push(dispatch))
    }

    /// Appends the first of these ways to launch a kernel whose loops are short enough.
    ///
    /// # Errors
    /// As [`Lowering::push`].
    pub(super) fn push_first<const N: usize>(
        &mut self,
        ways: [Dispatch; N],
    ) -> Result<(), LoweringError> {
        let way = ways.into_iter().reduce(
            |first, next| {
                if first.is_within_iterations() { first } else { next }
            },
        );
        way.map_or(Ok(()), |way| self.push(way))
    }

    /// The values that are parts of another one, and the byte in it at which they begin.
    pub(crate) fn parts(&self) -> &[(Value, Value, u64)] {
        &self.parts
    }

    /// How many launches the section has that launches go to.
    pub(crate) fn launches(&self) -> usize {
        self.sections[self.section].len()
    }

    /// The launches of the setup and of each section of the graph, the types of all values, scratch
    /// included, and how often each family was chosen.
    pub(crate) fn finish(self) -> (Vec<Vec<Dispatch>>, Vec<TensorType>, Choices) {
        (self.sections, self.types, self.choices)
    }
}

/// Bytes of a launch: those that its op states, or those of the tensors that it binds.
fn moved(types: &[TensorType], launch: &Dispatch) -> u64 {
    if launch.work.bytes > 0 {
        return launch.work.bytes;
    }
    let bound = launch.bindings.iter().filter_map(|binding| binding.value);
    bound.map(|value| types[value.index()].bytes()).sum()
}
