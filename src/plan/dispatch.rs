//! One kernel launch, and all that its pipeline depends on. Above 300 lines, for what a custom
//! dispatch promises stands here too.
use super::Arithmetic;
use crate::value::{ElementType, Value};
use std::{borrow::Cow, fmt, sync::Arc};

#[path = "../../build/prelude.rs"]
mod prelude;

/// Workgroups that one axis of a grid may have (WebGPU's limit on every device).
///
/// Example: [`fold()`].
pub const MAX_WORKGROUPS: u32 = 65_535;

/// Iterations after which Mesa's lavapipe (22.3.6, Debian 12's) ends every loop of an invocation
/// at its first turn, without a word: those of all its loops together, nested ones multiplied. The
/// turn that finds a loop's end counts too; a loop that the driver unrolls does not.
///
/// Example: [`Kernel`].
pub const MAX_ITERATIONS: u64 = 65_535;

/// Folds a one-dimensional grid into x and y, so that neither passes [`MAX_WORKGROUPS`].
/// Kernels compute their index as `y * num_workgroups.x + x` and skip what lies past the end.
///
/// ```
/// use ddim::plan::{MAX_WORKGROUPS, fold};
///
/// assert_eq!(fold(200), [200, 1, 1]);
/// assert_eq!(fold(100_000), [50_000, 2, 1]);
/// assert!(fold(1 << 30).iter().all(|n| *n <= MAX_WORKGROUPS));
/// ```
pub fn fold(workgroups: usize) -> [u32; 3] {
    let workgroups = workgroups.max(1);
    let y = workgroups.div_ceil(MAX_WORKGROUPS as usize);
    [workgroups.div_ceil(y) as u32, y as u32, 1]
}

/// How a dispatch uses a buffer.
///
/// Example: [`Dispatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    Write,
}

/// What the elements of a bound array are.
///
/// Example: [`Kernel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// `activation4`: f32, f16 or bf16 as the prelude says.
    Activation,
    /// `weight4`: f32, f16 or bf16 as the prelude says.
    Weight,
    /// 32-bit floats.
    F32,
    /// 32-bit unsigned integers.
    U32,
    /// Whatever the value holds, copied as bits.
    Bits,
}

/// One storage buffer of a dispatch.
///
/// Example: [`Dispatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// `@binding(n)`.
    pub binding: u32,
    /// The variable's name in the shader.
    pub name: &'static str,
    /// What is bound; `None` for an absent optional operand (a dummy buffer is bound).
    pub value: Option<Value>,
    /// Read, or read and written.
    pub access: Access,
    /// The array's elements.
    pub storage: Storage,
}

/// The storage types that the prelude gives to `activation4`, `weight4` and `float4`, and what is multiplied.
///
/// Example: [`Kernel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elements {
    /// Behind `activation4`.
    pub activation: ElementType,
    /// Behind `weight4`.
    pub weight: ElementType,
    /// Whether f16 lies two to a `u32`: the device has no type for it.
    pub packed: bool,
    /// Whether f32 are loaded and stored in pairs, as integers of 64 bits.
    pub paired: bool,
    /// In which numbers products are computed, by a kernel that has both ways.
    pub arithmetic: Arithmetic,
}

impl Elements {
    fn four(self, element: ElementType) -> prelude::Four {
        match element {
            ElementType::F16 if self.packed => prelude::Four::PackedF16,
            ElementType::F16 => prelude::Four::F16,
            ElementType::Bf16 => prelude::Four::Bf16,
            ElementType::F32 if self.paired => prelude::Four::PairedF32,
            ElementType::F32 | ElementType::U32 => prelude::Four::F32,
        }
    }
}

impl Default for Elements {
    fn default() -> Self {
        let (activation, weight) = (ElementType::F32, ElementType::F32);
        Self { activation, weight, packed: false, paired: false, arithmetic: Arithmetic::F32 }
    }
}

