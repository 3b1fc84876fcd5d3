//! The classifier: trained once, then kept in the folder.
use super::record::{Record, Row};
use crate::{console::say, failure::Failure, progress::Progress};
use ddim::{
    classifier::{Classifier, Network},
    data::Dataset,
    gpu::Gpu,
};
use std::{path::Path, time::Instant};

/// Names of the classifier's row in the CSV.
pub const CLASSIFIER: &str = "classifier";
pub const ACCURACY: &str = "accuracy on the test set";

/// The classifier of `path`, trained now if there is none with its accuracy in the record.
pub fn open(
    gpu: &Gpu,
    path: &Path,
    [training, test]: [&Dataset; 2],
    steps: u64,
    seed: u64,
    record: &mut Record,
) -> Result<Classifier, Failure> {
    let size = [training.height(), training.width(), training.channels()];
    let classes = training.classes().unwrap_or(0).max(test.classes().unwrap_or(0));
    let network = Network { size, classes };
    if path.exists() && record.find(CLASSIFIER, ACCURACY, 0).is_some() {
        return Ok(Classifier::load(gpu, network, path)?);
    }
    let start = Instant::now();
    let options = Classifier::options(seed);
    let mut progress = Progress::new("classifier", 0, steps, "steps");
    let mut classifier =
        Classifier::train(gpu, network, training, &options, steps, |done, loss| {
            progress.update(done, &format!("loss {loss:.4}"));
        })?;
    progress.finish();
    let seconds = start.elapsed().as_secs_f64();
    classifier.save(path)?;
    let value = classifier.accuracy(test)?;
    let (experiment, setting) = (CLASSIFIER.into(), ACCURACY.into());
    let row = Row { experiment, setting, steps: 0, value, images: test.len(), seconds };
    record.append(vec![row])?;
    say!(
        "classifier: {:.2}% of {} test images right, {steps} steps in {seconds:.0} s",
        100.0 * value,
        test.len()
    );
    Ok(classifier)
}
