//! A checkpoint is read as a stranger's file: whatever is wrong with it is named.
use crate::common::{support, tiny};
use ddim::{
    gpu::Gpu,
    pipeline::RunFolder,
    training::{Settings, Timesteps, Trainer, TrainingOptions},
    weights::{Precision, Stored, read_tensors, write_tensors},
};
use std::{fs, path::Path};

const STATE: &str = "training/state.safetensors";
const SETTINGS: &str = "training/settings.json";

/// A run of two steps, saved.
fn saved(gpu: &Gpu, timesteps: Timesteps) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let options = TrainingOptions { timesteps, ..tiny::options() };
    let scheduler = Default::default();
    let mut trainer =
        Trainer::new(gpu, tiny::unet(None), scheduler, [8, 8], options).expect("a small model");
    tiny::advance(&mut trainer, &tiny::few_digits(), 2, false);
    trainer.save(folder.path(), serde_json::Value::Null).expect("room");
    folder
}

fn refused(gpu: &Gpu, folder: &Path) -> String {
    Trainer::resume(gpu, folder).err().expect("a damaged checkpoint").to_string()
}

/// Writes the state anew after a change.
fn with_state(folder: &Path, change: impl FnOnce(&mut Vec<(String, Vec<usize>, Vec<f32>)>)) {
    let path = folder.join(STATE);
    let stored = read_tensors(&path).expect("a state").into_iter();
    let mut tensors: Vec<_> =
        stored.map(|Stored { name, shape, numbers }| (name, shape, numbers.into_f32())).collect();
    change(&mut tensors);
    let tensors = tensors.iter().map(|(name, shape, data)| (&name[..], &shape[..], &data[..]));
    write_tensors(&path, Precision::F32, tensors).expect("room");
}

#[test]
fn a_state_that_no_run_wrote_is_refused_by_name() {
    let Some(gpu) = support::gpu() else { return };
    let set = |name: &'static str, index: usize, number: f32| {
        move |tensors: &mut Vec<(String, Vec<usize>, Vec<f32>)>| {
            let (_, _, data) = tensors.iter_mut().find(|of| of.0 == name).expect("a tensor");
            data[index] = number;
        }
    };
    let step = "step: expected two whole numbers from 0 to 65535, found";
    for (name, index, number, message) in [
        ("step", 0, f32::INFINITY, format!("{step} inf at 0")),
        ("step", 1, 2.5, format!("{step} 2.5 at 1")),
        ("step", 1, -1.0, format!("{step} -1 at 1")),
        ("step", 0, 65536.0, format!("{step} 65536 at 0")),
        ("step", 0, f32::NAN, format!("{step} NaN at 0")),
        ("weight.conv_in.bias", 1, f32::NAN, "expected finite numbers, found NaN at 1".into()),
        ("average.conv_in.bias", 0, f32::INFINITY, "found inf at 0".into()),
        ("second_moment.conv_in.bias", 2, -1.0, "expected numbers of 0 or above, found -1".into()),
    ] {
        let folder = saved(&gpu, Timesteps::Uniform);
        with_state(folder.path(), set(name, index, number));
        let error = refused(&gpu, folder.path());
        for words in [STATE, name, message.as_str()] {
            assert!(error.contains(words), "{error}\nlacks {words}");
        }
    }
    let folder = saved(&gpu, Timesteps::Uniform);
    let path = folder.path().join(STATE);
    let before = fs::read(&path).expect("a state");
    type Change = fn(&mut Vec<(String, Vec<usize>, Vec<f32>)>);
    let changes: [(Change, &str); 4] = [
        (|all| all.retain(|of| of.0 != "step"), "step: expected [2], found no such tensor"),
        (|all| all.push(("more".into(), vec![1], vec![0.0])), "more: expected no such tensor"),
        (
            |all| all.retain(|of| of.0 != "weight.conv_in.bias"),
            "weight.conv_in.bias: expected [4], found no such tensor",
        ),
        (
            |all| {
                let of = all.iter_mut().find(|of| of.0 == "first_moment.conv_in.bias");
                of.expect("a tensor").1 = vec![2, 2];
            },
            "first_moment.conv_in.bias: expected [4], found [2, 2]",
        ),
    ];
    for (change, message) in changes {
        with_state(folder.path(), change);
        let error = refused(&gpu, folder.path());
        assert!(error.contains(STATE) && error.contains(message), "{error}\nlacks {message}");
        fs::write(&path, &before).expect("room");
    }
    Trainer::resume(&gpu, folder.path()).expect("the state as it was");

    // Kernels take the last column for indices.
    let folder = saved(&gpu, Timesteps::Importance);
    with_state(folder.path(), set("timestep_losses", 10, 4e9));
    let error = refused(&gpu, folder.path());
    assert!(error.contains("timestep_losses: expected whole numbers from 0 to 19"), "{error}");
}

