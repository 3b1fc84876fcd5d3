//! Files of strangers: 100,000 changed files of each format, and files made to take memory. No panic,
//! no hang, no read above a second of CPU time, and no more memory than four times the file, or what it unpacks to,
//! and a little (`mutation::bounded`).
#![cfg(feature = "pictures")]

use ddim::{
    nn::{Initial, ParameterSpec},
    training::Losses,
    value::TensorType,
    weights,
};
use mutation::{
    Format, Random,
    bounded::{BEGUN, Counting, ENDED, measured, read},
};
use std::{path::Path, sync::atomic::Ordering::Relaxed, time::Duration};

mod mutation;

/// Tries of each format.
const TRIES: u64 = 100_000;

/// A try takes microseconds; with a busy machine's pauses, not this long.
const HANGS: Duration = Duration::from_secs(20);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Ends the program where a read takes too long; nothing else would.
fn watch() {
    std::thread::spawn(|| {
        loop {
            let begun = BEGUN.load(Relaxed);
            std::thread::sleep(HANGS);
            if BEGUN.load(Relaxed) == begun && ENDED.load(Relaxed) != begun {
                eprintln!("read {begun} hangs");
                std::process::abort();
            }
        }
    });
}

/// One test, so that no other allocates meanwhile.
#[test]
fn no_file_of_a_stranger_panics_hangs_or_takes_the_memory() {
    watch();
    for format in Format::ALL {
        let seeds = format.seeds();
        assert!(seeds.iter().all(|seed| read(format, seed, format.name())), "{}", format.name());
        let mut refused = 0;
        for number in 0..TRIES {
            let mut random = Random(number);
            let mut bytes = seeds[random.below(seeds.len())].clone();
            format.mutate(&mut bytes, &mut random);
            refused += u64::from(!read(format, &bytes, &format!("{} {number}", format.name())));
        }
        // Changes that change nothing of worth, or everything, would test nothing.
        let share = refused as f64 / TRIES as f64;
        assert!((0.2..0.999).contains(&share), "{}: {share} refused", format.name());
    }
    for (format, bytes, what) in made_to_take_memory() {
        assert!(!read(format, &bytes, what), "{what} is read");
    }
    // What is within the limits is read, and within its bound.
    let mut large = Vec::new();
    let picture = image::DynamicImage::new_rgba16(4096, 4096);
    let mut file = std::io::Cursor::new(&mut large);
    picture.write_to(&mut file, image::ImageFormat::Png).expect("a vector takes all");
    drop(picture);
    assert!(read(Format::Png, &large, "a large picture"));
    let mut rows = String::from("step,loss,gradient_norm,held_out_loss\n");
    (1..(1 << 22) + 2).for_each(|step| rows += &format!("{step},1,1,1\n"));
    let (taken, losses) = measured(|| Losses::parse(Path::new("loss.csv"), &rows, u64::MAX));
    let most = taken.most;
    assert!(losses.is_ok() && most < 3 * rows.len(), "{most} for {}", rows.len());
    weights_of_half_precision();
    let mut images = [0x803, 60_000, 28, 28].map(u32::to_be_bytes).concat();
    let mut random = Random(1);
    images.extend((0..60_000 * 28 * 28).map(|_| if random.below(5) == 0 { 7 } else { 0 }));
    assert!(ddim::data::Dataset::from_idx("mnist", &mutation::packed(&images), None).is_ok());
}

/// Weights of 64 MB in 16 bits, from the file to the parameters of a model: the numbers take twice the file, and
/// nothing is on the host twice.
fn weights_of_half_precision() {
    let file = tempfile::NamedTempFile::new().expect("a file for the test");
    let shape = [8000, 4000];
    let header = r#"{"a.weight":{"dtype":"F16","shape":[4000,8000],"data_offsets":[0,64000000]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    let bytes = [&length[..], header.as_bytes(), &vec![0x11; 64_000_000]].concat();
    std::fs::write(file.path(), &bytes).expect("room");
    let allowed = 2 * bytes.len() + (8 << 20);
    drop(bytes);
    let (name, of) = ("a.weight".to_owned(), TensorType::f32(&shape));
    let expected = [ParameterSpec { name, of, initial: Initial::Normal(1.0) }];
    let (taken, weights) = measured(|| weights::read(file.path(), &expected));
    assert_eq!(weights.expect("a whole file").elements(), 32_000_000);
    let most = taken.most;
    assert!(most <= allowed, "{most} bytes of memory for weights, {allowed} allowed");
}

