//! Where the time goes: the times of launches, gathered and printed.
use super::Roofline;
use crate::plan::{Cost, Scope};
use std::{collections::BTreeMap, fmt, time::Duration};

/// What launches are timed by.
///
/// Example: [`Profile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Timestamps between the launches of one pass, as in a plain run.
    InsidePass,
    /// Timestamps around passes of one launch each, which the device separates.
    PassEach,
    /// The host's clock around submits of one launch each: the cost of a submit is included.
    Host,
}

/// Times of one launch.
///
/// Example: [`Profile`].
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Where in the model; the section in parentheses, `(step)`, where no layer made the launch.
    pub scope: Scope,
    /// The kernel's printed form.
    pub kernel: String,
    /// One for each run.
    pub times: Vec<Duration>,
    /// Share of its equation's arithmetic and least traffic.
    pub cost: Cost,
    /// What the launch itself does.
    pub work: Cost,
}

impl Timing {
    /// The median of the runs.
    pub(super) fn median(&self) -> Duration {
        GroupTime::of("", &[self], |timing| timing.work).time
    }

    /// The kernel's shader and entry point.
    fn entry_point(&self) -> &str {
        self.kernel.split(' ').next().unwrap_or_default()
    }
}

/// Time of launches that have something in common.
///
/// Example: [`Profile`].
#[derive(Clone, Debug, PartialEq)]
pub struct GroupTime {
    /// What they have in common: the kernel's printed form, its entry point, or a part of the model.
    pub name: String,
    /// Launches in one run of the plan.
    pub calls: usize,
    /// Together, in one run of the plan: the median of the runs.
    pub time: Duration,
    /// Together, in the fastest and in the slowest run.
    pub range: [Duration; 2],
    /// Together.
    pub cost: Cost,
}

impl GroupTime {
    fn of(name: &str, timings: &[&Timing], cost: impl Fn(&Timing) -> Cost) -> Self {
        let runs = timings.iter().map(|timing| timing.times.len()).min().unwrap_or(0);
        let run = |run: usize| timings.iter().map(|timing| timing.times[run]).sum();
        let mut times: Vec<Duration> = (0..runs).map(run).collect();
        times.sort();
        let at = |index: usize| times.get(index).copied().unwrap_or_default();
        let (time, range) = (at(runs / 2), [at(0), at(runs.saturating_sub(1))]);
        let mut sum = Cost::default();
        timings.iter().for_each(|timing| sum += cost(timing));
        Self { name: name.to_owned(), calls: timings.len(), time, range, cost: sum }
    }
}

/// GPU time of a plan, launch by launch. Prints a table of its kernels, the slowest first.
///
/// Parts of the model have the cost of their equations, kernels the work of their launches
/// ([`Dispatch::work`](crate::plan::Dispatch::work)).
///
/// ```no_run
/// use ddim::gpu::{Clock, Executor, Gpu, GpuOptions, Timing};
/// # use ddim::{graph::Graph, passes};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let plan = passes::compile(&Graph::new(), gpu.target())?;
///
/// let profile = Executor::new(&gpu, plan)?.profile(10)?;
/// println!("{profile}\nwith submits: {}", profile.clock == Clock::Host);
/// for part in profile.scopes() {
///     println!("{}: {:?} in {} launches", part.name, part.time, part.calls);
/// }
/// let longest = |timing: &&Timing| timing.times.iter().max().copied();
/// println!("{:?}", profile.timings.iter().max_by_key(longest));
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// How it was measured.
    pub clock: Clock,
    /// One entry per dispatch of the plan, in order.
    pub timings: Vec<Timing>,
}

impl Profile {
    /// Time of one run of the plan.
    pub fn total(&self) -> GroupTime {
        GroupTime::of("total", &self.timings.iter().collect::<Vec<_>>(), |timing| timing.cost)
    }

    /// Launches gathered by kernel, the slowest first.
    pub fn kernels(&self) -> Vec<GroupTime> {
        self.grouped(|timing| timing.kernel.clone(), |timing| timing.work)
    }

    /// Launches gathered by the kernel's shader and entry point, `winograd.output`, the slowest
    /// first.
    pub fn entry_points(&self) -> Vec<GroupTime> {
        let entry = |timing: &Timing| timing.entry_point().to_owned();
        self.grouped(entry, |timing| timing.work)
    }

