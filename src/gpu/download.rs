//! Tensors read back. Each reading has a form that blocks and one that does not.
use super::{
    Executor, Gpu,
    transfer::{decode, unpad},
};
use crate::{
    error::{Error, GpuError},
    plan::Placement,
    value::{TensorType, Value},
};
use std::fmt::Display;

/// Bytes on their way from the device.
pub(super) struct Download {
    pub staging: wgpu::Buffer,
    /// The copy to it.
    pub submission: wgpu::SubmissionIndex,
    pub mapped: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

/// The bytes of a mapped buffer, once the mapping ended so.
pub(super) fn bytes(
    gpu: &Gpu,
    staging: &wgpu::Buffer,
    mapped: Result<Result<(), wgpu::BufferAsyncError>, oneshot::RecvError>,
) -> Result<Vec<u8>, GpuError> {
    let failed = |error: &dyn Display| {
        let (action, message) = ("reading back".to_owned(), error.to_string());
        gpu.lost_or(GpuError::Device { action, message })
    };
    mapped.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    let range = staging.get_mapped_range(..).map_err(|error| failed(&error))?;
    Ok(range.to_vec())
}

/// The contents of a tensor of floats and of one of words, from their bytes one after the other.
fn pair((floats, words): (TensorType, TensorType), bytes: &[u8]) -> (Vec<f32>, Vec<u32>) {
    let (first, second) = bytes.split_at(floats.bytes() as usize);
    (decode(floats, first), unpad(words, second))
}

impl Executor {
    /// Waits, then returns the dense, row-major contents of a tensor of floats as f32.
    ///
    /// # Errors
    /// If the value is no tensor of floats or has no place, or the device is lost.
    pub fn read(&mut self, value: Value) -> Result<Vec<f32>, Error> {
        let of = self.check_element(value, "f32")?;
        Ok(decode(of, &self.contents(&[value])?))
    }

    /// Waits, then returns the dense, row-major contents of a u32 tensor.
    ///
    /// # Errors
    /// As [`Executor::read`].
    pub fn read_u32(&mut self, value: Value) -> Result<Vec<u32>, Error> {
        let of = self.check_element(value, "u32")?;
        Ok(unpad(of, &self.contents(&[value])?))
    }

    /// Waits once, then returns what [`Executor::read`] and [`Executor::read_u32`] would.
    ///
    /// # Errors
    /// As [`Executor::read`].
    pub fn read_with(
        &mut self,
        floats: Value,
        words: Value,
    ) -> Result<(Vec<f32>, Vec<u32>), Error> {
        let types = (self.check_element(floats, "f32")?, self.check_element(words, "u32")?);
        Ok(pair(types, &self.contents(&[floats, words])?))
    }

    /// Waits, then returns the bytes from a value's first to the end of its buffer.
    ///
    /// # Errors
    /// If the value has no place, or the device is lost.
    pub fn read_raw(&mut self, value: Value) -> Result<Vec<u8>, Error> {
        let place = self.placement(value, "read")?;
        let buffer = self.buffers[place.buffer].clone();
        let size = buffer.size() - place.offset;
        self.download(&[(buffer, place.offset, size)])
    }

    /// As [`Executor::read`], without blocking.
    ///
    /// # Errors
    /// As [`Executor::read`].
    pub async fn read_async(&mut self, value: Value) -> Result<Vec<f32>, Error> {
        let of = self.check_element(value, "f32")?;
        Ok(decode(of, &self.contents_async(&[value]).await?))
    }

    /// As [`Executor::read_u32`], without blocking.
    ///
    /// # Errors
    /// As [`Executor::read`].
    pub async fn read_u32_async(&mut self, value: Value) -> Result<Vec<u32>, Error> {
        let of = self.check_element(value, "u32")?;
        Ok(unpad(of, &self.contents_async(&[value]).await?))
    }

    /// As [`Executor::read_with`], without blocking.
    ///
    /// # Errors
    /// As [`Executor::read`].
    pub async fn read_with_async(
        &mut self,
        floats: Value,
        words: Value,
    ) -> Result<(Vec<f32>, Vec<u32>), Error> {
        let types = (self.check_element(floats, "f32")?, self.check_element(words, "u32")?);
        Ok(pair(types, &self.contents_async(&[floats, words]).await?))
    }

    /// Waits, then returns the bytes of these values, one after another.
    fn contents(&mut self, values: &[Value]) -> Result<Vec<u8>, Error> {
        let ranges = self.ranges(values)?;
        self.download(&ranges)
    }

    async fn contents_async(&mut self, values: &[Value]) -> Result<Vec<u8>, Error> {
        let ranges = self.ranges(values)?;
        let Some(Download { staging, mapped, .. }) = self.begin_download(&ranges)? else {
            return Ok(Vec::new());
        };
        self.wait_async().await?;
        Ok(bytes(&self.gpu, &staging, mapped.await)?)
    }

    fn ranges(&self, values: &[Value]) -> Result<Vec<(wgpu::Buffer, u64, u64)>, Error> {
        let range = |&value: &Value| {
            let Placement { buffer, offset } = self.placement(value, "read")?;
            Ok((self.buffers[buffer].clone(), offset, self.plan.types[value.index()].bytes()))
        };
        values.iter().map(range).collect()
    }

    /// Waits, then returns the bytes of ranges (buffer, offset, size), one after another.
    pub(super) fn download(
        &mut self,
        ranges: &[(wgpu::Buffer, u64, u64)],
    ) -> Result<Vec<u8>, Error> {
        let Some(Download { staging, mapped, .. }) = self.begin_download(ranges)? else {
            return Ok(Vec::new());
        };
        self.wait()?;
        Ok(bytes(&self.gpu, &staging, mapped.recv())?)
    }

    /// Asks for the bytes of ranges, unless there are none.
    pub(super) fn begin_download(
        &mut self,
        ranges: &[(wgpu::Buffer, u64, u64)],
    ) -> Result<Option<Download>, Error> {
        let size = ranges.iter().map(|(_, _, size)| size).sum();
        if size == 0 {
            return Ok(None);
        }
        let (device, queue) = (self.gpu.device(), self.gpu.queue());
        let (sender, mapped) = oneshot::channel();
        let (staging, submission) = self.gpu.guard("reading back", size, || {
            let staging = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("read back"),
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let mut encoder = device.create_command_encoder(&Default::default());
            let mut end = 0;
            for (from, offset, size) in ranges {
                encoder.copy_buffer_to_buffer(from, *offset, &staging, end, *size);
                end += size;
            }
            let submission = queue.submit([encoder.finish()]);
            // Without a receiver nobody asks any more.
            staging.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
            (staging, submission)
        })?;
        self.stats.submits += 1;
        self.stats.maps += 1;
        self.stats.read_back += size;
        Ok(Some(Download { staging, submission, mapped }))
    }
}
