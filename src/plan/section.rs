//! Launches that run together, and when.
use super::Dispatch;
use crate::value::Value;

/// When a section runs.
///
/// Example: [`Section`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// In each run, and when it is called by name.
    EveryRun,
    /// After a write of one of these constants, before the next launches that are asked for.
    AfterWrite(Vec<Value>),
    /// When it is called by name.
    ByName,
}

/// Launches that run together, in order.
///
/// ```
/// # use ddim::{graph::Graph, ops::Silu, passes, plan::Target, value::TensorType};
/// use ddim::plan::{Section, Trigger};
///
/// let mut graph = Graph::new();
/// let x = graph.input(TensorType::f32(&[8]));
/// let h = graph.push(Silu, &[x])?;
/// graph.section_by_name("report");
/// let y = graph.push(Silu, &[h])?;
/// graph.outputs.push(y);
/// let plan = passes::compile(&graph, &Target::default())?;
/// let found: Vec<_> = plan.sections.iter().map(|of| (of.name.as_str(), &of.trigger)).collect();
/// assert_eq!(found, [(Section::STEP, &Trigger::EveryRun), ("report", &Trigger::ByName)]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// What it is called by. A section that runs after a write is not.
    pub name: String,
    /// When it runs.
    pub trigger: Trigger,
    /// What it runs.
    pub launches: Vec<Dispatch>,
}

impl Section {
    /// Name of the section that the equations before the first [`Graph::section`] are in.
    ///
    /// [`Graph::section`]: crate::graph::Graph::section
    pub const STEP: &str = "step";

    /// Whether it runs after a write of constants.
    pub fn is_setup(&self) -> bool {
        matches!(self.trigger, Trigger::AfterWrite(_))
    }
}

/// One tensor of a weight arena that is packed on upload: its bytes go to a temporary slot, then a
/// section of its own packs it.
///
/// ```
/// # use ddim::{graph::Graph, ops::{Conv2d, View}, passes, value::TensorType};
/// use ddim::plan::{DeviceProfile, Target};
///
/// let mut graph = Graph::new();
/// let x = graph.input(TensorType::f32(&[1, 8, 8, 16]));
/// let arena = graph.constant(TensorType::f32(&[3 * 3 * 16 * 16]));
/// let view = View { offset: 0, of: TensorType::f32(&[3, 3, 16, 16]) };
/// let weight = graph.push(view, &[arena])?;
/// let y = graph.push(Conv2d { stride: 1, padding: [1; 4] }, &[x, weight])?;
/// graph.outputs.push(y);
/// // The kernels of this device read a packed weight.
/// let profile = DeviceProfile::SOFTWARE;
/// let target = Target { subgroup: Some(8), profile, ..Target::default() };
/// let plan = passes::compile(&graph, &target)?;
/// assert_eq!((plan.staged[0].input, plan.staged[0].part), (arena, weight));
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedPart {
    /// The arena, an input that has no buffer.
    pub input: Value,
    /// The tensor.
    pub part: Value,
    /// The tensor's first byte in the arena.
    pub offset: u64,
}
