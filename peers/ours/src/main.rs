//! This crate's side of the comparison.
mod kernels;
mod latent;
mod layout;
mod models;
mod training;

use ddim::gpu::{Executor, Gpu, GpuOptions};
use peer_common::{Result, Work, numbers, serve};

/// Reads what was computed, in PyTorch's order.
type Read = Box<dyn FnMut(&mut Executor) -> Result<Vec<f32>>>;

/// A plan on the device and how to read what it computed.
struct Planned {
    executor: Executor,
    result: Read,
    notes: Vec<String>,
}

impl Work for Planned {
    fn run(&mut self) -> Result<()> {
        self.executor.run(1)?;
        Ok(self.executor.wait()?)
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        (self.result)(&mut self.executor)
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}

fn main() {
    serve(|kind, rest| {
        let gpu = Gpu::new(&GpuOptions::default())?;
        let mut work = match kind {
            "conv" => kernels::convolution(&gpu, numbers(rest)?),
            "conv_input_gradient" => kernels::gradient(&gpu, numbers(rest)?, true),
            "conv_weight_gradient" => kernels::gradient(&gpu, numbers(rest)?, false),
            "product" => kernels::product(&gpu, numbers(rest)?),
            "norm" => kernels::norm(&gpu, numbers(rest)?),
            "copies" => kernels::copies(&gpu, numbers(rest)?),
            "attention" => kernels::attention(&gpu, numbers(rest)?),
            "unet" => models::forward(&gpu, numbers(rest)?),
            "latent_text" => latent::text(&gpu, numbers(rest)?),
            "latent_unet" => latent::unet(&gpu, numbers(rest)?),
            "latent_decoder" => latent::decoder(&gpu, numbers(rest)?),
            "unet_training" => training::unet(&gpu, numbers(rest)?),
            "blocks_training" => training::blocks(&gpu, numbers(rest)?),
            "tiny_training" => training::tiny(&gpu, numbers(rest)?),
            _ => return Ok(None),
        }?;
        let info = gpu.info();
        work.notes.push(format!("driver {} {}", info.driver, info.driver_info));
        Ok(Some((info.name.clone(), Box::new(work))))
    });
}
