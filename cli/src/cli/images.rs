//! Arguments about the images to train on.
use super::{at_least_one, below_one};
use clap::Args;
use ddim::data::Crop;
use std::path::PathBuf;

/// Most threads that decode pictures.
const MOST_WORKERS: i64 = 1024;

/// How images are read.
#[derive(Args)]
pub struct ImageArguments {
    /// Crop every image and resize it to N x N pixels, or to W x H [default: sample_size of --config or --init, else
    /// as they are]
    #[arg(long, value_name = "N or WxH", value_parser = size)]
    pub size: Option<[usize; 2]>,
    /// Which part of an image is seen, where its sides are in another ratio than those of --size: its centre, or in
    /// each epoch another part [default: centre]
    #[arg(long, value_name = "NAME", value_parser = crop)]
    pub crop: Option<Crop>,
    /// What transparent pictures are laid on: a name or code of CSS, such as white, teal or #00ff7f [default: white]
    #[arg(long, value_name = "COLOUR", value_parser = colour)]
    pub background: Option<[u8; 3]>,
    /// Largest picture of --data that is read, in pixels [default: 67108864]
    #[arg(long, value_name = "N")]
    pub max_pixels: Option<u64>,
    /// Mirror half of the images left to right
    #[arg(long)]
    pub flip: bool,
    /// Karras et al.'s augmentations (EDM), each with probability P [default of P: 0.12]: mirrors, and scale, rotation,
    /// anisotropic scale and translation. The network is told what was done, and in sampling that nothing was
    #[arg(long, value_name = "P", value_parser = below_one, num_args = 0..=1, default_missing_value = "0.12", conflicts_with_all = ["flip", "init"])]
    pub augment: Option<f64>,
    /// Hold out this part of the images, or those of this folder, and measure the loss on them at every checkpoint
    #[arg(long, value_name = "FRACTION or DIR", value_parser = valid)]
    pub valid: Option<Valid>,
    /// Threads that decode pictures ahead of the device; the images and their order do not depend on it [default:
    /// one for each core, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=MOST_WORKERS))]
    pub workers: Option<u16>,
    /// Keep decoded pictures in this folder: later runs of the same pictures and sizes decode none. Without it, up to
    /// 4 GiB of them are kept in memory, and more are decoded each time they are needed
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

/// What is held out.
#[derive(Clone, Debug, PartialEq)]
pub enum Valid {
    Fraction(f64),
    Folder(PathBuf),
}

/// A number is a fraction, whatever folders there are.
fn valid(text: &str) -> Result<Valid, String> {
    match text.parse::<f64>() {
        Ok(_) => below_one(text).map(Valid::Fraction),
        Err(_) => Ok(Valid::Folder(text.into())),
    }
}

/// Height and width of `WxH`, or of one number for both.
pub fn size(text: &str) -> Result<[usize; 2], String> {
    let (width, height) = text.split_once(['x', 'X']).unwrap_or((text, text));
    let [height, width] = [height, width].map(at_least_one);
    Ok([height?, width?])
}

fn crop(text: &str) -> Result<Crop, String> {
    match text {
        "centre" | "center" => Ok(Crop::Centre),
        "random" => Ok(Crop::Random),
        _ => Err("neither centre nor random".into()),
    }
}

fn colour(text: &str) -> Result<[u8; 3], String> {
    let colour = csscolorparser::parse(text).map_err(|error| error.to_string())?;
    match colour.to_rgba8() {
        [red, green, blue, 255] => Ok([red, green, blue]),
        _ => Err("a background is opaque".into()),
    }
}
