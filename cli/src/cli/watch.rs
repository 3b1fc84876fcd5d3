//! Arguments about what a run writes on its way, and when it ends.
use clap::{Args, value_parser};

/// What a run writes on its way.
#[derive(Args)]
pub struct WatchArguments {
    /// Steps between checkpoints [default: 500]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub save_every: Option<u32>,
    /// Steps between pictures of samples, written as samples/step-0000500.png, and at the end a film of them,
    /// film.png [default: the last step alone, as samples.png]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub sample_every: Option<u32>,
    /// Images of such a picture [default: 64, of images above 16x16 pixels 16]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=4096))]
    pub samples: Option<u32>,
    /// Keep the N checkpoints before the last in checkpoints/step-0000500, ... [default: 0]
    #[arg(long, value_name = "N")]
    pub keep: Option<u32>,
    /// Keep the checkpoint with the lowest held-out loss in best/; with --valid
    #[arg(long)]
    pub keep_best: bool,
    /// End the run after N measurements of the held-out loss that are no lower than one before; with --valid
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub patience: Option<u32>,
    /// Write event files for TensorBoard to tensorboard/
    #[arg(long)]
    pub tensorboard: bool,
    /// Say what would be trained, how much memory it takes and, after one step, how long; write nothing
    #[arg(long)]
    pub dry_run: bool,
}
