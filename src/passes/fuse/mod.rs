//! Small equations into fused ones, after autodiff: a fused op needs no gradient. Each step looks
//! at a finished graph and keeps what callers, updates or other equations still read; what nobody
//! reads any more is dropped by `simplify` between the steps.
use super::rewrite;
use crate::{error::Error, graph::Graph};

mod addends;
mod attention;
mod loads;
mod norms;
mod projections;
mod trajectory;

use addends::{activations, addends, gradients, moments};
use attention::attention;
use loads::{concatenations, prologues, upsampling};
use norms::norms;
use projections::projections;
use trajectory::trajectory;

/// A step: the graph with some equations replaced.
type Step = fn(&Graph) -> Result<Graph, Error>;

/// What has to be done in this order.
pub(super) const STEPS: [Step; 11] = [
    norms,
    upsampling,
    prologues,
    concatenations,
    addends,
    gradients,
    projections,
    attention,
    activations,
    moments,
    trajectory,
];
