//! Replays a plan: the same dispatches, step after step, with no host wait inside. Above 300
//! lines: making an executor and running it share its parts.
use super::{DeviceTensor, Gpu, cache::Compiled, host_buffers};
use crate::{
    clock::Instant,
    error::{Error, GpuError},
    plan::{Access, Dispatch, Placement, Plan, Scope, StagedPart, Trigger},
    value::Value,
};
use std::{collections::BTreeSet, ops::Range, sync::Arc, time::Duration};

/// Bytes bound for an absent operand: one of the largest elements, `vec4<u64>`.
const ABSENT_BYTES: u64 = 32;

/// What an executor has asked of the device so far.
///
/// Example: [`Executor`].
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
    /// Bytes uploaded.
    pub uploaded: u64,
    /// Bytes read back.
    pub read_back: u64,
}

/// A launch that stands ready.
pub(super) struct Step {
    compiled: Arc<Compiled>,
    group: wgpu::BindGroup,
    workgroups: [u32; 3],
    /// Predicted seconds on a device of the assumed pace, or the measured ones.
    pub(super) predicted: f64,
    scope: Scope,
}

impl Step {
    pub(super) fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.compiled.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        let [x, y, z] = self.workgroups;
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Records launches in one pass. Those of a part of the model stand in a debug group of its name.
pub(super) fn record_all(encoder: &mut wgpu::CommandEncoder, steps: &[&Step]) {
    let descriptor = wgpu::ComputePassDescriptor { label: Some("ddim"), timestamp_writes: None };
    let mut pass = encoder.begin_compute_pass(&descriptor);
    for part in steps.chunk_by(|a, b| a.scope == b.scope) {
        let scope = part[0].scope.as_str();
        if !scope.is_empty() {
            pass.push_debug_group(scope);
        }
        part.iter().for_each(|step| step.record(&mut pass));
        if !scope.is_empty() {
            pass.pop_debug_group();
        }
    }
}

/// A run that is recorded piece by piece.
pub(super) struct Recording {
    /// The sections of the setup that it begins with.
    pub due: BTreeSet<usize>,
    pub launches: Vec<usize>,
    pub next: usize,
}

/// A plan with its buffers, pipelines and bind groups on a device.
///
/// ```no_run
/// use ddim::{gpu::{Executor, Gpu, GpuOptions}, graph::Graph, ops::Add, passes, value::TensorType};
///
/// let gpu = Gpu::new(&GpuOptions::default())?;
/// let mut graph = Graph::new();
/// let [sum, step] = [(); 2].map(|()| graph.input(TensorType::f32(&[2])));
/// let next = graph.push(Add, &[sum, step])?;
/// graph.update(sum, next);
/// let mut executor = Executor::new(&gpu, passes::compile(&graph, gpu.target())?)?;
/// executor.write(step, &[1.0, 2.0])?;
/// // Ten runs, submitted at once. The reading waits for them.
/// executor.run(10)?;
/// assert_eq!(executor.read(sum)?, [10.0, 20.0]);
/// println!("{} launches", executor.stats().dispatches);
/// # Ok::<(), ddim::Error>(())
/// ```
pub struct Executor {
    pub(super) gpu: Gpu,
    pub(super) plan: Plan,
    /// The executor's own, then the caller's.
    pub(super) buffers: Vec<wgpu::Buffer>,
    /// How many are its own.
    pub(super) own: usize,
    /// All launches, section by section.
    pub(super) steps: Vec<Step>,
    /// The launches of each section.
    pub(super) sections: Vec<Range<usize>>,
    /// The launches of a run.
    pub(super) run: Arc<[usize]>,
    /// Sections that have to run before the next launches that are asked for. A staged part among
    /// them holds zeros, as every input does at first.
    pub(super) due: BTreeSet<usize>,
    /// Bytes uploaded since the last wait, which gives their staging memory back.
    pub(super) staged: usize,
    pub(super) stats: Stats,
    /// How long a submission may take, predicted.
    pub(super) longest: Duration,
    pub(super) recording: Option<Recording>,
    /// Measured over predicted time, from the last wait.
    pub(super) pace: f64,
    /// Start and predicted seconds of the work submitted since the last wait.
    pub(super) running: Option<(Instant, f64)>,
}

impl Executor {
    /// Allocates the plan's buffers (zeroed), compiles its kernels and binds them.
    ///
    /// # Errors
    /// If the plan was made for another device, memory runs out, or the device refuses a kernel.
    pub fn new(gpu: &Gpu, plan: Plan) -> Result<Self, Error> {
        Self::with_buffers(gpu, plan, &[])
    }

