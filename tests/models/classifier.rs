//! The classifier learns, keeps what it learned in a file, and says it of any number of images.
use crate::common::support;
use ddim::{
    Error,
    classifier::{Checkpoints, Classifier, likeliest},
    data::{Dataset, digits, digits_test_part},
    error::TrainingError,
    models::classifier::ConvClassifier,
    training::TrainingOptions,
};

const NETWORK: ConvClassifier = ConvClassifier { size: [8, 8, 1], classes: 10 };

/// The embedded digits in their two parts: to learn from, and to be tested on.
fn parts() -> [Dataset; 2] {
    let digits = digits();
    let labels = digits.labels().expect("digits have labels");
    [false, true].map(|wanted| {
        let chosen = digits_test_part().enumerate().filter(|(_, test)| *test == wanted);
        let (mut pixels, mut classes) = (Vec::new(), Vec::new());
        for (index, _) in chosen {
            pixels.extend(digits.image(index).map(|x| ((x + 1.0) * 127.5).round() as u8));
            classes.push(labels[index]);
        }
        Dataset::from_pixels("part", [8, 8, 1], pixels, Some(classes)).expect("whole images")
    })
}

#[test]
fn it_learns_the_digits_and_a_file_keeps_it() {
    let Some(gpu) = support::gpu() else { return };
    let [training, test] = parts();
    let options = TrainingOptions { batch: 32, ..Classifier::options(3) };
    let mut heard = Vec::new();
    let train = |steps, heard: &mut Vec<(u64, f32)>| {
        let progress = |step, loss| heard.push((step, loss));
        let trained = Classifier::train(&gpu, NETWORK, &training, &options, steps, None, progress);
        trained.expect("good data").0
    };
    let mut classifier = train(170, &mut heard);
    assert_eq!(heard.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [50, 100, 150, 170]);
    assert!(heard[3].1 < 0.5 * heard[0].1, "{heard:?}");
    // Three and a half epochs; the guess of one class for all has 0.1.
    let accuracy = classifier.accuracy(&test).expect("test digits");
    assert!(accuracy > 0.9, "{accuracy}");

    // 297 digits are two whole batches and a part of one.
    let images = test.images();
    let features = classifier.features(&images).expect("features");
    let probabilities = classifier.probabilities(&images).expect("probabilities");
    assert_eq!(features.len(), test.len() * ConvClassifier::FEATURES);
    assert_eq!(probabilities.len(), test.len() * 10);
    for row in probabilities.chunks(10) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
    }
    let right = probabilities
        .chunks(10)
        .zip(test.labels().expect("labels"))
        .filter(|(row, label)| likeliest(row).0 == usize::from(**label))
        .count();
    assert_eq!(right as f64 / test.len() as f64, accuracy);
    let third = &images[2 * 64..3 * 64];
    assert_eq!(classifier.features(third).expect("one image"), features[2 * 64..3 * 64]);
    let beyond: Vec<f32> = third.iter().map(|x| if *x == -1.0 { -7.0 } else { *x }).collect();
    assert_eq!(classifier.features(&beyond).expect("clipped"), features[2 * 64..3 * 64]);

    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("classifier.safetensors");
    classifier.save(&path).expect("room");
    let mut read = Classifier::load(&gpu, NETWORK, &path).expect("its own file");
    assert_eq!(read.features(&images).expect("features"), features);
    let other = ConvClassifier { classes: 9, ..NETWORK };
    let error = Classifier::load(&gpu, other, &path).err().expect("another network");
    assert!(
        error.to_string().contains("classes.weight: expected [9,64], found [10,64]"),
        "{error}"
    );

    // The same seed, the same bits.
    let [mut one, mut two] = [(); 2].map(|()| train(3, &mut Vec::new()));
    assert_eq!(one.features(third).expect("features"), two.features(third).expect("features"));
}

#[test]
fn data_that_do_not_fit_are_refused() {
    let Some(gpu) = support::gpu() else { return };
    let data = digits();
    let options = Classifier::options(0);
    let train =
        |network| Classifier::train(&gpu, network, &data, &options, 1, None, |_, _| {}).err();
    let error = train(ConvClassifier { size: [28, 28, 1], ..NETWORK }).expect("digits are 8x8");
    assert!(matches!(error, Error::Training(TrainingError::Images { .. })), "{error}");
    let error = train(ConvClassifier { classes: 9, ..NETWORK }).expect("there are ten digits");
    assert!(matches!(error, Error::Training(TrainingError::Classes { .. })), "{error}");
}

#[test]
fn a_break_of_its_training_changes_no_bit() {
    let Some(gpu) = support::gpu() else { return };
    let data = digits();
    let folder = tempfile::tempdir().expect("a folder for the test");
    let options = TrainingOptions { batch: 8, ..Classifier::options(3) };
    let train = |name: &str, steps| {
        let folder = folder.path().join(name);
        let checkpoints = Some(Checkpoints { folder: &folder, every: 4 });
        let mut heard = Vec::new();
        let hear = |step, _| heard.push(step);
        let trained = Classifier::train(&gpu, NETWORK, &data, &options, steps, checkpoints, hear);
        let (classifier, seconds) = trained.expect("good data");
        assert!(seconds > 0.0);
        let file = folder.join("weights.safetensors");
        classifier.save(&file).expect("room");
        let state = folder.join("training/state.safetensors");
        (heard, [file, state].map(|path| std::fs::read(path).expect("a file")))
    };
    let (heard, unbroken) = train("unbroken", 10);
    assert_eq!(heard, [4, 8, 10]);
    train("broken", 6);
    let (heard, broken) = train("broken", 10);
    assert_eq!(heard, [8, 10], "it goes on from step 6");
    assert!(broken == unbroken);
    assert!(train("broken", 10).0.is_empty(), "nothing is left to do");

    let path = folder.path().join("broken");
    let checkpoints = Some(Checkpoints { folder: &path, every: 4 });
    let other = TrainingOptions { batch: 9, ..options.clone() };
    let error = Classifier::train(&gpu, NETWORK, &data, &other, 10, checkpoints, |_, _| {});
    let error = error.err().expect("another batch").to_string();
    assert!(error.contains("settings.json: options: expected"), "{error}");
    let never = Some(Checkpoints { folder: &path, every: 0 });
    let error = Classifier::train(&gpu, NETWORK, &data, &options, 10, never, |_, _| {});
    assert_eq!(error.err().expect("no steps").to_string(), "every: expected at least 1, found 0");
}
