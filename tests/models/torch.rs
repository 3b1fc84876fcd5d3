//! PyTorch's files: they give the same weights as the same tensors in other files, and nothing in them
//! is executed. `tests/cases_more/hostile` holds what one may meet, written by PyTorch 2.15.0.
use ddim::{
    error::WeightsError,
    models::unet2d::{UNet, UNetConfig},
    nn::Weights,
    weights::{self, Numbers},
};
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases_more/hostile").join(name)
}

fn file(name: &str) -> PathBuf {
    folder(name).join("diffusion_pytorch_model.bin")
}

/// The weights of a folder by its own configuration.
fn read(name: &str) -> Result<Weights, WeightsError> {
    let config = UNetConfig::read(&folder(name).join("config.json")).expect("a configuration");
    let unet = UNet::new(config).expect("a model");
    weights::read(&file(name), &unet.parameters().expect("parameters"))
}

#[test]
fn views_of_storages_are_the_tensors_that_they_show() {
    let healthy = read("healthy").expect("a sound file");
    assert!(healthy.iter().any(|(_, of)| of.data.iter().any(|number| *number != 0.0)));
    // One tensor lies transposed, two share a storage, one is a Parameter.
    assert_eq!(read("healthy_views").expect("a sound file"), healthy);
}

#[test]
fn damaged_and_malicious_files_are_refused_by_the_name_of_what_is_wrong() {
    for (name, part) in [
        ("zip_bomb", "data/0"),
        ("os_system", "posix.system"),
        ("short_storage", "conv_out.weight"),
        ("truncated", "not a whole PyTorch file"),
        ("missing_tensor", "mid_block.resnets.0.conv1.weight"),
        ("big_endian", "big"),
    ] {
        let error = read(name).expect_err(name).to_string();
        assert!(error.contains(part) && error.contains("hostile"), "{name}: {error}");
    }
}

#[test]
fn a_tuple_takes_nothing_from_before_a_mark() {
    // A number, a mark, a number, and a tuple of two; then all since the mark.
    let bytes = b"\x80\x02\x8a\x01\x01(K\x02\x86t.";
    let error = weights::of_bytes(Path::new("x.bin"), bytes).map(|_| ()).expect_err("no pickle");
    assert!(error.to_string().contains("items"), "{error}");
}

#[test]
fn a_compressed_record_is_refused_before_it_is_inflated() {
    let mut bytes = std::fs::read(file("healthy")).expect("a file");
    let name = b"/data/0";
    let at = bytes.windows(name.len()).rposition(|part| part == name).expect("an entry");
    // The name follows 46 bytes of the central directory's entry, the method stands at its byte 10.
    let entry = bytes[..at].windows(4).rposition(|part| part == b"PK\x01\x02").expect("an entry");
    bytes[entry + 10] = 8;
    let error = weights::of_bytes(Path::new("x.bin"), &bytes).map(|_| ()).expect_err("compressed");
    assert!(error.to_string().contains("data/0"), "{error}");
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let bytes = std::fs::read(file("healthy")).expect("a file");
    for length in (0..bytes.len()).step_by(97) {
        let opened = weights::of_bytes(Path::new("x.bin"), &bytes[..length]);
        assert!(opened.is_err(), "{length} of {} bytes", bytes.len());
    }
}

/// The older form with this pickle in the place of the objects.
fn of_pickle(pickle: &[u8]) -> Vec<u8> {
    let mut file = legacy(6, &[1.0; 6]);
    let first = b"\x80\x02}X\x01\0\0\0wc";
    let from = file.windows(first.len()).position(|part| part == first).expect("the objects");
    let last = b"NtRs.";
    let to = file.windows(last.len()).position(|part| part == last).expect("their end");
    file.splice(from..to + last.len(), pickle.iter().copied());
    file
}

#[test]
fn small_pickles_of_large_objects_are_refused() {
    // A list of 1,000 pairs, remembered, of which 10,000 dicts are to be made.
    let mut copies = b"\x80\x02]q\x00(".to_vec();
    copies.extend(b"K\x00K\x00\x86".repeat(1000));
    copies.extend(b"e0ccollections\nOrderedDict\nq\x01(");
    copies.extend(b"h\x01h\x00\x85R".repeat(10_000));
    copies.extend(b"l.");
    // A list of 1,000 lists, each a list of the same 1,000 numbers, below a name of 60 kB.
    let mut names = b"\x80\x02}X\x60\xea\0\0".to_vec();
    names.extend([b'n'; 60_000]);
    names.extend(b"](](");
    names.extend(b"K\x00".repeat(1000));
    names.extend(b"eq\x00");
    names.extend(b"h\x00".repeat(1000));
    names.extend(b"es.");
    for (pickle, part) in [(copies, "items of dicts"), (names, "names of tensors")] {
        let file = of_pickle(&pickle);
        let opened = weights::of_bytes(Path::new("old.ckpt"), &file);
        let error = opened.map(|_| ()).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// The older form: five pickles in a row, then for each storage its length and numbers.
fn legacy(count: u64, numbers: &[f32]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend(b"\x80\x02}X\x0d\0\0\0little_endian\x88s.");
    file.extend(
        b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n",
    );
    file.extend(b"FloatStorage\nX\x01\0\0\x007X\x03\0\0\0cpuK");
    file.push(count as u8);
    // Three rows of two, column by column.
    file.extend(b"NtQK\0K\x03K\x02\x86K\x01K\x03\x86\x89NtRs.");
    file.extend(b"\x80\x02]X\x01\0\0\x007a.");
    file.extend(count.to_le_bytes());
    file.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    file
}

#[test]
fn the_older_form_is_read_too() {
    let bytes = legacy(6, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let opened = weights::of_bytes(Path::new("old.ckpt"), &bytes).expect("a whole file");
    assert_eq!(opened.tensors(), [("w".to_owned(), vec![3, 2])]);
    let transposed = Numbers::F32(vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(opened.read("w").expect("numbers"), transposed);
    // One element too few for the view, and for the storage that is promised.
    for bytes in [legacy(5, &[1.0; 5]), legacy(6, &[1.0; 5])] {
        assert!(weights::of_bytes(Path::new("old.ckpt"), &bytes).is_err());
    }
}
