//! Numbers that are not finite: found on the device, read together with the results.
use crate::{
    error::{FoundIn, NotFinite},
    ops::{Counter, SamplingStep},
};

impl NotFinite {
    /// Of a row of [`VariationalBound`](crate::ops::VariationalBound)'s measures.
    ///
    /// # Errors
    /// [`NotFinite::Vlb`] if the output or a term is not finite.
    pub(crate) fn check_vlb(measures: [f32; 4], image: u32, timestep: usize) -> Result<(), Self> {
        let found_in = match measures {
            [.., bad] if bad != 0.0 => FoundIn::Output,
            measures if measures.iter().all(|number| number.is_finite()) => return Ok(()),
            _ => FoundIn::Result,
        };
        Err(Self::Vlb { image, timestep, found_in })
    }

    /// What a sampling run of so many steps left in its counter.
    ///
    /// # Errors
    /// [`NotFinite::Sampling`] if a step met something.
    pub(crate) fn check(counter: Counter, steps: usize) -> Result<(), Self> {
        let Some(step) = counter.bad_step else { return Ok(()) };
        // The first bad tensor of a step spoils the later ones.
        let order = [
            (SamplingStep::BAD_SAMPLE, FoundIn::Sample),
            (SamplingStep::BAD_OUTPUT, FoundIn::Output),
            (SamplingStep::BAD_MEMORY, FoundIn::Memory),
            (SamplingStep::BAD_GRADIENT, FoundIn::Gradient),
        ];
        let first = order.into_iter().find(|(part, _)| counter.bad_parts & part != 0);
        let found_in = first.map_or(FoundIn::Result, |(_, found_in)| found_in);
        Err(Self::Sampling { step: step as usize + 1, steps, found_in })
    }
}
