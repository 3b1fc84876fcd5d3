//! ddim for C: opens a pipeline and samples images into a buffer of the caller's. `include/ddim.h` is made of this
//! file.
//!
//! No panic crosses the border: it becomes an error. Texts are UTF-8 that ends in a zero.
#![expect(unsafe_code, reason = "C hands over pointers")]

use ddim::{
    diffusion::samplers::{SamplerKind, SamplerOptions},
    gpu::{Gpu, GpuOptions},
    pipeline::{self, Pipeline},
    sampling::SamplingRequest,
};
use std::{
    cell::RefCell,
    ffi::{CStr, CString, c_char, c_int, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    ptr, slice,
};

thread_local! {
    static ERROR: RefCell<CString> = RefCell::default();
}

/// How a call ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DdimStatus {
    /// As asked.
    Ok = 0,
    /// It failed: `ddim_error` says why.
    Error = 1,
    /// The progress function stopped it.
    Cancelled = 2,
}

/// A model with its weights and noise schedule, on a device. One thread at a time may use it.
pub struct DdimPipeline {
    gpu: Gpu,
    pipeline: Pipeline,
}

/// Which images to sample, and how.
#[repr(C)]
pub struct DdimRequest {
    /// Number of images.
    pub count: u32,
    /// Steps of the sampler; 0 for its usual number.
    pub steps: u32,
    /// Keys the noise: the same seed gives the same images.
    pub seed: u64,
    /// The class of all images; below 0 for each class in turn.
    pub class_label: c_int,
    /// Name of the sampler, as `ddim sample --list` prints it; null for the pipeline's own.
    pub sampler: *const c_char,
}

/// Is told after each step how far the images from `first_image` on are. 0 goes on, anything else stops.
pub type DdimProgress = Option<
    unsafe extern "C" fn(user: *mut c_void, first_image: u32, step: u32, steps: u32) -> c_int,
>;

/// Why a call did not end as asked.
enum Failure {
    Error(String),
    Cancelled,
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.to_string())
    }
}

fn remember(text: &str) {
    // A zero would end the text.
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    ERROR.with(|error| error.replace(text));
}

/// Runs a call; an error or a panic is remembered for `ddim_error`.
fn guarded(work: impl FnOnce() -> Result<(), Failure>) -> DdimStatus {
    let message = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return DdimStatus::Ok,
        Ok(Err(Failure::Cancelled)) => return DdimStatus::Cancelled,
        Ok(Err(Failure::Error(message))) => message,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or(panic.downcast_ref::<String>().map(String::as_str));
            format!("a fault of this library: {}", text.unwrap_or("a panic"))
        }
    };
    remember(&message);
    DdimStatus::Error
}

/// A text of the caller's.
///
/// # Safety
/// Null, or a text that ends in a zero and lives while it is read.
unsafe fn text<'a>(pointer: *const c_char, what: &str) -> Result<&'a str, Failure> {
    if pointer.is_null() {
        return Err(Failure::Error(format!("{what} must be a text, found null")));
    }
    // SAFETY: not null; the rest is the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| Failure::Error(format!("{what} must be UTF-8, found {text:?}")))
}

fn null(what: &str) -> Failure {
    Failure::Error(format!("{what} must not be null"))
}

/// What went wrong in the last call of this thread that failed; empty if none did. Valid until the next call of this
/// thread.
#[unsafe(no_mangle)]
pub extern "C" fn ddim_error() -> *const c_char {
    ERROR.with(|error| error.borrow().as_ptr())
}

/// Opens a folder of diffusers, or a file of the projects that ddim reads, on the best device; null if that fails. `path`
/// is a text; free the result by `ddim_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ddim_open(path: *const c_char) -> *mut DdimPipeline {
    let mut opened = ptr::null_mut();
    guarded(|| {
        // SAFETY: the caller hands over a text.
        let path = unsafe { text(path, "the path") }?;
        let pipeline = pipeline::open(Path::new(path))?;
        let gpu = Gpu::new(&GpuOptions::default())?;
        opened = Box::into_raw(Box::new(DdimPipeline { gpu, pipeline }));
        Ok(())
    });
    opened
}

