//! Contents of tensors: dense slices of callers to padded rows on the device, and their layout.
use super::{DeviceTensor, Executor, upload::Upload};
use crate::{
    error::{Error, GpuError},
    plan::{Contents, Placement},
    value::{ElementType, TensorType, Value},
};
use std::borrow::Cow;

impl Executor {
    /// Writes a dense, row-major f32 slice to a tensor of floats, in order with the runs: an
    /// input, or a part of one that the plan reads, such as a parameter of an arena. Waits for the
    /// device after every 16 MiB, whose staging memory it gives back.
    ///
    /// # Errors
    /// If the value is no tensor of floats, holds another number of elements, or has no place.
    pub fn write(&mut self, value: Value, dense: &[f32]) -> Result<(), Error> {
        pollster::block_on(self.write_async(value, dense))
    }

    /// As [`Executor::write`], without blocking.
    ///
    /// # Errors
    /// As [`Executor::write`].
    pub async fn write_async(&mut self, value: Value, dense: &[f32]) -> Result<(), Error> {
        let of = self.check(value, dense.len(), "f32")?;
        self.upload(value, &encode(of, dense)).await
    }

    /// As [`Executor::write`], of a flat tensor of floats such as an arena, in pieces that follow each other: a
    /// piece is asked for when the one before it is sent.
    ///
    /// # Errors
    /// As [`Executor::write`], or the first error among the pieces.
    pub fn write_pieces<'p>(
        &mut self,
        value: Value,
        pieces: impl IntoIterator<Item = Result<Cow<'p, [f32]>, Error>>,
    ) -> Result<(), Error> {
        pollster::block_on(self.write_pieces_async(value, pieces))
    }

    /// As [`Executor::write_pieces`], without blocking.
    ///
    /// # Errors
    /// As [`Executor::write_pieces`].
    pub async fn write_pieces_async<'p>(
        &mut self,
        value: Value,
        pieces: impl IntoIterator<Item = Result<Cow<'p, [f32]>, Error>>,
    ) -> Result<(), Error> {
        let of = self.check_element(value, "f32")?;
        if of != of.with_shape(&[of.physical_elements()]) {
            return Err(GpuError::Element { value, of, asked: "f32 without pads" }.into());
        }
        let mut upload = Upload::new(self, value)?;
        for piece in pieces {
            let piece = piece?;
            let bytes = encode(of.with_shape(&[piece.len()]), &piece);
            upload.push(self, &bytes).await?;
        }
        upload.finish(self)
    }

    /// Writes a dense, row-major slice to a u32 tensor, as [`Executor::write`] writes floats.
    ///
    /// # Errors
    /// As [`Executor::write`].
    pub fn write_u32(&mut self, value: Value, dense: &[u32]) -> Result<(), Error> {
        pollster::block_on(self.write_u32_async(value, dense))
    }

    /// As [`Executor::write_u32`], without blocking.
    ///
    /// # Errors
    /// As [`Executor::write`].
    pub async fn write_u32_async(&mut self, value: Value, dense: &[u32]) -> Result<(), Error> {
        let of = self.check(value, dense.len(), "u32")?;
        self.upload(value, &pad(of, dense)).await
    }

    /// Where a value lies on the device, for work of the caller's own on the same queue. A tensor
    /// that the plan updates is that of the last run. An arena whose tensors are packed on upload has
    /// none: see [`Contents::staged`](crate::plan::Contents::staged). Who writes an input there says
    /// so by [`Executor::written`]: packed forms of a constant are kept until then.
    ///
    /// # Errors
    /// If the value has no place of its own.
    pub fn tensor(&self, value: Value) -> Result<DeviceTensor, Error> {
        let place = self.placement(value, "hand out")?;
        let buffer = self.buffers[place.buffer].clone();
        Ok(DeviceTensor { buffer, offset: place.offset, of: self.plan.types[value.index()] })
    }

    /// Copies a tensor's bytes on the device.
    pub(crate) fn copy(&mut self, from: &DeviceTensor, to: &DeviceTensor) -> Result<(), GpuError> {
        let bytes = to.of.bytes();
        self.gpu.guard("copying a tensor", bytes, || {
            let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
            let (source, place) = (&from.buffer, &to.buffer);
            encoder.copy_buffer_to_buffer(source, from.offset, place, to.offset, bytes);
            self.gpu.queue().submit([encoder.finish()]);
        })?;
        self.stats.submits += 1;
        Ok(())
    }

    /// Fills every buffer of its own with NaN, so that a test sees what a kernel did not write.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn poison(&mut self) -> Result<(), Error> {
        self.recording = None;
        let setup = |at: &usize| self.plan.sections[*at].is_setup();
        self.due = (self.plan.staged.len()..self.plan.sections.len()).filter(setup).collect();
        for buffer in &self.buffers[..self.own] {
            let ones = vec![0xff; buffer.size() as usize];
            self.gpu.guard("poisoning", buffer.size(), || {
                self.gpu.queue().write_buffer(buffer, 0, &ones);
            })?;
        }
        Ok(())
    }

    /// The value's type, if the plan knows it and it stores what the caller has.
    pub(super) fn check_element(
        &self,
        value: Value,
        asked: &'static str,
    ) -> Result<TensorType, Error> {
        let of = self.plan.find(value).ok_or(GpuError::Foreign { value, action: "find" })?;
        if (of.element == ElementType::U32) != (asked == "u32") {
            return Err(GpuError::Element { value, of, asked }.into());
        }
        Ok(of)
    }

    fn check(&self, value: Value, found: usize, asked: &'static str) -> Result<TensorType, Error> {
        let of = self.check_element(value, asked)?;
        let expected = of.shape.elements();
        if found != expected {
            return Err(GpuError::Length { value, of, expected, found }.into());
        }
        Ok(of)
    }

    pub(super) fn placement(
        &self,
        value: Value,
        action: &'static str,
    ) -> Result<Placement, GpuError> {
        self.plan.find(value).ok_or(GpuError::Foreign { value, action })?;
        let Contents { inputs, outputs, shared, .. } = &*self.plan;
        let known = [inputs, outputs, shared].iter().any(|values| values.contains(&value));
        let placement = self.plan.placements.get(value.index()).copied().flatten();
        placement.filter(|_| known).ok_or(GpuError::NoContents { value, action })
    }
}

