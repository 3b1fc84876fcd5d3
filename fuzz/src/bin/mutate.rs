//! `mutate --format NAME --tries N --seed K`: changed files of a format, one after the other, each within its bounds.
//! Every millionth try it says how far it is; a panic names the try, a hang comes after the last of these lines.
use ddim_fuzz::mutation::{
    Format, Random,
    bounded::{Counting, read},
};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).ok_or(format!("{name} is missing"))
    };
    let number = |name: &str| value(name)?.parse::<u64>().map_err(|error| error.to_string());
    let name = value("--format")?;
    let format = Format::ALL.into_iter().find(|format| format.name() == name);
    let format = format.ok_or_else(|| {
        let names = Format::ALL.map(Format::name).join(", ");
        format!("--format {name}: expected one of {names}")
    })?;
    let (tries, seed) = (number("--tries")?, number("--seed")?);
    let seeds = format.seeds();
    let (mut random, mut refused) = (Random(seed), 0_u64);
    let start = Instant::now();
    for done in 1..=tries {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        format.mutate(&mut bytes, &mut random);
        refused += u64::from(!read(format, &bytes, &format!("{name} {done}")));
        if done % 1_000_000 == 0 || done == tries {
            let seconds = start.elapsed().as_secs_f64();
            println!("{name}: {done} tries in {seconds:.1} s, {refused} refused");
        }
    }
    Ok(())
}