/// Files that are small, or not large, and ask for much.
fn made_to_take_memory() -> Vec<(Format, Vec<u8>, &'static str)> {
    let mut gz = [0x803, 1 << 20, 32, 32].map(u32::to_be_bytes).concat();
    gz.resize(16 + (1 << 30), 0);
    let gz = mutation::packed(&gz);
    assert!(gz.len() < 8 << 20, "{}", gz.len());
    let idx = [0x803, 1 << 20, 1 << 10, 1 << 10].map(u32::to_be_bytes).concat();
    let header = |text: String| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let long = "0,".repeat(12 << 20);
    let nested = "[".repeat(1 << 19);
    let huge_png = {
        // 65,536 x 65,536 pixels; what follows the header does not matter.
        let mut bytes = Format::Png.seeds().swap_remove(0);
        bytes[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        let crc = crc.sum().to_be_bytes();
        bytes[29..33].copy_from_slice(&crc);
        bytes
    };
    vec![
        (Format::IdxGz, gz, "a gigabyte of zeros"),
        (Format::Idx, idx, "extents past the end"),
        (Format::Png, huge_png, "four gigapixels"),
        (
            Format::Safetensors,
            header(format!(r#"{{"a":{{"dtype":"F32","shape":[{long}0],"data_offsets":[0,0]}}}}"#)),
            "a header of 24 MB",
        ),
        (
            Format::Safetensors,
            header(format!(
                r#"{{"a":{{"dtype":"F32","shape":[{}0],"data_offsets":[0,4]}}}}"#,
                "0,".repeat((1 << 19) - 64)
            )),
            "a header of a megabyte, all of it a shape",
        ),
        (
            Format::Safetensors,
            header(format!(
                r#"{{"__metadata__":{{{}"z":0}}}}"#,
                (0..80_000).map(|key| format!("\"{key:x}\":\"\",")).collect::<String>()
            )),
            "a header of a megabyte, all of it metadata",
        ),
        (Format::UNetConfig, nested.clone().into(), "nested lists"),
        (Format::Manifest, format!("{{\"config\":{nested}").into(), "nested lists in a manifest"),
        (
            Format::Settings,
            format!("{{\"notes\":[{}", "0,".repeat(1 << 19)).into(),
            "a megabyte of numbers in the notes",
        ),
        (
            Format::ModelIndex,
            format!("{{\"_class_name\":\"A\",\"b\":[{}0]}}", "0,".repeat(1 << 19)).into(),
            "a megabyte of numbers in the index",
        ),
        (
            Format::SchedulerConfig,
            format!("{{\"trained_betas\":[{}0]}}", "0,".repeat(1 << 19)).into(),
            "a megabyte of betas",
        ),
        (
            Format::Pointer,
            format!("{{\"generation\":1,\"files\":{{{}}}}}", {
                let file = |name| format!("\"{name:x}\":{{\"bytes\":1,\"crc32\":1}},");
                (0..600_000).map(file).collect::<String>()
            })
            .into(),
            "a pointer to many files",
        ),
        (
            Format::Losses,
            ["step,loss,gradient_norm,held_out_loss\n", &"\u{1}".repeat(64 << 20)].concat().into(),
            "a row of letters that are long in a message",
        ),
        (
            Format::Results,
            ["experiment,setting,steps,value,images,seconds\n", &",,1,1,1,1\n".repeat(3 << 19)]
                .concat()
                .into(),
            "many short rows",
        ),
    ]
}
