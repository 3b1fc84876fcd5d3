//! GPU time per kernel launch and of whole runs, by timestamp queries.
use super::{Clock, Executor, Gpu, Profile, Timing};
use crate::{
    clock::Instant,
    error::Error,
    plan::{Dispatch, Scope, Section, Trigger},
};
use std::{ops::Range, time::Duration};

/// Timestamps that one query set may hold (WebGPU's limit).
const MAX_QUERIES: usize = 4096;

impl Clock {
    fn of(gpu: &Gpu) -> Self {
        let features = gpu.device().features();
        if features.contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES) {
            Self::InsidePass
        } else if features.contains(wgpu::Features::TIMESTAMP_QUERY) {
            Self::PassEach
        } else {
            Self::Host
        }
    }
}

/// A launch's place in the model, or the section where no layer made it: `(step)`.
fn named(scope: &Scope, section: &Section) -> Scope {
    match scope.as_str() {
        place @ ("" | "'") => Scope::new(&format!("({}){place}", section.name)),
        _ => scope.clone(),
    }
}

impl Executor {
    /// Runs the plan `times` times and times every launch. Waits.
    ///
    /// # Errors
    /// If the device refuses the work or is lost.
    pub fn profile(&mut self, times: usize) -> Result<Profile, Error> {
        let clock = Clock::of(&self.gpu);
        let run = self.run.clone();
        let launches = run.len();
        let most = match clock {
            Clock::InsidePass => MAX_QUERIES - 1,
            Clock::PassEach => MAX_QUERIES / 2,
            Clock::Host => 1,
        };
        self.make_ready()?;
        self.wait()?;
        let mut each = vec![Vec::with_capacity(times); launches];
        let (mut first, total) = (0, times * launches);
        while first < total {
            let end = self.cut(&run, first, total, self.longest).min(first + most);
            for (launch, time) in (first..end).zip(self.measure(clock, &run, first..end)?) {
                each[launch % launches].push(time);
            }
            first = end;
        }
        let every_run = |section: &&Section| section.trigger == Trigger::EveryRun;
        let sections = self.plan.sections.iter().filter(every_run);
        let dispatches =
            sections.flat_map(|section| section.launches.iter().map(move |d| (section, d)));
        let timing = |((section, dispatch), times): ((&Section, &Dispatch), _)| Timing {
            scope: named(&dispatch.scope, section),
            kernel: dispatch.kernel.to_string(),
            times,
            cost: dispatch.cost,
            work: dispatch.work,
        };
        let timings: Vec<Timing> = dispatches.zip(each).map(timing).collect();
        if times > 0 {
            for (&launch, timing) in run.iter().zip(&timings) {
                self.steps[launch].predicted = timing.median().as_secs_f64();
            }
            self.pace = 1.0;
        }
        Ok(Profile { clock, timings })
    }

    /// Runs the plan `times` times and returns the time from the first launch's begin to the last
    /// one's end: by the device's clock where it has timestamps, by the host's otherwise. Waits.
    ///
    /// # Errors
    /// If the device refuses the work or is lost.
    pub fn time(&mut self, times: usize) -> Result<Duration, Error> {
        let run = self.run.clone();
        let total = times * run.len();
        self.make_ready()?;
        self.wait()?;
        if total == 0 || Clock::of(&self.gpu) == Clock::Host {
            let start = Instant::now();
            self.run(times)?;
            self.wait()?;
            return Ok(start.elapsed());
        }
        let queries = Queries::new(&self.gpu, 2)?;
        let mut first = 0;
        while first < total {
            let end = self.cut(&run, first, total, self.longest);
            let (begins, ends) = (first == 0, end == total);
            self.submit(&run, first..end, |encoder, steps| {
                let mut pass = queries.pass(encoder, begins.then_some(0), ends.then_some(1));
                steps.iter().for_each(|step| step.record(&mut pass));
                drop(pass);
                if ends {
                    queries.resolve(encoder);
                }
            })?;
            first = end;
        }
        let stamps = self.stamps(&queries)?;
        Ok(stamps[1].saturating_sub(stamps[0]))
    }

    /// The times of launches by a clock: those of one pass, of a pass each, or of a submit.
    fn measure(
        &mut self,
        clock: Clock,
        run: &[usize],
        numbers: Range<usize>,
    ) -> Result<Vec<Duration>, Error> {
        let count = numbers.len();
        let queries = match clock {
            Clock::InsidePass => Some(Queries::new(&self.gpu, count + 1)?),
            Clock::PassEach => Some(Queries::new(&self.gpu, 2 * count)?),
            Clock::Host => None,
        };
        let start = Instant::now();
        self.submit(run, numbers, |encoder, steps| {
            match &queries {
                Some(queries) if clock == Clock::PassEach => {
                    for (step, index) in steps.iter().zip((0..).step_by(2)) {
                        step.record(&mut queries.pass(encoder, Some(index), Some(index + 1)));
                    }
                }
                queries => {
                    let mut pass = encoder.begin_compute_pass(&Default::default());
                    let stamp = |pass: &mut wgpu::ComputePass, index| {
                        queries.iter().for_each(|of| pass.write_timestamp(&of.set, index));
                    };
                    stamp(&mut pass, 0);
                    for (step, index) in steps.iter().zip(1..) {
                        step.record(&mut pass);
                        stamp(&mut pass, index);
                    }
                }
            }
            queries.iter().for_each(|queries| queries.resolve(encoder));
        })?;
        let Some(queries) = queries else {
            self.wait()?;
            return Ok(vec![start.elapsed()]);
        };
        let (stamps, apart) =
            (self.stamps(&queries)?, if clock == Clock::PassEach { 2 } else { 1 });
        let pairs = stamps.windows(2).step_by(apart);
        Ok(pairs.map(|pair| pair[1].saturating_sub(pair[0])).collect())
    }

    /// Resolved timestamps, since the device's zero.
    fn stamps(&mut self, queries: &Queries) -> Result<Vec<Duration>, Error> {
        let bytes = self.download(&[(queries.resolved.clone(), 0, queries.resolved.size())])?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
        let period = f64::from(self.gpu.queue().get_timestamp_period());
        let since = |tick: u64| Duration::from_nanos((tick as f64 * period) as u64);
        Ok(ticks.into_iter().map(since).collect())
    }
}

/// A query set and the buffer that it is resolved to.
struct Queries {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
}

impl Queries {
    fn new(gpu: &Gpu, count: usize) -> Result<Self, Error> {
        let size = (count * size_of::<u64>()) as u64;
        Ok(gpu.guard("preparing timestamps", size, || Self {
            set: gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: count as u32,
            }),
            resolved: gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            }),
        })?)
    }

    /// A pass that writes its begin and its end to these queries.
    fn pass<'a>(
        &self,
        encoder: &'a mut wgpu::CommandEncoder,
        begin: Option<u32>,
        end: Option<u32>,
    ) -> wgpu::ComputePass<'a> {
        let writes = wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: begin,
            end_of_pass_write_index: end,
        };
        encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: (begin.or(end).is_some()).then_some(writes),
        })
    }

    fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.set, 0..self.set.count(), &self.resolved, 0);
    }
}