    /// As [`Executor::new`], with inputs, constants and outputs of the plan in buffers of the caller's own,
    /// of the same device: a run copies none of their bytes. See [`DeviceTensor`] for their layout. Write a
    /// constant there, submit, and tell it by [`Executor::written`]. The executor uploads to these buffers
    /// only what [`Executor::write`] is given.
    ///
    /// # Errors
    /// As [`Executor::new`], if a value is neither input nor output, is a part of another or an arena that is
    /// packed on upload, or if its buffer has not the usage STORAGE, is too small, begins at no multiple of
    /// the device's `min_storage_buffer_offset_alignment`, or is one that a launch would read and write.
    pub fn with_buffers(
        gpu: &Gpu,
        mut plan: Plan,
        tensors: &[(Value, DeviceTensor)],
    ) -> Result<Self, Error> {
        let lacks = plan.lacks(gpu.target());
        if !lacks.is_empty() {
            let adapter = gpu.info().name.clone();
            return Err(GpuError::Target { adapter, lacks: lacks.join("; ") }.into());
        }
        let storage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let own = plan.buffers.len();
        let theirs = host_buffers::place(gpu, &mut plan, tensors)?;
        let mut buffers = plan.buffers[..own]
            .iter()
            .zip(plan.largest_occupants())
            .map(|(planned, occupant)| buffer(gpu, &occupant, planned.bytes.max(16), storage))
            .collect::<Result<Vec<_>, _>>()?;
        buffers.extend(theirs);
        // Absent optional operands: bound, never touched. One buffer cannot be both read and
        // written in a dispatch, hence two.
        let absent = || buffer(gpu, "absent operands", ABSENT_BYTES, storage);
        let dummies = [absent()?, absent()?];

        let (uniform, offsets) = parameters(gpu, &plan)?;
        let steps = steps(gpu, &plan, &buffers, &dummies, (&uniform, offsets))?;
        let mut sections = Vec::new();
        for section in &plan.sections {
            let first = sections.last().map_or(0, |before: &Range<usize>| before.end);
            sections.push(first..first + section.launches.len());
        }
        let every_run = plan.sections.iter().zip(&sections);
        let every_run = every_run.filter(|(section, _)| section.trigger == Trigger::EveryRun);
        gpu.check_now()?;
        Ok(Self {
            gpu: gpu.clone(),
            buffers,
            own,
            due: (0..sections.len()).filter(|&at| plan.sections[at].is_setup()).collect(),
            run: every_run.flat_map(|(_, launches)| launches.clone()).collect(),
            staged: 0,
            plan,
            steps,
            sections,
            stats: Stats::default(),
            longest: Self::BATCH,
            recording: None,
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
    /// this returns, in command buffers of limited length ([`Executor::limit_submissions`]).
    ///
    /// # Errors
    /// If the device refuses the work or is lost.
    pub fn run(&mut self, times: usize) -> Result<(), Error> {
        self.make_ready()?;
        // Polling after what is submitted here gives staging memory back too.
        self.staged = 0;
        self.submit_all(&self.run.clone(), times, |_, _, _| Ok(()))?;
        self.gpu.check_now()?;
        Ok(())
    }

    /// Runs one section of the graph alone, without waiting. A run is its sections in order, but for
    /// those that are called by name; between two of them the caller may read and write what they
    /// share.
    ///
    /// # Errors
    /// If there is no such section, the device refuses the work or is lost.
    pub fn run_section(&mut self, name: &str) -> Result<(), Error> {
        let at = self.section_at(name)?;
        self.make_ready()?;
        self.staged = 0;
        self.submit_section(at)?;
        self.gpu.check_now()?;
        Ok(())
    }

    /// The graph's section of this name.
    pub(super) fn section_at(&self, name: &str) -> Result<usize, GpuError> {
        let own = self.plan.sections.iter().enumerate().filter(|(_, section)| !section.is_setup());
        if let Some((at, _)) = own.clone().find(|(_, section)| section.name == name) {
            return Ok(at);
        }
        let present: Vec<&str> = own.map(|(_, section)| section.name.as_str()).collect();
        Err(GpuError::Section { name: name.to_owned(), present: present.join(", ") })
    }

    /// Runs what depends on constants alone, if they were written since.
    pub(super) fn make_ready(&mut self) -> Result<(), Error> {
        self.give_up_recording();
        self.make_parts_ready()?;
        while let Some(section) = self.due.pop_first() {
            self.submit_section(section)?;
        }
        Ok(())
    }

    /// Packs zeros for the parts that were never written. Their sections are the first.
    pub(super) fn make_parts_ready(&mut self) -> Result<(), Error> {
        while let Some(&section) = self.due.first()
            && let Some(&StagedPart { part, .. }) = self.plan.staged.get(section)
        {
            self.due.remove(&section);
            let zeros = vec![0; self.plan.types[part.index()].bytes() as usize];
            pollster::block_on(self.upload_part(section, &zeros))?;
        }
        Ok(())
    }

    pub(super) fn submit_section(&mut self, section: usize) -> Result<(), Error> {
        let launches: Vec<usize> = self.sections[section].clone().collect();
        self.submit_all(&launches, 1, |_, _, _| Ok(()))
    }

    /// Submits these launches so many times. After each command buffer `note` is given its index
    /// and how many launches are submitted.
    pub(super) fn submit_all(
        &mut self,
        launches: &[usize],
        times: usize,
        mut note: impl FnMut(&mut Self, wgpu::SubmissionIndex, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut first, total) = (0, times * launches.len());
        while first < total {
            let end = self.cut(launches, first, total, self.longest);
            let index = self.submit(launches, first..end, record_all)?;
            note(self, index, end)?;
            first = end;
        }
        Ok(())
    }

    /// End of the command buffer that begins with the launch numbered `first`; numbers count on
    /// where `launches` begin again.
    pub(super) fn cut(
        &self,
        launches: &[usize],
        first: usize,
        total: usize,
        longest: Duration,
    ) -> usize {
        let mut seconds = 0.0;
        let fits = |&next: &usize| {
            seconds += self.steps[launches[next % launches.len()]].predicted * self.pace;
            next == first || seconds < longest.as_secs_f64()
        };
        first + (first..total).take_while(fits).count()
    }

    /// Submits one command buffer, which `encode` fills with the launches of these numbers.
    pub(super) fn submit(
        &mut self,
        launches: &[usize],
        numbers: Range<usize>,
        encode: impl FnOnce(&mut wgpu::CommandEncoder, &[&Step]),
    ) -> Result<wgpu::SubmissionIndex, Error> {
        let step = |number| &self.steps[launches[number % launches.len()]];
        let steps: Vec<&Step> = numbers.map(step).collect();
        // Taken before the work can begin: a pace too low would make command buffers too long.
        let (_, predicted) = self.running.get_or_insert((Instant::now(), 0.0));
        *predicted += steps.iter().map(|step| step.predicted).sum::<f64>();
        let index = self.gpu.guard("submitting work", 0, || {
            let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
            encode(&mut encoder, &steps);
            self.gpu.queue().submit([encoder.finish()])
        })?;
        self.stats.submits += 1;
        self.stats.dispatches += steps.len() as u64;
        Ok(index)
    }

    /// Blocks until everything submitted is done.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn wait(&mut self) -> Result<(), Error> {
        self.stats.waits += 1;
        self.gpu.wait(None)?;
        self.waited();
        Ok(())
    }

    /// The device has done everything: staging memory is free, and the time that it took is known.
    pub(super) fn waited(&mut self) {
        self.staged = 0;
        if let Some((_, predicted)) = self.running {
            self.measured(predicted);
        }
    }

    /// The device has done so many predicted seconds of the work since the last wait. What follows is not measured
    /// before the next wait: the caller may have paused meanwhile.
    pub(super) fn measured(&mut self, predicted: f64) {
        if let Some((start, _)) = self.running.take()
            && predicted > 0.0
        {
            self.pace = (start.elapsed().as_secs_f64() / predicted).clamp(1e-4, 1e3);
        }
    }
}

/// All launches of a plan, compiled and bound.
fn steps(
    gpu: &Gpu,
    plan: &Plan,
    buffers: &[wgpu::Buffer],
    dummies: &[wgpu::Buffer; 2],
    (uniform, offsets): (&wgpu::Buffer, Vec<u64>),
) -> Result<Vec<Step>, Error> {
    // A browser has no naga, and checks every text by itself.
    #[cfg(not(target_family = "wasm"))]
    for dispatch in plan.all().filter(|dispatch| dispatch.is_custom()) {
        super::custom::check(dispatch, &plan.types)?;
    }
    let compiled = gpu.compiled(plan.all())?;
    let mut steps = Vec::new();
    for ((dispatch, offset), compiled) in plan.all().zip(offsets).zip(compiled) {
        let group = bind(gpu, plan, dispatch, &compiled, buffers, dummies, (uniform, offset))?;
        let (flops, bytes) = (dispatch.cost.flops as f64, dispatch.cost.bytes as f64);
        let slowness = if gpu.target().profile.is_software() { 1.0 } else { 0.05 };
        let predicted = slowness * (flops / 5e9 + bytes / 2e9 + 1e-5);
        let (workgroups, scope) = (dispatch.workgroups, dispatch.scope.clone());
        steps.push(Step { compiled, group, workgroups, predicted, scope });
    }
    Ok(steps)
}

/// An empty buffer.
fn buffer(
    gpu: &Gpu,
    label: &str,
    size: u64,
    usage: wgpu::BufferUsages,
) -> Result<wgpu::Buffer, GpuError> {
    gpu.guard(&format!("allocating the buffer of {label}"), size, || {
        gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        })
    })
}

/// The parameters of all launches in one buffer, and where each begins.
fn parameters(gpu: &Gpu, plan: &Plan) -> Result<(wgpu::Buffer, Vec<u64>), GpuError> {
    let alignment = gpu.device().limits().min_uniform_buffer_offset_alignment as usize;
    let mut uniforms: Vec<u8> = Vec::new();
    let mut offsets = Vec::new();
    for dispatch in plan.all() {
        offsets.push(uniforms.len() as u64);
        uniforms.extend(&dispatch.params);
        uniforms.resize(uniforms.len().next_multiple_of(alignment), 0);
    }
    let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
    let uniform = buffer(gpu, "parameters", (uniforms.len() as u64).max(16), usage)?;
    if !uniforms.is_empty() {
        gpu.guard("writing parameters", 0, || gpu.queue().write_buffer(&uniform, 0, &uniforms))?;
    }
    Ok((uniform, offsets))
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
