//! Replays a plan: the same dispatches, step after step, with no host wait inside.
use super::{Gpu, GpuError, pipelines::Compiled, transfer};
use crate::{
    error::Error,
    plan::{Access, Dispatch, Placement, Plan},
    value::{ElementType, TensorType, Value},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Operating systems reset a GPU that is busy for seconds with one command buffer.
const LONGEST_SUBMIT: Duration = Duration::from_millis(500);

/// wgpu holds twice the bytes of an upload until it is polled.
const UPLOAD_CHUNK: usize = 16 << 20;

/// What an executor has asked of the device so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Command buffers submitted.
    pub submits: u64,
    /// Kernel launches.
    pub dispatches: u64,
    /// Times the host blocked on the device.
    pub waits: u64,
    /// Buffers mapped for reading.
    pub maps: u64,
}

struct Step {
    compiled: Arc<Compiled>,
    group: wgpu::BindGroup,
    workgroups: [u32; 3],
    /// Predicted time on a device of the assumed pace.
    predicted: f64,
}

/// A plan with its buffers, pipelines and bind groups on a device.
pub struct Executor {
    gpu: Gpu,
    plan: Plan,
    buffers: Vec<wgpu::Buffer>,
    steps: Vec<Step>,
    stats: Stats,
    /// Measured over predicted time, from the last wait.
    pace: f64,
    /// Start and predicted seconds of the work submitted since the last wait.
    running: Option<(Instant, f64)>,
}

impl Executor {
    /// Allocates the plan's buffers (zeroed), compiles its kernels and binds them.
    ///
    /// # Errors
    /// If memory runs out or the device refuses a kernel.
    pub fn new(gpu: &Gpu, plan: Plan) -> Result<Self, Error> {
        let buffer = |label: &str, size: u64, usage| {
            gpu.guard(&format!("allocating a buffer ({label})"), size, || {
                gpu.device().create_buffer(&wgpu::BufferDescriptor {
                    label: Some(label),
                    size,
                    usage,
                    mapped_at_creation: false,
                })
            })
        };
        let storage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let buffers = plan
            .buffers
            .iter()
            .map(|planned| buffer(&format!("{:?}", planned.role), planned.bytes.max(16), storage))
            .collect::<Result<Vec<_>, _>>()?;
        // Absent optional operands: bound, never touched. One buffer cannot be both read and
        // written in a dispatch, hence two.
        let dummies = [buffer("absent, read", 16, storage)?, buffer("absent, written", 16, storage)?];

        let alignment = gpu.device().limits().min_uniform_buffer_offset_alignment as usize;
        let mut uniforms: Vec<u8> = Vec::new();
        let mut offsets = Vec::with_capacity(plan.dispatches.len());
        for dispatch in &plan.dispatches {
            offsets.push(uniforms.len() as u64);
            uniforms.extend(&dispatch.params);
            uniforms.resize(uniforms.len().next_multiple_of(alignment), 0);
        }
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let uniform = buffer("parameters", (uniforms.len() as u64).max(16), usage)?;
        if !uniforms.is_empty() {
            gpu.guard("writing parameters", 0, || gpu.queue().write_buffer(&uniform, 0, &uniforms))?;
        }

        let mut steps = Vec::with_capacity(plan.dispatches.len());
        for (dispatch, offset) in plan.dispatches.iter().zip(offsets) {
            let compiled = gpu.pipelines().get(gpu, dispatch)?;
            let group = bind(gpu, &plan, dispatch, &compiled, &buffers, &dummies, (&uniform, offset))?;
            let (flops, bytes) = (dispatch.cost.flops as f64, dispatch.cost.bytes as f64);
            let slowness = if gpu.target().software { 1.0 } else { 0.05 };
            let predicted = slowness * (flops / 5e9 + bytes / 2e9 + 1e-5);
            steps.push(Step { compiled, group, workgroups: dispatch.workgroups, predicted });
        }
        let (gpu, stats) = (gpu.clone(), Stats::default());
        Ok(Self { gpu, plan, buffers, steps, stats, pace: 1.0, running: None })
    }

