//! A run of three checkpoints, broken at every operation of the file system.
use super::{
    Disk, Generation, RunFolder, System,
    faulty::{Fault, Faulty, Operation},
    paths::entries,
    pointer::{Files, Fingerprint, to_json},
    view::{PREVIOUS, generation},
};
use crate::error::Error;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const CHECKPOINTS: u64 = 3;

/// The files of a checkpoint: one stays the same, one is gone in the second.
fn files(checkpoint: u64) -> Vec<(&'static str, String)> {
    let text = |name: &str| format!("{name} of checkpoint {checkpoint}").repeat(50);
    let mut files = vec![
        ("training/state.safetensors", text("state")),
        ("training/loss.csv", text("loss")),
        ("unet/config.json", "the same in all".to_owned()),
        ("unet/diffusion_pytorch_model.safetensors", text("weights")),
        ("model_index.json", text("index")),
    ];
    if checkpoint != 2 {
        files.push(("training/loss.svg", text("chart")));
    }
    files
}

fn save(disk: &dyn Disk, folder: &Path, checkpoint: u64) -> Result<(), Error> {
    let mut next = Generation::begin(disk, folder)?;
    for (name, text) in files(checkpoint) {
        next.write(name, text.as_bytes())?;
    }
    next.commit()
}

/// The checkpoint that the folder holds, 0 for none.
fn checkpoint(folder: &Path) -> u64 {
    let state = RunFolder::open(folder).expect("a folder").path("training/state.safetensors");
    let Ok(text) = fs::read_to_string(state) else { return 0 };
    (1..=CHECKPOINTS).find(|checkpoint| files(*checkpoint)[0].1 == text).expect("a whole state")
}

/// Every file below a folder, and the empty folders.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in entries(folder).expect("a folder") {
        if path.is_dir() {
            let below = tree(&path);
            if below.is_empty() {
                found.insert(path, Vec::new());
            }
            found.extend(below);
        } else {
            let bytes = fs::read(&path).expect("a file");
            found.insert(path, bytes);
        }
    }
    found
}

fn named(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let named = |(path, bytes): (PathBuf, Vec<u8>)| {
        (path.strip_prefix(folder).expect("it is below").to_owned(), bytes)
    };
    // An empty folder is as good as none.
    tree(folder).into_iter().map(named).filter(|(path, _)| path != Path::new("training")).collect()
}

/// What a folder looks like after so many unbroken checkpoints.
fn unbroken() -> Vec<BTreeMap<PathBuf, Vec<u8>>> {
    let folder = folder();
    let mut trees = vec![BTreeMap::new()];
    for checkpoint in 1..=CHECKPOINTS {
        save(&System, folder.path(), checkpoint).expect("room");
        trees.push(named(folder.path()));
    }
    trees
}

/// In memory, where there is such a folder: these tests write some ten thousand files.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a folder for the test")
}

/// Saves until something fails, and says how many were saved whole.
fn save_all(disk: &dyn Disk, folder: &Path) -> (u64, Result<(), Error>) {
    for checkpoint in 1..=CHECKPOINTS {
        if let Err(error) = save(disk, folder, checkpoint) {
            return (checkpoint - 1, Err(error));
        }
    }
    (CHECKPOINTS, Ok(()))
}

#[test]
fn every_break_leaves_a_whole_checkpoint_and_the_rest_is_as_without_it() {
    let trees = unbroken();
    for links in [true, false] {
        let whole = Faulty::new(Fault::None, 0, links);
        let at = folder();
        save_all(&whole, at.path()).1.expect("no fault");
        assert_eq!(named(at.path()), trees[CHECKPOINTS as usize], "links: {links}");
        let operations = whole.done.get();
        assert!(operations > 150, "{operations} operations");
        for (fault, at) in [Fault::Kill, Fault::Full, Fault::Once]
            .into_iter()
            .flat_map(|fault| (0..operations).map(move |at| (fault, at)))
        {
            let case = format!("{fault:?} at {at} of {operations}, links: {links}");
            let folder = folder();
            let disk = Faulty::new(fault, at, links);
            let (saved, result) = save_all(&disk, folder.path());
            let failed = disk.failed.get().unwrap_or_else(|| panic!("{case}: nothing failed"));
            // A file that cannot be linked is copied.
            let copied = fault == Fault::Once && failed == Operation::Link && result.is_ok();
            let told = matches!(result, Err(Error::File(_)));
            assert!(told || copied, "{case}, {failed:?}: {result:?}");

            let found = checkpoint(folder.path());
            assert!((saved..=saved + 1).contains(&found), "{case}: {found} after {saved}");
            assert_eq!(named(folder.path()), trees[found as usize], "{case}");
            for checkpoint in found + 1..=CHECKPOINTS {
                save(&System, folder.path(), checkpoint).expect("room");
            }
            assert_eq!(named(folder.path()), trees[CHECKPOINTS as usize], "{case}");
        }
    }
}