/// A shader variant: everything that a compiled pipeline depends on.
///
/// ```
/// # use ddim::{graph::Graph, ops::Silu, passes, plan::Target, value::TensorType};
/// use ddim::{plan::{Elements, MAX_ITERATIONS, Storage}, value::ElementType};
///
/// let mut graph = Graph::new();
/// let x = graph.input(TensorType::f16(&[64, 4]));
/// let y = graph.push(Silu, &[x])?;
/// graph.outputs.push(y);
/// let plan = passes::compile(&graph, &Target::default())?;
/// let launch = plan.dispatches().next().expect("one launch");
/// assert_eq!(launch.bindings[0].storage, Storage::Activation);
/// // The target has no f16 in shaders.
/// let (activation, packed) = (ElementType::F16, true);
/// assert_eq!(launch.kernel.elements, Elements { activation, packed, ..Elements::default() });
/// assert!(launch.kernel.wgsl().contains("fn forward"));
/// assert!(launch.iterations < MAX_ITERATIONS);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Name of the file, without extension.
    pub shader: Cow<'static, str>,
    /// WGSL with its imports appended, without prelude.
    pub source: Cow<'static, str>,
    /// Entry point.
    pub entry: Cow<'static, str>,
    /// Pipeline-overridable constants.
    pub overrides: Vec<(&'static str, f64)>,
    /// Constants of the prelude: register tiles.
    pub tiles: Vec<(&'static str, u32)>,
    /// Storage types of the prelude.
    pub elements: Elements,
}

impl Kernel {
    /// The complete WGSL: prelude, source and the conversions of its storage types. The prelude
    /// holds no line break, so line numbers in messages are the file's own.
    pub fn wgsl(&self) -> String {
        let Elements { activation, weight, arithmetic, .. } = self.elements;
        let [activation, weight, float] =
            [activation, weight, ElementType::F32].map(|of| self.elements.four(of));
        let factor = match arithmetic {
            Arithmetic::F32 => prelude::Four::F32,
            Arithmetic::Mixed => prelude::Four::F16,
        };
        let storages = [activation, weight, float, factor];
        prelude::complete(&self.source, storages, self.tiles.iter().copied())
    }

    /// Whether the text needs f16.
    pub(crate) fn computes_f16(&self) -> bool {
        let Elements { activation, weight, packed, arithmetic, .. } = self.elements;
        !packed && [activation, weight].contains(&ElementType::F16)
            || arithmetic == Arithmetic::Mixed
            || prelude::enables(&self.source).any(|name| name == "f16")
    }

    /// Whether subgroups multiply matrices in it.
    pub(crate) fn multiplies_matrices(&self) -> bool {
        prelude::enables(&self.source).any(|name| name == prelude::COOPERATIVE_MATRIX)
    }

    /// Whether the text needs 64-bit integers, for which WGSL has no `enable`.
    pub(crate) fn computes_int64(&self) -> bool {
        self.elements.paired || ["u64", "i64"].iter().any(|word| self.source.contains(word))
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.shader, self.entry)?;
        for element in [("activation", self.elements.activation), ("weight", self.elements.weight)]
        {
            if element.1 != ElementType::F32 {
                write!(f, " {}={}", element.0, element.1)?;
            }
        }
        if self.elements.packed {
            write!(f, " packed")?;
        }
        if self.elements.arithmetic != Arithmetic::F32 {
            write!(f, " arithmetic={}", self.elements.arithmetic)?;
        }
        for (name, value) in &self.tiles {
            write!(f, " {}={value}", name.to_lowercase())?;
        }
        for (name, value) in &self.overrides {
            write!(f, " {}={value}", name.to_lowercase())?;
        }
        Ok(())
    }
}

/// Arithmetic and least memory traffic of an operation.
///
/// Example: [`crate::plan`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations; a multiply-add counts two.
    pub flops: u64,
    /// Bytes: each input read once, each output written once.
    pub bytes: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.flops = self.flops.saturating_add(other.flops);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Where in the model an equation stands, like `down.1/resnet.0/conv1`; a prime marks backward.
///
/// Example: [`crate::graph::Graph`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(Arc<str>);

impl Scope {
    /// The scope with this path.
    pub fn new(path: &str) -> Self {
        Self(path.into())
    }

    /// The scope of the backward equations of this one.
    pub fn backward(&self) -> Self {
        Self(format!("{}'", self.0).into())
    }