/// Frees a pipeline; null is no harm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ddim_free(pipeline: *mut DdimPipeline) {
    if !pipeline.is_null() {
        // SAFETY: `ddim_open` made it, and nobody uses it any more.
        let pipeline = unsafe { Box::from_raw(pipeline) };
        guarded(|| {
            drop(pipeline);
            Ok(())
        });
    }
}

/// Height, width and channels of the images of a pipeline, written to `shape`. Fails where the model names no size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ddim_image_shape(
    pipeline: *const DdimPipeline,
    shape: *mut usize,
) -> DdimStatus {
    guarded(|| {
        // SAFETY: null, or a pipeline that `ddim_open` made.
        let pipeline = unsafe { pipeline.as_ref() }.ok_or_else(|| null("the pipeline"))?;
        if shape.is_null() {
            return Err(null("the shape"));
        }
        // SAFETY: the caller has room for three numbers.
        unsafe { slice::from_raw_parts_mut(shape, 3) }.copy_from_slice(&self::shape(pipeline)?);
        Ok(())
    })
}

fn shape(of: &DdimPipeline) -> Result<[usize; 3], Failure> {
    let config = of.pipeline.unet.config();
    let size = config.sample_size.ok_or_else(|| {
        Failure::Error("the model must name its sample_size, found none".to_owned())
    })?;
    let (height, width) = size.sides();
    Ok([height, width, config.in_channels])
}

/// Samples images to `images`, which has room for `length` numbers: count x height x width x channels of them,
/// row-major, -1 to 1. `progress` may be null; it is given `user`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ddim_sample(
    pipeline: *mut DdimPipeline,
    request: *const DdimRequest,
    images: *mut f32,
    length: usize,
    progress: DdimProgress,
    user: *mut c_void,
) -> DdimStatus {
    guarded(|| {
        // SAFETY: null, or a pipeline that `ddim_open` made.
        let pipeline = unsafe { pipeline.as_ref() }.ok_or_else(|| null("the pipeline"))?;
        // SAFETY: null, or a request of the caller's.
        let request = unsafe { request.as_ref() }.ok_or_else(|| null("the request"))?;
        let [height, width, channels] = shape(pipeline)?;
        let expected = request.count as usize * height * width * channels;
        if images.is_null() || length != expected {
            let found = if images.is_null() { "null".to_owned() } else { length.to_string() };
            return Err(Failure::Error(format!(
                "images must have room for {expected} numbers, found {found}"
            )));
        }
        let sampled = sample(pipeline, request, [height, width], |first, step, steps| {
            // SAFETY: the caller's own function, with the caller's own pointer.
            progress.is_none_or(|hear| unsafe { hear(user, first, step, steps) } == 0)
        })?;
        // SAFETY: not null, with room for so many numbers.
        unsafe { slice::from_raw_parts_mut(images, length) }.copy_from_slice(&sampled);
        Ok(())
    })
}

fn sample(
    DdimPipeline { gpu, pipeline }: &DdimPipeline,
    request: &DdimRequest,
    size: [usize; 2],
    mut goes_on: impl FnMut(u32, u32, u32) -> bool,
) -> Result<Vec<f32>, Failure> {
    let kind = match request.sampler.is_null() {
        true => SamplerKind::usual(&pipeline.scheduler)?,
        // SAFETY: a text of the caller's.
        false => unsafe { text(request.sampler, "the sampler") }?.parse()?,
    };
    let steps = (request.steps > 0).then_some(request.steps as usize);
    let table = kind.table(&pipeline.scheduler, &SamplerOptions { steps, ..Default::default() })?;
    let count = request.count as usize;
    let request = SamplingRequest {
        class: u32::try_from(request.class_label).ok(),
        ..SamplingRequest::new(&table, size, count, request.seed)
    };
    if count == 0 {
        return Ok(Vec::new());
    }
    let total = table.steps.len();
    let stops: Vec<usize> = (1..total).collect();
    request.open(gpu, pipeline)?.images(
        &stops,
        |_| {},
        |_, reached| match goes_on(reached.first as u32, reached.steps as u32, total as u32) {
            true => Ok(()),
            false => Err(Failure::Cancelled),
        },
    )
}
