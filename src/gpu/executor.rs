//! Replays a plan: the same dispatches, step after step, with no host wait inside.
use super::{Gpu, custom, pipelines::Compiled};
use crate::{
    error::{Error, GpuError},
    plan::{Access, Dispatch, Placement, Plan},
};
use std::{
    collections::BTreeSet,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

/// Operating systems reset a GPU that is busy for seconds with one command buffer. Half a second
/// is the aim; predictions err.
const LONGEST_SUBMIT: Duration = Duration::from_millis(400);

/// Bytes bound for an absent operand: one of the largest elements, `vec4<u64>`.
const ABSENT_BYTES: u64 = 32;

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

/// A launch that stands ready.
pub(super) struct Step {
    compiled: Arc<Compiled>,
    group: wgpu::BindGroup,
    workgroups: [u32; 3],
    /// Predicted time on a device of the assumed pace.
    predicted: f64,
}

impl Step {
    pub(super) fn record(&self, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&self.compiled.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        let [x, y, z] = self.workgroups;
        pass.dispatch_workgroups(x, y, z);
    }
}

/// A plan with its buffers, pipelines and bind groups on a device.
pub struct Executor {
    pub(super) gpu: Gpu,
    pub(super) plan: Plan,
    pub(super) buffers: Vec<wgpu::Buffer>,
    /// What runs once after the held inputs were written, that of the plan's loads first.
    prepare: Vec<Step>,
    steps: Vec<Step>,
    /// Whether `prepare` has to run before the next step.
    pub(super) stale: bool,
    /// The plan's loads that nobody has written: zeros, as every input is at first.
    pub(super) unwritten: BTreeSet<usize>,
    /// Bytes uploaded since the last wait, which gives their staging memory back.
    pub(super) staged: usize,
    pub(super) stats: Stats,
    /// Measured over predicted time, from the last wait.
    pace: f64,
    /// Start and predicted seconds of the work submitted since the last wait.
    running: Option<(Instant, f64)>,
}

impl Executor {
    /// Allocates the plan's buffers (zeroed), compiles its kernels and binds them.
    ///
    /// # Errors
    /// If the plan was made for another device, memory runs out, or the device refuses a kernel.
    pub fn new(gpu: &Gpu, plan: Plan) -> Result<Self, Error> {
        let lacks = plan.lacks(gpu.target());
        if !lacks.is_empty() {
            let adapter = gpu.info().name.clone();
            return Err(GpuError::Target { adapter, lacks: lacks.join("; ") }.into());
        }
        let buffer = |label: &str, size: u64, usage| {
            gpu.guard(&format!("allocating the buffer of {label}"), size, || {
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
            .zip(plan.largest_tenants())
            .map(|(planned, tenant)| buffer(&tenant, planned.bytes.max(16), storage))
            .collect::<Result<Vec<_>, _>>()?;
        // Absent optional operands: bound, never touched. One buffer cannot be both read and
        // written in a dispatch, hence two.
        let absent = || buffer("absent operands", ABSENT_BYTES, storage);
        let dummies = [absent()?, absent()?];

        let alignment = gpu.device().limits().min_uniform_buffer_offset_alignment as usize;
        let mut uniforms: Vec<u8> = Vec::new();
        let mut offsets = Vec::with_capacity(plan.prepare.len() + plan.dispatches.len());
        for dispatch in plan.all() {
            offsets.push(uniforms.len() as u64);
            uniforms.extend(&dispatch.params);
            uniforms.resize(uniforms.len().next_multiple_of(alignment), 0);
        }
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let uniform = buffer("parameters", (uniforms.len() as u64).max(16), usage)?;
        if !uniforms.is_empty() {
            gpu.guard("writing parameters", 0, || {
                gpu.queue().write_buffer(&uniform, 0, &uniforms)
            })?;
        }

        for dispatch in plan.all().filter(|dispatch| dispatch.is_custom()) {
            custom::check(dispatch, &plan.types)?;
        }
        let compiled = gpu.pipelines().all(gpu, plan.all())?;
        let mut prepare = Vec::new();
        for ((dispatch, offset), compiled) in plan.all().zip(offsets).zip(compiled) {
            let group =
                bind(gpu, &plan, dispatch, &compiled, &buffers, &dummies, (&uniform, offset))?;
            let (flops, bytes) = (dispatch.cost.flops as f64, dispatch.cost.bytes as f64);
            let slowness = if gpu.target().software { 1.0 } else { 0.05 };
            let predicted = slowness * (flops / 5e9 + bytes / 2e9 + 1e-5);
            prepare.push(Step { compiled, group, workgroups: dispatch.workgroups, predicted });
        }
        let steps = prepare.split_off(plan.prepare.len());
        gpu.check_now()?;
        Ok(Self {
            gpu: gpu.clone(),
            buffers,
            stale: !prepare.is_empty(),
            unwritten: (0..plan.loads.len()).collect(),
            staged: 0,
            plan,
            prepare,
            steps,
            stats: Stats::default(),
            pace: 1.0,
            running: None,
        })
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
        self.make_ready()?;
        // Polling after what is submitted here gives staging memory back too.
        self.staged = 0;
        self.submit_all(0..times * self.steps.len())?;
        self.gpu.check_now()?;
        Ok(())
    }

    /// Runs what depends on the held inputs alone, if they were written since.
    pub(super) fn make_ready(&mut self) -> Result<(), Error> {
        while let Some(&load) = self.unwritten.first() {
            let part = self.plan.loads[load].part;
            self.load(load, &vec![0; self.plan.types[part.index()].bytes() as usize])?;
        }
        if !std::mem::take(&mut self.stale) {
            return Ok(());
        }
        self.submit_once(self.plan.loading()..self.prepare.len())
    }

    /// Submits these launches of what runs once.
    pub(super) fn submit_once(&mut self, launches: Range<usize>) -> Result<(), Error> {
        std::mem::swap(&mut self.prepare, &mut self.steps);
        let result = self.submit_all(launches);
        std::mem::swap(&mut self.prepare, &mut self.steps);
        result
    }

    fn submit_all(&mut self, launches: Range<usize>) -> Result<(), Error> {
        let Range { start: mut first, end: total } = launches;
        while first < total {
            let end = self.cut(first, total);
            self.submit(first..end, |encoder, steps| {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                steps.iter().for_each(|step| step.record(&mut pass));
            })?;
            first = end;
        }
        Ok(())
    }

    /// End of the command buffer that begins at launch `first`; launches count on from one run of
    /// the plan to the next.
    pub(super) fn cut(&self, first: usize, total: usize) -> usize {
        let mut seconds = 0.0;
        let fits = |&next: &usize| {
            seconds += self.steps[next % self.steps.len()].predicted * self.pace;
            next == first || seconds < LONGEST_SUBMIT.as_secs_f64()
        };
        first + (first..total).take_while(fits).count()
    }

    /// Submits one command buffer, which `encode` fills with these launches.
    pub(super) fn submit(
        &mut self,
        launches: Range<usize>,
        encode: impl FnOnce(&mut wgpu::CommandEncoder, &[&Step]),
    ) -> Result<(), Error> {
        let step = |launch| &self.steps[launch % self.steps.len()];
        let steps: Vec<&Step> = launches.map(step).collect();
        // Taken before the work can begin: a pace too low would make command buffers too long.
        let (_, predicted) = self.running.get_or_insert((Instant::now(), 0.0));
        *predicted += steps.iter().map(|step| step.predicted).sum::<f64>();
        self.gpu.guard("submitting work", 0, || {
            let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
            encode(&mut encoder, &steps);
            self.gpu.queue().submit([encoder.finish()])
        })?;
        self.stats.submits += 1;
        self.stats.dispatches += steps.len() as u64;
        Ok(())
    }

    /// Blocks until everything submitted is done.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn wait(&mut self) -> Result<(), Error> {
        self.stats.waits += 1;
        self.gpu.wait()?;
        self.staged = 0;
        if let Some((start, predicted)) = self.running.take()
            && predicted > 0.0
        {
            self.pace = (start.elapsed().as_secs_f64() / predicted).clamp(1e-4, 1e3);
        }
        Ok(())
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
            None => range(&dummies[usize::from(binding.access == Access::Write)], 0, ABSENT_BYTES),
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
