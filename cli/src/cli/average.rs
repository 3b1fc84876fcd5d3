//! Arguments of `ddim average`.
use super::{Overwrite, optimizer::average, positive};
use clap::Args;
use ddim::training::Average as Kept;
use std::path::PathBuf;

/// Write a model of another moving average of a run's weights.
///
/// A run that was trained with --averages has them beside its own. Of those of power functions the values at every
/// checkpoint were kept: from these an average of any relative length is made, at any step (Karras et al. 2024).
#[derive(Args)]
#[command(after_help = "\
Examples:
  ddim train --data photos --size 32 --averages 0.999,power-0.05,power-0.10 --out run
  ddim average --model run                                       what there is
  ddim average --model run --name decay-0.999 --out shorter
  ddim average --model run --sigma-rel 0.075 --out between
  ddim average --model run --sigma-rel 0.075 --step 4000 --out earlier")]
pub struct Average {
    /// The folder of a run
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// One of the averages of its last checkpoint
    #[arg(long, value_name = "NAME", value_parser = average, conflicts_with = "sigma_rel", requires = "out")]
    pub name: Option<Kept>,
    /// The relative length of an average that is made of those that were kept
    #[arg(long, value_name = "S", value_parser = positive, requires = "out")]
    pub sigma_rel: Option<f64>,
    /// The step at which it ends [default: the last that was kept]
    #[arg(long, value_name = "N", requires = "sigma_rel")]
    pub step: Option<u64>,
    /// Folder of the model to write
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub existing: Overwrite,
}