    /// Whether it is one of backward equations.
    pub(crate) fn is_backward(&self) -> bool {
        self.0.ends_with('\'')
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One kernel launch.
///
/// ```
/// use ddim::{graph::Graph, plan::{Access, Dispatch}, value::TensorType};
///
/// const WGSL: &str = "
/// @group(0) @binding(1) var<storage, read> x: array<f32>;
/// @group(0) @binding(2) var<storage, read_write> y: array<f32>;
///
/// @compute @workgroup_size(64)
/// fn double(@builtin(global_invocation_id) id: vec3<u32>) {
///     if id.x < arrayLength(&x) { y[id.x] = 2.0 * x[id.x]; }
/// }
/// ";
/// let of = TensorType::f32(&[1000, 3]);
/// let mut graph = Graph::new();
/// let [x, y] = [(); 2].map(|()| graph.input(of));
/// let groups = of.physical_elements().div_ceil(64) as u32;
/// let dispatch = Dispatch::custom(WGSL, "double").read(1, x).write(2, y);
/// let dispatch = dispatch.workgroups([groups, 1, 1]);
/// assert_eq!(dispatch.workgroups, [63, 1, 1]);
/// assert_eq!((dispatch.bindings[1].value, dispatch.bindings[1].access), (Some(y), Access::Write));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// What runs.
    pub kernel: Kernel,
    /// Bytes of the uniform `Params`.
    pub params: Vec<u8>,
    /// Storage buffers.
    pub bindings: Vec<Binding>,
    /// Grid.
    pub workgroups: [u32; 3],
    /// Where in the model.
    pub scope: Scope,
    /// Whether it computes again what a launch before it computed, to save memory.
    pub recomputes: bool,
    /// Share of the equation's cost: of its launches one has it.
    pub cost: Cost,
    /// What this launch does: the operations that it was charged with, and bytes. If it is the
    /// equation's only launch, its cost. Else the bytes that its op states, which does where a launch
    /// takes a part of a large tensor, or those of the tensors that it binds, each once.
    pub work: Cost,
    /// Floating-point operations that its workgroups go through, those past the edges of a tensor
    /// included, where its family says so; else 0. Of minimal filtering they are fewer than the op's.
    pub executed: u64,
    /// Parts that its sums are split into, each for workgroups of its own; else 1.
    pub parts: u32,
    /// Invocations of a workgroup; 0 of a caller's own WGSL, which is not read for it.
    pub invocations: u32,
    /// Whether it may be compiled without run-time checks: see `gpu/pipelines.rs`.
    pub(crate) trusted: bool,
    /// Whether a caller vouches for its own text.
    pub(crate) vouched: bool,
    /// The most iterations of all loops of one invocation together, nested ones multiplied, as the
    /// shader states them: below [`MAX_ITERATIONS`]. 0 of a caller's own WGSL, which states none.
    pub iterations: u64,
    /// Whether a custom shader zeroes the pad lanes itself: see [`Dispatch::zeroes_pads`].
    pub zeroes_pads: bool,
}

impl Dispatch {
    /// A dispatch of a shader of this crate; the generated code of `shaders` calls this.
    #[expect(clippy::too_many_arguments, reason = "only generated code calls it, by position")]
    pub fn new(
        shader: &'static str,
        source: &'static str,
        entry: &'static str,
        overrides: Vec<(&'static str, f64)>,
        tiles: Vec<(&'static str, u32)>,
        params: &[u8],
        bindings: Vec<Binding>,
        workgroups: [u32; 3],
    ) -> Self {
        let (shader, source, entry) = (shader.into(), source.into(), entry.into());
        let elements = Elements::default();
        let kernel = Kernel { shader, source, entry, overrides, tiles, elements };
        Self { params: params.to_vec(), bindings, workgroups, ..Self::of(kernel) }
    }

    /// One workgroup of a kernel that binds nothing yet.
    fn of(kernel: Kernel) -> Self {
        Self {
            kernel,
            params: Vec::new(),
            bindings: Vec::new(),
            workgroups: [1, 1, 1],
            scope: Scope::default(),
            recomputes: false,
            cost: Cost::default(),
            work: Cost::default(),
            executed: 0,
            parts: 1,
            invocations: 0,
            trusted: false,
            vouched: false,
            iterations: 0,
            zeroes_pads: false,
        }
    }

    /// A dispatch of a caller's own WGSL, for an [`Operator`](crate::ops::Operator) of another
    /// crate: `Dispatch::custom(WGSL, "forward").read(1, x).write(2, y).params(bytes)`.
    /// The text is checked against these bindings when the executor is made. Buffers are in
    /// group 0, the parameters a uniform at binding 0. The crate's prelude stands before the text
    /// on its first line, so `enable`s are written `// enable: f16`.
    ///
    /// An f32 tensor is bound as an array of `f32` or of its vectors, matrices, arrays and structs,
    /// an f16 tensor as one of `f16`, a bf16 tensor as one of `u32` that holds two, a u32 tensor as one
    /// of `u32` or `atomic<u32>`: bits are not read as another type. Rows are padded to a multiple of
    /// four elements. The pad lanes of what is read are zero. Those of what is written are zeroed
    /// afterwards, by a dispatch of the crate's unless this one
    /// [zeroes them itself](Dispatch::zeroes_pads). A grid of more than 65,535 workgroups is
    /// [folded](fold), which the shader must know.
    pub fn custom(
        source: impl Into<Cow<'static, str>>,
        entry: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (shader, source, entry) = ("custom".into(), source.into(), entry.into());
        let (overrides, tiles, elements) = (Vec::new(), Vec::new(), Elements::default());
        Self::of(Kernel { shader, source, entry, overrides, tiles, elements })
    }

    /// Sets the invocations of a workgroup; the generated code of `shaders` calls this.
    pub(crate) fn sized(self, invocations: u32) -> Self {
        Self { invocations, ..self }
    }

    /// Sets the most iterations of an invocation; the generated code of `shaders` calls this.
    pub(crate) fn iterating(self, iterations: u128) -> Self {
        Self { iterations: u64::try_from(iterations).unwrap_or(u64::MAX), ..self }
    }

    /// Whether the loops of an invocation end where they should, on every driver.
    pub fn is_within_iterations(&self) -> bool {
        self.iterations < MAX_ITERATIONS
    }

    /// Lets release builds compile a caller's own text without run-time checks: indices are not clamped, loops have no
    /// bound of their own, workgroup memory is not zeroed first. Debug builds keep the checks.
    ///
    /// # Safety
    /// Whatever the tensors hold: no index passes the end of its buffer, every loop ends, and workgroup memory is written
    /// before it is read.
    #[expect(unsafe_code, reason = "the caller vouches for WGSL that this crate does not read")]
    pub unsafe fn without_checks(self) -> Self {
        Self { vouched: true, ..self }
    }

    /// Whether it may be compiled without run-time checks: a kernel of this crate, appended by an op of this crate, or
    /// one for which its caller vouches: [`Dispatch::without_checks`].
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Whether this runs a caller's own WGSL.
    pub fn is_custom(&self) -> bool {
        self.kernel.shader == "custom"
    }

    /// Binds `value` as `var<storage, read>` at `@binding(binding)`.
    pub fn read(self, binding: u32, value: Value) -> Self {
        self.bind(binding, value, Access::Read)
    }

    /// Binds `value` as `var<storage, read_write>` at `@binding(binding)`.
    pub fn write(self, binding: u32, value: Value) -> Self {
        self.bind(binding, value, Access::Write)
    }

    fn bind(mut self, binding: u32, value: Value, access: Access) -> Self {
        let storage = Storage::Bits;
        self.bindings.push(Binding { binding, name: "", value: Some(value), access, storage });
        self
    }

    /// Declares that the shader writes zeros to the pad lanes of whatever it writes: nothing then
    /// zeroes them afterwards. Kernels that read the tensor rely on it.
    pub fn zeroes_pads(mut self) -> Self {
        self.zeroes_pads = true;
        self
    }

    /// Takes bound values as bits, whatever they hold: the shader's types are not theirs.
    pub(crate) fn of_bits(mut self) -> Self {
        self.bindings.iter_mut().for_each(|binding| binding.storage = Storage::Bits);
        self
    }

    /// Sets the bytes of `@binding(0) var<uniform>`.
    pub fn params(mut self, bytes: &[u8]) -> Self {
        self.params = bytes.to_vec();
        self
    }

    /// Sets the grid; see [`fold`].
    pub fn workgroups(mut self, workgroups: [u32; 3]) -> Self {
        self.workgroups = workgroups;
        self
    }

    /// Sets a pipeline-overridable constant of a custom shader.
    pub fn constant(mut self, name: &'static str, value: f64) -> Self {
        self.kernel.overrides.push((name, value));
        self
    }
}

impl fmt::Display for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [", self.kernel)?;
        for (n, binding) in self.bindings.iter().enumerate() {
            let separator = if n == 0 { "" } else { " " };
            match binding.value {
                Some(value) => write!(f, "{separator}{}={value}", binding.name)?,
                None => write!(f, "{separator}{}=-", binding.name)?,
            }
        }
        let [x, y, z] = self.workgroups;
        write!(f, "] {x}x{y}x{z}")?;
        let again = if self.recomputes { " (again)" } else { "" };
        if !self.scope.as_str().is_empty() {
            write!(f, "   // {}{again}", self.scope.as_str())?;
        }
        Ok(())
    }
}
