//! What a plan costs: processor time from the configuration to the printed plan, of deeper and
//! deeper U-Nets. The time of an equation stays where it is.
//!
//! `cargo bench --bench plans`
use cpu_time::ThreadTime;
use ddim::{
    Error,
    plan::{DeviceProfile, Target},
};

#[path = "support/deep.rs"]
mod deep;

const EQUATIONS: [usize; 4] = [1_250, 2_500, 5_000, 10_000];

fn main() -> Result<(), Error> {
    let target =
        Target { subgroup: Some(8), profile: DeviceProfile::SOFTWARE, ..Target::default() };
    println!("step      equations  dispatches  seconds  microseconds an equation");
    for (step, trains) in [("sampling", false), ("training", true)] {
        for equations in EQUATIONS {
            let layers = deep::layers(equations, trains, &target)?;
            let ([equations, dispatches], seconds) = best_of_three(layers, trains, &target)?;
            let each = 1e6 * seconds / equations as f64;
            println!("{step:<8}  {equations:>9}  {dispatches:>10}  {seconds:>7.3}  {each:>6.1}");
        }
    }
    Ok(())
}

fn best_of_three(layers: usize, trains: bool, target: &Target) -> Result<([usize; 2], f64), Error> {
    let (mut size, mut best) = ([0; 2], f64::INFINITY);
    for _ in 0..3 {
        let start = ThreadTime::now();
        size = deep::plan(layers, trains, target)?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok((size, best))
}