#[test]
fn settings_that_no_run_wrote_are_refused_by_key() {
    let Some(gpu) = support::gpu() else { return };
    let folder = saved(&gpu, Timesteps::Uniform);
    let path = folder.path().join(SETTINGS);
    let before = fs::read_to_string(&path).expect("settings");
    for (was, is, words) in [
        ("\"batch\": 4", "\"batch\": 4.5", "options.batch: invalid type"),
        ("\"batch\": 4", "\"batch\": 0", "batch: expected 1 to 16777216, found 0"),
        ("\"batch\": 4", "\"batch\": 100000000000", "batch: expected 1 to 16777216"),
        ("\"learning_rate\": 0.001", "\"learning_rate\": -1", "learning_rate: expected 0 or above"),
        ("\"epsilon\": 1e-8", "\"epsilon\": 0", "epsilon: expected above 0, found 0"),
        ("\"ema_decay\": 0.9", "\"ema_decay\": 7", "ema_decay: expected 0 to 1, found 7"),
        ("\"weight_decay\": 0.01", "\"weight_decay\": 1e999", "options.weight_decay"),
        ("\"loss\": \"simple\"", "\"loss\": \"none\"", "options.loss: unknown variant"),
        ("{", "", "expected"),
    ] {
        assert!(before.contains(was), "{before}");
        fs::write(&path, before.replacen(was, is, 1)).expect("room");
        let error = refused(&gpu, folder.path());
        assert!(error.contains(words), "{error}\nlacks {words}");
    }
    for size in
        ["[0, 8]", "[18446744073709551615, 8]", "[4611686018427387904, 4611686018427387904]"]
    {
        let json: serde_json::Value = serde_json::from_str(&before).expect("JSON");
        let mut json = json;
        json["size"] = serde_json::from_str(size).expect("JSON");
        fs::write(&path, json.to_string()).expect("room");
        let error = refused(&gpu, folder.path());
        assert!(error.contains("settings.json: size: expected sides of 1 to 16384"), "{error}");
    }
}

#[test]
fn what_changes_in_a_run_is_recorded() {
    let Some(gpu) = support::gpu() else { return };
    let at = saved(&gpu, Timesteps::Uniform);
    let open = || RunFolder::open(at.path()).expect("a run");
    let settings = || Settings::read(&open().path(SETTINGS)).expect("settings");
    let before = settings();
    assert!(before.history.is_empty() && before.version == env!("CARGO_PKG_VERSION"));

    let (mut same, resumed) =
        Trainer::resume_with(&gpu, &open(), before.options.clone(), before.notes.clone())
            .expect("its own checkpoint");
    assert_eq!(resumed.differences, Vec::<String>::new());
    same.save(at.path(), before.notes.clone()).expect("room");
    assert_eq!(settings(), before);

    let slower = TrainingOptions { learning_rate: 1e-5, batch: 3, ..before.options.clone() };
    let (mut changed, resumed) =
        Trainer::resume_with(&gpu, &open(), slower.clone(), before.notes.clone())
            .expect("another rate");
    let said = resumed.differences.join("; ");
    for words in ["batch was 4, is 3", "learning_rate was 0.001, is 0.00001", "the plan's hash"] {
        assert!(said.contains(words), "{said}");
    }
    tiny::advance(&mut changed, &tiny::few_digits(), 3, false);
    changed.save(at.path(), before.notes.clone()).expect("room");
    let now = settings();
    assert_eq!((&now.options, now.history.len()), (&slower, 1));
    assert_eq!((now.history[0].until, &*now.history[0].settings), (2, &before));
    // Back again, without a step in between that had other settings.
    let (mut back, _) = Trainer::resume_with(&gpu, &open(), before.options, before.notes.clone())
        .expect("the first rate");
    back.save(at.path(), before.notes).expect("room");
    let until: Vec<u64> = settings().history.iter().map(|past| past.until).collect();
    assert_eq!(until, [2, 3]);

    let seed = TrainingOptions { seed: 99, ..slower };
    let error = Trainer::resume_with(&gpu, &open(), seed, serde_json::Value::Null).err();
    let error = error.expect("another seed").to_string();
    assert!(error.contains("seed: expected 5 as in the steps before"), "{error}");

    // Settings of another device: the run goes on and says so.
    let mut edited = settings();
    edited.device = "another".into();
    fs::write(at.path().join(SETTINGS), serde_json::to_string(&edited).expect("JSON"))
        .expect("room");
    let Settings { options, notes, .. } = edited;
    let (_, resumed) = Trainer::resume_with(&gpu, &open(), options, notes).expect("a run");
    let said = resumed.differences.join("; ");
    assert!(said.contains("device was \"another\", is "), "{said}");
    assert!(said.contains("training/settings.json was changed by somebody"), "{said}");
}