#[test]
fn a_break_in_the_repair_is_repaired() {
    let trees = unbroken();
    let whole = Faulty::new(Fault::None, 0, true);
    save_all(&whole, folder().path()).1.expect("no fault");
    let mut breaks = 0;
    for at in 0..whole.done.get() {
        let broken = folder();
        let (_, result) = save_all(&Faulty::new(Fault::Kill, at, true), broken.path());
        result.expect_err("a kill");
        for again in 0.. {
            let folder = folder();
            copy(broken.path(), folder.path());
            let disk = Faulty::new(Fault::Kill, again, true);
            let opened = RunFolder::open_on(&disk, folder.path()).expect("a folder");
            let Some(_) = disk.failed.get() else { break };
            breaks += 1;
            // Also where nothing can be repaired, the checkpoint can be read.
            let state = fs::read_to_string(opened.path("training/state.safetensors"));
            let found = checkpoint(folder.path());
            if found > 0 {
                assert_eq!(state.expect("a state"), files(found)[0].1, "{again} after {at}");
            }
            assert_eq!(named(folder.path()), trees[found as usize], "{again} after {at}");
        }
    }
    assert!(breaks > 500, "{breaks}");
}

/// Copies a folder, with hard links in place of files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("room");
    for path in entries(from).expect("a folder") {
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() { copy(&path, &to) } else { fs::hard_link(&path, to).expect("room") }
    }
}

#[test]
fn what_is_missing_comes_back_and_what_others_wrote_is_kept() {
    let at = folder();
    let path = |name: &str| at.path().join(name);
    // A pipeline of the time before generations gives way.
    fs::create_dir(path("unet")).expect("room");
    fs::write(path("unet/config.json"), "of the time before").expect("room");
    let opened = RunFolder::open(at.path()).expect("a plain folder");
    assert!(!opened.holds_checkpoint());
    save(&System, at.path(), 1).expect("room");
    let tree = named(at.path());
    assert_eq!(tree[Path::new("unet/config.json")], b"the same in all");

    fs::remove_dir_all(path("unet")).expect("it is there");
    assert!(RunFolder::open(at.path()).expect("a run").holds_checkpoint());
    assert_eq!(named(at.path()), tree);

    // One is replaced, one is written over where it lies.
    let weights = "unet/diffusion_pytorch_model.safetensors";
    fs::remove_file(path(weights)).expect("it is there");
    fs::write(path(weights), "weights of my own").expect("room");
    fs::write(path("model_index.json"), "an index of my own").expect("room");
    let opened = RunFolder::open(at.path()).expect("a run");
    assert_eq!(fs::read(opened.path(weights)).expect("weights"), b"weights of my own");
    save(&System, at.path(), 3).expect("room");
    let text = |name: &str| fs::read_to_string(path(name)).expect("a file");
    assert_eq!(text(weights), files(3)[3].1);
    assert_eq!(text(&format!("{weights}.kept")), "weights of my own");
    assert_eq!(text("model_index.json.kept"), "an index of my own");
    assert_eq!(checkpoint(at.path()), 3);
    assert_eq!(entries(&path("training/generations")).expect("a folder").len(), 1);
}

#[test]
fn a_pointer_is_checked_as_a_strangers_file() {
    let at = folder();
    fs::create_dir(at.path().join("training")).expect("room");
    let outside = r#"{"generation": 1, "files": {"../x": {"bytes": 1, "crc32": 1}}}"#;
    for (text, words) in [
        ("nonsense", "expected"),
        (r#"{"generation": 1.5, "files": {}}"#, "1.5"),
        (r#"{"generation": 0, "files": {}}"#, "expected 1 to 2^53, found 0"),
        (r#"{"generation": 18446744073709551615, "files": {}}"#, "2^53"),
        (outside, r#"found "../x""#),
    ] {
        fs::write(at.path().join("training/current.json"), text).expect("room");
        let error = RunFolder::open(at.path()).expect_err(text).to_string();
        assert!(error.contains("current.json") && error.contains(words), "{error}");
    }
}

#[test]
fn a_note_of_the_generation_before_removes_nothing_outside_the_folder() {
    let at = folder();
    let (run, mine) = (at.path().join("run"), at.path().join("mine"));
    save(&System, &run, 1).expect("room");
    fs::write(&mine, "mine").expect("room");
    let note = Files::from([("../mine".into(), Fingerprint::of_bytes(b"mine"))]);
    fs::write(generation(&run, 1).join(PREVIOUS), to_json(&note)).expect("room");
    // With an older generation the view counts as broken.
    fs::create_dir(generation(&run, 0)).expect("room");
    RunFolder::open(&run).expect("a run");
    assert!(!generation(&run, 0).exists(), "it was not repaired");
    assert_eq!(fs::read_to_string(&mine).expect("still there"), "mine");
}
