//! Where the time goes: GPU time per kernel launch, by timestamp queries. Above 300 lines, for the
//! table and the trace are printed here too.
use super::{Executor, Gpu, Roofline};
use crate::{
    error::Error,
    plan::{Cost, Scope},
};
use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    time::{Duration, Instant},
};

/// Timestamps that one query set may hold (WebGPU's limit).
const MAX_QUERIES: usize = 4096;

/// What launches are timed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Timestamps between the launches of one pass, as in a plain run.
    InsidePass,
    /// Timestamps around passes of one launch each, which the device separates.
    PassEach,
    /// The host's clock around submits of one launch each: the cost of a submit is included.
    Host,
}

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

/// Time of one launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Where in the model.
    pub scope: Scope,
    /// The kernel's printed form.
    pub kernel: String,
    /// Mean over the runs.
    pub time: Duration,
    /// Arithmetic and least traffic.
    pub cost: Cost,
}

/// Time of launches that have something in common.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupTime {
    /// What they have in common: the kernel's printed form, or a part of the model.
    pub name: String,
    /// Launches in one run of the plan.
    pub calls: usize,
    /// Together, in one run of the plan.
    pub time: Duration,
    /// Together.
    pub cost: Cost,
}

/// GPU time of a plan, launch by launch. Prints a table of its kernels, the slowest first.
///
/// An equation that takes several launches has charged its cost to one of them, so rates of
/// scopes are right and those of kernels that share an equation are not.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// How it was measured.
    pub clock: Clock,
    /// One entry per dispatch of the plan, in order.
    pub timings: Vec<Timing>,
}

impl Profile {
    /// Time of one run of the plan.
    pub fn total(&self) -> Duration {
        self.timings.iter().map(|timing| timing.time).sum()
    }

    /// Launches gathered by kernel, the slowest first.
    pub fn kernels(&self) -> Vec<GroupTime> {
        self.grouped(|timing| timing.kernel.clone())
    }

    /// Launches gathered by the first two parts of their scope, the slowest first; a prime marks
    /// backward.
    pub fn scopes(&self) -> Vec<GroupTime> {
        self.grouped(|timing| {
            let (path, prime) = match timing.scope.as_str().strip_suffix('\'') {
                Some(path) => (path, "'"),
                None => (timing.scope.as_str(), ""),
            };
            let parts: Vec<&str> = path.split('/').take(2).collect();
            parts.join("/") + prime
        })
    }

    fn grouped(&self, name: impl Fn(&Timing) -> String) -> Vec<GroupTime> {
        let mut groups: HashMap<String, GroupTime> = HashMap::new();
        for timing in &self.timings {
            let sum = groups.entry(name(timing)).or_insert_with_key(|name| GroupTime {
                name: name.clone(),
                calls: 0,
                time: Duration::ZERO,
                cost: Cost::default(),
            });
            sum.calls += 1;
            sum.time += timing.time;
            sum.cost += timing.cost;
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.name.cmp(&b.name)));
        groups
    }

    /// A table of these groups: launches, time, share of all time, rates and, given what the
    /// device does at most, the share of the bound that applies.
    pub fn table(&self, groups: &[GroupTime], title: &str, roofline: Option<&Roofline>) -> String {
        let total = self.total().as_secs_f64();
        let heading = if roofline.is_some() { "  bound" } else { "" };
        let mut table = format!("calls         ms  share  GFLOP/s     GB/s{heading}  {title}\n");
        for GroupTime { name, calls, time, cost } in groups {
            let seconds = time.as_secs_f64().max(1e-9);
            let (milliseconds, share) = (1e3 * seconds, 100.0 * seconds / total.max(1e-9));
            let rate = |amount: u64| amount as f64 / seconds / 1e9;
            let (flops, bytes) = (rate(cost.flops), rate(cost.bytes));
            let bound = roofline.map(|roofline| 100.0 * roofline.share(*cost, *time));
            let bound = bound.map(|bound| format!(" {bound:5.1}%")).unwrap_or_default();
            table += &format!(
                "{calls:5} {milliseconds:10.3} {share:5.1}% {flops:8.2} {bytes:8.2}{bound}  {name}\n"
            );
        }
        let (launches, clock) = (self.timings.len(), self.clock);
        table + &format!("{launches:5} {:10.3}  total ({clock:?})", 1e3 * total)
    }

    /// The launches, one after another, as a trace that Chrome and Perfetto open: two tracks, the
    /// kernels and the parts of the model.
    pub fn trace(&self) -> String {
        let mut events = Vec::new();
        let (mut start, mut open): (f64, Option<(&str, f64)>) = (0.0, None);
        let event = |name: &str, track: u32, start: f64, end: f64, scope: &str| {
            serde_json::json!({
                "name": name, "ph": "X", "pid": 1, "tid": track,
                "ts": start, "dur": end - start, "args": { "scope": scope },
            })
        };
        for Timing { scope, kernel, time, .. } in &self.timings {
            let end = start + 1e6 * time.as_secs_f64();
            let name = kernel.split(' ').next().unwrap_or_default();
            events.push(event(name, 1, start, end, scope.as_str()));
            if let Some((before, since)) = open.filter(|(before, _)| *before != scope.as_str()) {
                events.push(event(before, 2, since, start, before));
                open = None;
            }
            open = open.or(Some((scope.as_str(), start)));
            start = end;
        }
        if let Some((before, since)) = open {
            events.push(event(before, 2, since, start, before));
        }
        serde_json::json!({ "otherData": { "software": "ddim" }, "displayTimeUnit": "ms", "traceEvents": events }).to_string()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.table(&self.kernels(), "kernel", None))
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
        let mut sums = vec![Duration::ZERO; launches];
        let (mut first, total) = (0, times * launches);
        while first < total {
            let end = self.cut(&run, first, total).min(first + most);
            for (launch, time) in (first..end).zip(self.measure(clock, &run, first..end)?) {
                sums[launch % launches] += time;
            }
            first = end;
        }
        let timings = self.plan.dispatches().zip(sums).map(|(dispatch, sum)| Timing {
            scope: dispatch.scope.clone(),
            kernel: dispatch.kernel.to_string(),
            time: sum / u32::try_from(times).unwrap_or(u32::MAX).max(1),
            cost: dispatch.cost,
        });
        Ok(Profile { clock, timings: timings.collect() })
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
            let end = self.cut(&run, first, total);
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
        let bytes = self.download(&[(&queries.resolved, 0, queries.resolved.size())])?;
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
