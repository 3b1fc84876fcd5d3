//! Writing inputs, front to back: into their buffers, or through the slots of parts that are packed.
use super::Executor;
use crate::{
    error::{Error, GpuError},
    plan::{Placement, StagedPart, Trigger},
    value::Value,
};
use std::{collections::VecDeque, ops::Range};

/// wgpu holds twice the bytes of an upload until it is polled.
const MOST_STAGED: usize = 16 << 20;

/// An input, or a part of one, that is being written.
pub(super) struct Upload {
    value: Value,
    /// Its place, if it is not packed in parts.
    place: Option<Placement>,
    /// The parts that are not written yet: their sections and bytes.
    parts: VecDeque<(usize, Range<usize>)>,
    /// The bytes of the first of them that have come.
    begun: Vec<u8>,
    /// Bytes that have come.
    at: usize,
}

impl Upload {
    pub fn new(executor: &mut Executor, value: Value) -> Result<Self, Error> {
        let staged = executor.plan.staged.iter().enumerate();
        let parts = staged.filter(|(_, of)| value == of.input || value == of.part);
        let mut parts: Vec<_> = parts
            .map(|(section, of)| {
                let first = if value == of.input { of.offset as usize } else { 0 };
                let size = executor.plan.types[of.part.index()].bytes() as usize;
                (section, first..first + size)
            })
            .collect();
        parts.sort_by_key(|(_, bytes)| bytes.start);
        let mut place = None;
        if parts.is_empty() {
            place = Some(executor.input_at(value)?.1);
            executor.written(value)?;
        }
        Ok(Self { value, place, parts: parts.into(), begun: Vec::new(), at: 0 })
    }

    /// Sends the next bytes, and lets the device catch up where much waits to be copied.
    pub async fn push(&mut self, executor: &mut Executor, bytes: &[u8]) -> Result<(), Error> {
        let (start, end) = (self.at, self.at + bytes.len());
        self.at = end;
        if let Some(Placement { buffer, offset }) = self.place {
            self.check(executor, end)?;
            let place = Placement { buffer, offset: offset + start as u64 };
            return executor.send(place, bytes).await;
        }
        while let Some((section, part)) = self.parts.front().filter(|(_, part)| part.start < end) {
            let own = &bytes[part.start.max(start) - start..part.end.min(end) - start];
            // Most parts come whole, and are not copied.
            if own.len() == part.len() {
                executor.upload_part(*section, own).await?;
            } else {
                self.begun.extend_from_slice(own);
                if self.begun.len() < part.len() {
                    break;
                }
                executor.upload_part(*section, &self.begun).await?;
                self.begun.clear();
            }
            self.parts.pop_front();
        }
        Ok(())
    }

    /// Checks that all bytes came.
    pub fn finish(self, executor: &Executor) -> Result<(), Error> {
        let of = executor.plan.types[self.value.index()];
        if self.at as u64 != of.bytes() {
            return Err(self.length(executor, self.at));
        }
        Ok(executor.gpu.check_now()?)
    }

    /// Bytes behind the value are another's.
    fn check(&self, executor: &Executor, end: usize) -> Result<(), Error> {
        let of = executor.plan.types[self.value.index()];
        if end as u64 > of.bytes() { Err(self.length(executor, end)) } else { Ok(()) }
    }

    fn length(&self, executor: &Executor, bytes: usize) -> Error {
        let (value, of) = (self.value, executor.plan.types[self.value.index()]);
        let size = of.element.bytes();
        GpuError::Length { value, of, expected: of.physical_elements(), found: bytes / size }.into()
    }
}

impl Executor {
    /// Marks an input, or a part of one, as written through the buffer of [`Executor::tensor`]. The
    /// next run first computes again what depends on constants alone. Submit the work that writes
    /// the buffer before that run.
    ///
    /// # Errors
    /// If the value is no input, or has no place of its own.
    pub fn written(&mut self, value: Value) -> Result<(), GpuError> {
        let (input, _) = self.input_at(value)?;
        self.mark_due(input);
        Ok(())
    }

    /// The setup of this constant has to run again.
    fn mark_due(&mut self, constant: Value) {
        let sections = self.plan.sections.iter().enumerate().skip(self.plan.staged.len());
        let due = sections.filter(|(_, section)| match &section.trigger {
            Trigger::AfterWrite(constants) => constants.contains(&constant),
            Trigger::EveryRun | Trigger::ByName => false,
        });
        self.due.extend(due.map(|(at, _)| at));
    }

    /// The input that a caller may write at this value, and where: one itself, or a part of one.
    fn input_at(&self, value: Value) -> Result<(Value, Placement), GpuError> {
        self.plan.find(value).ok_or(GpuError::Foreign { value, action: "write" })?;
        let place = |value: Value| self.plan.placements.get(value.index()).copied().flatten();
        let (part, inputs) = (place(value), &self.plan.inputs);
        let holder =
            |input: &&Value| place(**input).map(|at| at.buffer) == part.map(|at| at.buffer);
        let mut writable = inputs.iter().chain(&self.plan.shared);
        let input = writable.find(|input| **input == value).or_else(|| inputs.iter().find(holder));
        input.copied().zip(part).ok_or(GpuError::NoContents { value, action: "write" })
    }

    /// Writes all bytes of a value.
    pub(super) async fn upload(&mut self, value: Value, bytes: &[u8]) -> Result<(), Error> {
        let mut upload = Upload::new(self, value)?;
        upload.push(self, bytes).await?;
        upload.finish(self)
    }

    /// Writes the staged part of this section, and packs it.
    pub(super) async fn upload_part(&mut self, section: usize, bytes: &[u8]) -> Result<(), Error> {
        let StagedPart { input, part, .. } = self.plan.staged[section];
        self.mark_due(input);
        let place = self.plan.placements[part.index()];
        let place = place.ok_or(GpuError::NoContents { value: part, action: "write" })?;
        self.send(place, bytes).await?;
        self.submit_section(section)?;
        self.due.remove(&section);
        Ok(())
    }

    async fn send(&mut self, place: Placement, bytes: &[u8]) -> Result<(), Error> {
        let mut offset = place.offset;
        // The pitch makes every f16 row a multiple of 8 bytes, so chunks stay 4-aligned.
        for chunk in bytes.chunks(MOST_STAGED) {
            self.gpu.guard("uploading", chunk.len() as u64, || {
                self.gpu.queue().write_buffer(&self.buffers[place.buffer], offset, chunk);
            })?;
            offset += chunk.len() as u64;
            self.stats.uploaded += chunk.len() as u64;
            self.staged += chunk.len();
            // Submitting and polling gives the staging memory back; a browser does it by itself.
            if self.staged >= MOST_STAGED && !cfg!(target_family = "wasm") {
                self.gpu.guard("uploading", 0, || self.gpu.queue().submit([]))?;
                self.wait_async().await?;
            }
        }
        Ok(())
    }
}
