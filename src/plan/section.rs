//! Launches that run together, and when.
use super::Dispatch;
use crate::value::Value;

/// When a section runs.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedPart {
    /// The arena, an input that has no buffer.
    pub input: Value,
    /// The tensor.
    pub part: Value,
    /// The tensor's first byte in the arena.
    pub offset: u64,
}
