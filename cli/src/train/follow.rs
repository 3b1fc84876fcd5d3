//! A rank that is not the first: it trains, and neither says nor writes anything.
use ddim::{
    data::{Images, Loader, Loading},
    error::TrainingError,
    training::Trainer,
};
use std::ops::ControlFlow;

/// Trains until `steps` steps are done in all, or another rank ends the run.
pub fn follow(
    trainer: &mut Trainer,
    images: &Images,
    loading: Loading,
    steps: u64,
) -> Result<(), ddim::Error> {
    loop {
        let (options, done) = (trainer.options(), trainer.steps());
        let mut loader = Loader::new(images, options.images(), options.seed, loading, done);
        match trainer.train_on(&mut loader, steps, |_| ControlFlow::Continue(())) {
            // The first rank has these numbers too, says so and ends the run. Until it looks at them it takes more
            // steps, which change nothing, and in each of them it waits for this rank.
            Err(ddim::Error::Training(TrainingError::NotFinite { .. })) => {}
            ended => return ended,
        }
    }
}