/// Bytes of the device's layout: rows padded with zeros to a multiple of four elements. Arenas
/// of weights need none, and are not copied.
fn pad<T: bytemuck::Pod>(of: TensorType, dense: &[T]) -> Cow<'_, [u8]> {
    let (columns, pitch) = (of.shape.last(), of.pitch());
    if columns == pitch {
        return Cow::Borrowed(bytemuck::cast_slice(dense));
    }
    let mut padded = vec![T::zeroed(); of.physical_elements()];
    for (to, from) in padded.chunks_exact_mut(pitch).zip(dense.chunks_exact(columns)) {
        to[..columns].copy_from_slice(from);
    }
    Cow::Owned(bytemuck::cast_slice(&padded).to_vec())
}

/// The dense elements of padded bytes.
pub(super) fn unpad<T: bytemuck::Pod>(of: TensorType, bytes: &[u8]) -> Vec<T> {
    let (columns, pitch) = (of.shape.last(), of.pitch());
    let row = pitch * size_of::<T>();
    bytes
        .chunks_exact(row.max(1))
        .take(of.rows())
        .flat_map(|row| bytemuck::pod_collect_to_vec::<u8, T>(&row[..columns * size_of::<T>()]))
        .collect()
}

/// f32 numbers as the bytes of `of`, a tensor of floats.
fn encode(of: TensorType, dense: &[f32]) -> Cow<'_, [u8]> {
    match of.element {
        ElementType::F16 => {
            let half: Vec<half::f16> = dense.iter().map(|&x| half::f16::from_f32(x)).collect();
            Cow::Owned(pad(of, &half).into_owned())
        }
        ElementType::Bf16 => {
            let half: Vec<half::bf16> = dense.iter().map(|&x| half::bf16::from_f32(x)).collect();
            Cow::Owned(pad(of, &half).into_owned())
        }
        ElementType::F32 | ElementType::U32 => pad(of, dense),
    }
}

/// The f32 numbers behind the bytes of `of`, a tensor of floats.
pub(super) fn decode(of: TensorType, bytes: &[u8]) -> Vec<f32> {
    match of.element {
        ElementType::F16 => {
            unpad::<half::f16>(of, bytes).into_iter().map(half::f16::to_f32).collect()
        }
        ElementType::Bf16 => {
            unpad::<half::bf16>(of, bytes).into_iter().map(half::bf16::to_f32).collect()
        }
        ElementType::F32 | ElementType::U32 => unpad(of, bytes),
    }
}