    /// The plan being replayed.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// What was asked of the device so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Runs the plan `times` times, one after another, without waiting: all is submitted when
    /// this returns, in command buffers that each take less than half a second.
    ///
    /// # Errors
    /// If the device refuses the work or is lost.
    pub fn run(&mut self, times: usize) -> Result<(), Error> {
        let mut budget = LONGEST_SUBMIT.as_secs_f64() * 0.8;
        let mut encoder: Option<wgpu::CommandEncoder> = None;
        let mut predicted = 0.0;
        let mut next = 0;
        let total = times * self.steps.len();
        while next < total {
            let recording = encoder.insert(self.gpu.device().create_command_encoder(&Default::default()));
            let first = next;
            {
                let mut pass = recording.begin_compute_pass(&Default::default());
                while next < total {
                    let step = &self.steps[next % self.steps.len()];
                    let seconds = step.predicted * self.pace;
                    if seconds > budget && next > first {
                        break;
                    }
                    budget -= seconds;
                    predicted += step.predicted;
                    pass.set_pipeline(&step.compiled.pipeline);
                    pass.set_bind_group(0, &step.group, &[]);
                    let [x, y, z] = step.workgroups;
                    pass.dispatch_workgroups(x, y, z);
                    next += 1;
                }
            }
            let Some(finished) = encoder.take() else { break };
            self.gpu.guard("submitting work", 0, || self.gpu.queue().submit([finished.finish()]))?;
            self.stats.submits += 1;
            self.stats.dispatches += (next - first) as u64;
            budget = LONGEST_SUBMIT.as_secs_f64() * 0.8;
        }
        let (_, submitted) = self.running.get_or_insert((Instant::now(), 0.0));
        *submitted += predicted;
        Ok(())
    }

