//! The classifier: trained once, then kept in the folder.
use super::record::{Record, Row};
use crate::{console::say, failure::Failure, files, progress::Progress};
use ddim::{
    classifier::{Checkpoints, Classifier},
    data::Dataset,
    gpu::Gpu,
    models::classifier::ConvClassifier,
};
use std::path::Path;

/// Its file and the folder of its training, below that of the experiments.
pub const FILE: &str = "classifier.safetensors";
pub const TRAINING: &str = "classifier";

/// Names of the classifier's row in the CSV.
pub const CLASSIFIER: &str = "classifier";
pub const ACCURACY: &str = "accuracy on the test set";

/// Steps between checkpoints of its training.
const SAVE_EVERY: u64 = 100;

/// The classifier of the experiments in `folder`, trained now if there is none with its accuracy in
/// the record. Its training goes on after a break.
pub fn open(
    gpu: &Gpu,
    folder: &Path,
    [training, test]: [&Dataset; 2],
    steps: u64,
    seed: u64,
    record: &mut Record,
) -> Result<Classifier, Failure> {
    let size = [training.height(), training.width(), training.channels()];
    let classes = training.classes().unwrap_or(0).max(test.classes().unwrap_or(0));
    let network = ConvClassifier { size, classes };
    let (path, training_folder) = (folder.join(FILE), folder.join(TRAINING));
    if path.exists() && record.find(CLASSIFIER, ACCURACY, 0).is_some() {
        files::remove(&training_folder)?;
        return Ok(Classifier::load(gpu, network, &path)?);
    }
    let options = Classifier::options(seed);
    let mut progress = Progress::new("classifier", 0, steps, "steps");
    let checkpoints = Checkpoints { folder: &training_folder, every: SAVE_EVERY };
    let hear = |done, loss| progress.update(done, &format!("loss {loss:.4}"));
    let (mut classifier, seconds) =
        Classifier::train(gpu, network, training, &options, steps, Some(checkpoints), hear)?;
    drop(progress);
    classifier.save(&path)?;
    let value = classifier.accuracy(test)?;
    let (experiment, setting) = (CLASSIFIER.into(), ACCURACY.into());
    let row = Row { experiment, setting, steps: 0, value, images: test.len(), seconds };
    record.append(vec![row])?;
    files::remove(&training_folder)?;
    say!(
        "classifier: {:.2}% of {} test images right, {steps} steps in {seconds:.0} s",
        100.0 * value,
        test.len()
    );
    Ok(classifier)
}
