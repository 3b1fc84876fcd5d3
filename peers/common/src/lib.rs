//! What every Rust worker shares: the numbers that all engines compute with, and the conversation
//! with `peers/run`. `python/protocol.py` says the same in Python.
use std::{
    error::Error,
    fs,
    io::{BufRead, Write, stdin, stdout},
    time::Instant,
};

/// Any failure: it is printed and `run` shows it beside the engine's name.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// One piece of work on one engine, its operands on the device.
pub trait Work {
    /// What has to be there before each run, outside the clock. Waits for the device.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// Computes it once and waits for the device.
    fn run(&mut self) -> Result<()>;

    /// What it computed, dense and in PyTorch's order.
    fn result(&mut self) -> Result<Vec<f32>>;

    /// Facts to print beside the times, such as the number of parameters.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Numbers in [-1, 1) that depend on the seed and the place alone: splitmix64.
pub fn uniform(seed: u64, count: usize, scale: f32) -> Vec<f32> {
    let number = |index: u64| {
        let mut z = index
            .wrapping_add(seed.wrapping_mul(0xd129_0ddb_53c4_3e49))
            .wrapping_add(1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((z >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
    };
    (0..count as u64).map(number).collect()
}

/// A model's parameter by its name, in PyTorch's shape: weights with unit gain, norms near one.
pub fn parameter(name: &str, shape: &[usize]) -> Vec<f32> {
    // FNV-1a: the name is the seed.
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let count = shape.iter().product();
    match shape {
        [_] if name.contains("norm") && name.ends_with("weight") => {
            uniform(seed, count, 0.1).into_iter().map(|x| x + 1.0).collect()
        }
        [_] => uniform(seed, count, 0.1),
        [_, inner @ ..] => {
            let inputs: usize = inner.iter().product();
            uniform(seed, count, (3.0 / inputs as f32).sqrt())
        }
        [] => Vec::new(),
    }
}

/// The arguments after the kind of work, as numbers.
pub fn numbers<const N: usize>(arguments: &[String]) -> Result<[usize; N]> {
    let parsed: std::result::Result<Vec<usize>, _> =
        arguments.iter().map(|argument| argument.parse()).collect();
    parsed?.try_into().map_err(|found: Vec<usize>| {
        format!("expected {N} numbers after the kind of work, found {}", found.len()).into()
    })
}

/// Serves the work that the command line names. `build` returns the adapter's name and the work,
/// or `None` where this engine has no such work.
pub fn serve(build: impl FnOnce(&str, &[String]) -> Result<Option<(String, Box<dyn Work>)>>) {
    if let Err(error) = converse(build) {
        println!("failed {}", error.to_string().replace('\n', " "));
        std::process::exit(1);
    }
}

fn converse(
    build: impl FnOnce(&str, &[String]) -> Result<Option<(String, Box<dyn Work>)>>,
) -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (kind, rest) = arguments.split_first().ok_or("expected a kind of work")?;
    let Some((adapter, mut work)) = build(kind, rest)? else {
        println!("absent");
        return Ok(());
    };
    println!("adapter {adapter}");
    for note in work.notes() {
        println!("note {note}");
    }
    work.prepare()?;
    work.run()?;
    println!("first");
    stdout().flush()?;
    for line in stdin().lock().lines() {
        match line?.split_once(' ') {
            Some(("run", times)) => {
                let times: usize = times.parse()?;
                let mut measured = Vec::with_capacity(times);
                for _ in 0..times {
                    work.prepare()?;
                    let start = Instant::now();
                    work.run()?;
                    measured.push(start.elapsed().as_secs_f64().to_string());
                }
                println!("times {}", measured.join(" "));
            }
            Some(("dump", path)) => {
                let bytes: Vec<u8> = work.result()?.iter().flat_map(|x| x.to_le_bytes()).collect();
                fs::write(path, bytes)?;
                println!("dumped");
            }
            _ => return Err("expected `run TIMES` or `dump PATH`".into()),
        }
        stdout().flush()?;
    }
    Ok(())
}