    /// Blocks until everything submitted is done.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn wait(&mut self) -> Result<(), Error> {
        self.stats.waits += 1;
        self.gpu.wait()?;
        if let Some((start, predicted)) = self.running.take()
            && predicted > 0.0
        {
            self.pace = (start.elapsed().as_secs_f64() / predicted).clamp(1e-4, 1e3);
        }
        Ok(())
    }

    /// Writes a dense, row-major f32 slice to an f32 or f16 tensor, in order with the runs.
    ///
    /// # Errors
    /// If the value is no tensor of floats, holds another number of elements, or has no place.
    pub fn write(&mut self, value: Value, dense: &[f32]) -> Result<(), Error> {
        let of = self.check(value, dense.len(), "f32")?;
        self.upload(value, &transfer::encode(of, dense))
    }

    /// Writes a dense, row-major slice to a u32 tensor, in order with the runs.
    ///
    /// # Errors
    /// As [`Executor::write`].
    pub fn write_u32(&mut self, value: Value, dense: &[u32]) -> Result<(), Error> {
        let of = self.check(value, dense.len(), "u32")?;
        self.upload(value, &transfer::pad(of, dense))
    }

    /// Waits, then returns the dense, row-major contents of an f32 or f16 tensor as f32.
    ///
    /// # Errors
    /// If the value is no tensor of floats or has no place, or the device is lost.
    pub fn read(&mut self, value: Value) -> Result<Vec<f32>, Error> {
        let of = self.check_element(value, "f32")?;
        Ok(transfer::decode(of, &self.contents(value)?))
    }

    /// Waits, then returns the dense, row-major contents of a u32 tensor.
    ///
    /// # Errors
    /// As [`Executor::read`].
    pub fn read_u32(&mut self, value: Value) -> Result<Vec<u32>, Error> {
        let of = self.check_element(value, "u32")?;
        Ok(transfer::unpad(of, &self.contents(value)?))
    }

    /// Fills every buffer with NaN, so that a test sees what a kernel did not write.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn poison(&mut self) -> Result<(), Error> {
        for buffer in &self.buffers {
            let ones = vec![0xff; buffer.size() as usize];
            self.gpu.guard("poisoning", buffer.size(), || {
                self.gpu.queue().write_buffer(buffer, 0, &ones);
            })?;
        }
        Ok(())
    }

    /// Waits, then returns the bytes from a value's first to the end of its buffer.
    ///
    /// # Errors
    /// If the value has no place, or the device is lost.
    pub fn read_raw(&mut self, value: Value) -> Result<Vec<u8>, Error> {
        let place = self.placement(value, "read")?;
        let size = self.buffers[place.buffer].size() - place.offset;
        self.download(place, size)
    }

    fn check_element(&self, value: Value, asked: &'static str) -> Result<TensorType, Error> {
        let of = self.plan.types[value.index()];
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

    fn placement(&self, value: Value, action: &'static str) -> Result<Placement, GpuError> {
        let known = self.plan.inputs.contains(&value) || self.plan.outputs.contains(&value);
        let placement = self.plan.placements[value.index()].filter(|_| known);
        placement.ok_or(GpuError::NoContents { value, action })
    }

    fn upload(&mut self, value: Value, bytes: &[u8]) -> Result<(), Error> {
        let place = self.placement(value, "write")?;
        let mut offset = place.offset;
        for chunk in bytes.chunks(UPLOAD_CHUNK) {
            // The pitch makes every f16 row a multiple of 8 bytes, so chunks stay 4-aligned.
            self.gpu.guard("uploading", chunk.len() as u64, || {
                self.gpu.queue().write_buffer(&self.buffers[place.buffer], offset, chunk);
            })?;
            if chunk.len() == UPLOAD_CHUNK {
                // Submitting and polling gives the staging memory back.
                self.gpu.queue().submit([]);
                self.wait()?;
            }
            offset += chunk.len() as u64;
        }
        Ok(())
    }

    fn contents(&mut self, value: Value) -> Result<Vec<u8>, Error> {
        let place = self.placement(value, "read")?;
        self.download(place, self.plan.types[value.index()].bytes())
    }

    fn download(&mut self, place: Placement, size: u64) -> Result<Vec<u8>, Error> {
        let (device, queue) = (self.gpu.device(), self.gpu.queue());
        let staging = self.gpu.guard("allocating a staging buffer", size, || {
            let staging = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("download"),
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let mut encoder = device.create_command_encoder(&Default::default());
            let from = &self.buffers[place.buffer];
            encoder.copy_buffer_to_buffer(from, place.offset, &staging, 0, size);
            queue.submit([encoder.finish()]);
            staging
        })?;
        self.stats.submits += 1;
        self.stats.maps += 1;
        let (sender, receiver) = std::sync::mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver lives until this function returns; if it is gone, nobody asks.
            let _ = sender.send(result);
        });
        self.wait()?;
        let failed = |message: String| GpuError::Device { action: "mapping a buffer".into(), message };
        receiver
            .recv()
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        let range = staging.get_mapped_range(..).map_err(|error| failed(error.to_string()))?;
        Ok(range.to_vec())
    }
}

fn bind(
    gpu: &Gpu,
    plan: &Plan,
    dispatch: &Dispatch,
    compiled: &Compiled,
    buffers: &[wgpu::Buffer],
    dummies: &[wgpu::Buffer; 2],
    (uniform, offset): (&wgpu::Buffer, u64),
) -> Result<wgpu::BindGroup, GpuError> {
    let range = |buffer, offset, size| {
        let size = wgpu::BufferSize::new(size);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size })
    };
    let mut entries = Vec::with_capacity(dispatch.bindings.len() + 1);
    if !dispatch.params.is_empty() {
        let resource = range(uniform, offset, dispatch.params.len() as u64);
        entries.push(wgpu::BindGroupEntry { binding: 0, resource });
    }
    for binding in &dispatch.bindings {
        let place = binding.value.and_then(|value| Some((value, plan.placements[value.index()]?)));
        let resource = match place {
            Some((value, Placement { buffer, offset })) => {
                let size = plan.types[value.index()].bytes().next_multiple_of(16);
                range(&buffers[buffer], offset, size)
            }
            None => range(&dummies[usize::from(binding.access == Access::Write)], 0, 16),
        };
        entries.push(wgpu::BindGroupEntry { binding: binding.binding, resource });
    }
    gpu.guard(&format!("binding {}", dispatch.kernel), 0, || {
        gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&dispatch.kernel.entry),
            layout: &compiled.layout,
            entries: &entries,
        })
    })
}