    /// Launches gathered by the first two parts of their scope, the slowest first; a prime marks
    /// backward.
    pub fn scopes(&self) -> Vec<GroupTime> {
        let part = |timing: &Timing| {
            let (path, prime) = match timing.scope.as_str().strip_suffix('\'') {
                Some(path) => (path, "'"),
                None => (timing.scope.as_str(), ""),
            };
            let parts: Vec<&str> = path.split('/').take(2).collect();
            parts.join("/") + prime
        };
        self.grouped(part, |timing| timing.cost)
    }

    /// Launches gathered by their whole scope, in the order of their first launches.
    pub fn whole_scopes(&self) -> Vec<GroupTime> {
        let scope = |timing: &Timing| timing.scope.as_str().to_owned();
        let first = |group: &GroupTime| {
            self.timings.iter().position(|timing| timing.scope.as_str() == group.name)
        };
        let mut groups = self.grouped(scope, |timing| timing.cost);
        groups.sort_by_cached_key(first);
        groups
    }

    fn grouped(
        &self,
        name: impl Fn(&Timing) -> String,
        cost: impl Fn(&Timing) -> Cost,
    ) -> Vec<GroupTime> {
        let mut members: BTreeMap<String, Vec<&Timing>> = BTreeMap::new();
        for timing in &self.timings {
            members.entry(name(timing)).or_default().push(timing);
        }
        let group = |(name, timings): (&String, &Vec<&Timing>)| GroupTime::of(name, timings, &cost);
        let mut groups: Vec<_> = members.iter().map(group).collect();
        // Stable: equal ones stay in the order of their names.
        groups.sort_by_key(|group| std::cmp::Reverse(group.time));
        groups
    }

    /// A table of these groups: launches, median, fastest and slowest run, share of all time, rates
    /// and, given what the device does at most, the share of the bound that applies. A dash stands
    /// where there is nothing to count.
    pub fn table(&self, groups: &[GroupTime], title: &str, roofline: Option<&Roofline>) -> String {
        let total: f64 = groups.iter().map(|group| group.time.as_secs_f64()).sum();
        let times = |group: &GroupTime| {
            let [least, most] = group.range;
            let [time, least, most] = [group.time, least, most].map(|t| 1e3 * t.as_secs_f64());
            format!("{:5} {time:9.3} {least:8.3} {most:8.3}", group.calls)
        };
        let dash = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
        let heading = if roofline.is_some() { "  bound" } else { "" };
        let mut table =
            format!("calls median ms  fastest  slowest  share GFLOP/s    GB/s{heading}  {title}\n");
        for group in groups {
            let GroupTime { name, time, cost, .. } = group;
            let seconds = time.as_secs_f64().max(1e-9);
            let share = 100.0 * seconds / total.max(1e-9);
            let rate = |amount: u64| {
                dash((amount > 0).then(|| format!("{:.1}", amount as f64 / seconds / 1e9)))
            };
            let (flops, bytes) = (rate(cost.flops), rate(cost.bytes));
            let bound = roofline.map(|roofline| {
                let known = *cost != Cost::default();
                dash(known.then(|| format!("{:.1}%", 100.0 * roofline.share(*cost, *time))))
            });
            let bound = bound.map(|bound| format!(" {bound:>6}")).unwrap_or_default();
            let times = times(group);
            table += &format!("{times} {share:5.1}% {flops:>7} {bytes:>7}{bound}  {name}\n");
        }
        table + &format!("{} total ({:?})", times(&self.total()), self.clock)
    }

    /// The launches, one after another, as a trace that Chrome and Perfetto open, medians of the
    /// runs: two tracks, the kernels and the parts of the model.
    pub fn trace(&self) -> String {
        let mut events = Vec::new();
        let (mut start, mut open): (f64, Option<(&str, f64)>) = (0.0, None);
        let event = |name: &str, track: u32, start: f64, end: f64, scope: &str| {
            serde_json::json!({
                "name": name, "ph": "X", "pid": 1, "tid": track,
                "ts": start, "dur": end - start, "args": { "scope": scope },
            })
        };
        for timing in &self.timings {
            let (scope, time) = (&timing.scope, timing.median());
            let end = start + 1e6 * time.as_secs_f64();
            events.push(event(timing.entry_point(), 1, start, end, scope.as_str()));
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
