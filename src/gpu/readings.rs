//! Parts of tensors that are read while the section that computes them goes on.
use super::{
    Executor,
    download::{Download, bytes},
};
use crate::{
    error::{Error, GpuError},
    plan::{Access, Dispatch, Placement},
    value::{TensorType, Value},
};
use std::ops::Range;

/// A part of a tensor on its way from the device.
///
/// ```no_run
/// use ddim::{gpu::{Executor, Gpu, GpuOptions}, graph::Graph, ops::Silu, passes, value::TensorType};
/// use ddim::plan::Section;
///
/// let gpu = Gpu::new(&GpuOptions::default())?;
/// let mut graph = Graph::new();
/// let x = graph.input(TensorType::f32(&[1024]));
/// let h = graph.push(Silu, &[x])?;
/// let y = graph.push(Silu, &[h])?;
/// graph.outputs.extend([h, y]);
/// let mut executor = Executor::new(&gpu, passes::compile(&graph, gpu.target())?)?;
/// let readings = executor.run_section_reading(Section::STEP, &[(h, 0..512), (y, 0..1024)])?;
/// for reading in readings {
///     // The first one comes while the device computes `y`.
///     println!("{:?}", executor.finish_reading(reading)?);
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
pub struct Reading {
    /// Nothing, of no elements.
    download: Option<Download>,
    /// Predicted seconds of the work up to the copy, since the last wait.
    predicted: f64,
}

impl Executor {
    /// As [`Executor::run_section`], and asks for parts of flat f32 tensors that the section computes, each a range of
    /// elements. A part is on its way when the last launch that writes to it is done, and those that stand before it in
    /// `parts` are on theirs; the device goes on with the launches after that. Nothing waits before
    /// [`Executor::finish_reading`].
    ///
    /// # Errors
    /// As [`Executor::run_section`], or if a value is no flat f32 tensor, has fewer elements or no place.
    pub fn run_section_reading(
        &mut self,
        name: &str,
        parts: &[(Value, Range<usize>)],
    ) -> Result<Vec<Reading>, Error> {
        let section = self.section_at(name)?;
        let places = parts.iter().map(|(value, part)| self.part_at(*value, part));
        let places = places.collect::<Result<Vec<_>, GpuError>>()?;
        self.make_ready()?;
        self.staged = 0;
        let launches: Vec<usize> = self.sections[section].clone().collect();
        let (mut readings, mut submitted) = (Vec::with_capacity(parts.len()), 0);
        for (place, size) in places {
            let end = self.writers_end(section, place, size).max(submitted);
            self.submit_all(&launches[submitted..end], 1, |_, _, _| Ok(()))?;
            submitted = end;
            let predicted = self.running.as_ref().map_or(0.0, |(_, predicted)| *predicted);
            let buffer = self.buffers[place.buffer].clone();
            let download = self.begin_download(&[(buffer, place.offset, size)])?;
            readings.push(Reading { download, predicted });
        }
        self.submit_all(&launches[submitted..], 1, |_, _, _| Ok(()))?;
        self.gpu.check_now()?;
        Ok(readings)
    }

    /// Waits until a part has come, not for the launches after it.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn finish_reading(&mut self, reading: Reading) -> Result<Vec<f32>, Error> {
        let Reading { download, predicted } = reading;
        let Some(Download { staging, submission, mapped }) = download else {
            return Ok(Vec::new());
        };
        self.stats.waits += 1;
        self.gpu.wait(Some(submission))?;
        self.measured(predicted);
        Ok(bytemuck::pod_collect_to_vec(&bytes(&self.gpu, &staging, mapped.recv())?))
    }

    /// Place and bytes of a part of a flat f32 tensor.
    fn part_at(&self, value: Value, part: &Range<usize>) -> Result<(Placement, u64), GpuError> {
        let asked = "f32 with one axis";
        let of = self.plan.find(value).ok_or(GpuError::Foreign { value, action: "read" })?;
        let expected = of.shape.elements();
        if of != TensorType::f32(&[expected]) {
            return Err(GpuError::Element { value, of, asked });
        }
        if part.start > part.end || part.end > expected {
            return Err(GpuError::Length { value, of, expected, found: part.end });
        }
        let Placement { buffer, offset } = self.placement(value, "read")?;
        let place = Placement { buffer, offset: offset + 4 * part.start as u64 };
        Ok((place, 4 * part.len() as u64))
    }

    /// How many launches of a section come up to the last that writes to these bytes.
    fn writers_end(&self, section: usize, place: Placement, size: u64) -> usize {
        let overlaps = |value: Value| {
            let Some(at) = self.plan.placements[value.index()] else { return false };
            let end = at.offset + self.plan.types[value.index()].bytes();
            at.buffer == place.buffer && at.offset < place.offset + size && place.offset < end
        };
        let writes = |dispatch: &Dispatch| {
            let mut written = dispatch.bindings.iter().filter(|of| of.access == Access::Write);
            written.any(|binding| binding.value.is_some_and(overlaps))
        };
        let launches = &self.plan.sections[section].launches;
        launches.iter().rposition(writes).map_or(0, |last| last + 1)
    }
}
