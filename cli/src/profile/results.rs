//! What a profile found, as JSON, and against an earlier one.
use crate::failure::Failure;
use ddim::{
    files,
    gpu::{Bottleneck, GroupTime, Profile, Roofline},
    plan::Cost,
};
use serde::{Deserialize, Serialize};
use std::{fmt::Write, path::Path, time::Duration};

/// Largest file of an earlier profile, in bytes.
const LARGEST: u64 = 64 << 20;

/// Median, fastest and slowest of several runs, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Times {
    pub median: f64,
    pub fastest: f64,
    pub slowest: f64,
}

impl Times {
    /// Of runs in ascending order; there is one at least.
    pub fn of(sorted: &[Duration]) -> Self {
        let [fastest, median, slowest] =
            [0, sorted.len() / 2, sorted.len() - 1].map(|at| milliseconds(sorted[at]));
        Self { median, fastest, slowest }
    }

    fn of_group(group: &GroupTime) -> Self {
        let [fastest, slowest] = group.range.map(milliseconds);
        Self { median: milliseconds(group.time), fastest, slowest }
    }

    /// Whether the runs of one lie apart from those of the other.
    fn is_apart(&self, other: &Self) -> bool {
        self.slowest < other.fastest || other.slowest < self.fastest
    }
}

fn milliseconds(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

/// Launches that have something in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    /// Launches in a run.
    pub calls: usize,
    /// All of them, in a run.
    pub milliseconds: Times,
    pub flops: u64,
    pub bytes: u64,
    /// The share of the ceiling that applies, 1 for all of it; none where nothing is counted.
    pub share_of_ceiling: Option<f64>,
    /// That ceiling: `compute` or `bandwidth`.
    pub bound_by: Option<String>,
}

impl Group {
    fn new(group: &GroupTime, roofline: &Roofline) -> Self {
        let known = (group.cost != Cost::default()).then_some(group.cost);
        let bound = |cost| match roofline.bottleneck(cost) {
            Bottleneck::Compute => "compute",
            Bottleneck::Bandwidth => "bandwidth",
        };
        Self {
            name: group.name.clone(),
            calls: group.calls,
            milliseconds: Times::of_group(group),
            flops: group.cost.flops,
            bytes: group.cost.bytes,
            share_of_ceiling: known.map(|cost| roofline.share(cost, group.time)),
            bound_by: known.map(|cost| bound(cost).into()),
        }
    }
}

/// A profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// What made it.
    pub software: String,
    pub version: String,
    /// The step that was timed.
    pub step: String,
    pub device: String,
    /// What launches were timed by.
    pub clock: String,
    /// Ceilings: multiply-adds from registers, and a copy.
    pub flops_per_second: f64,
    pub bytes_per_second: f64,
    /// A step by the host's clock, and how many were timed.
    pub milliseconds: Times,
    pub runs: usize,
    /// Kernels by their printed form, the slowest first.
    pub kernels: Vec<Group>,
    /// Parts of the model by their whole path, in the order of their first launches.
    pub scopes: Vec<Group>,
    /// Bytes of the values alive during each launch of a run.
    pub memory: Vec<u64>,
}

impl Results {
    pub fn new(
        (step, device): (&str, String),
        roofline: &Roofline,
        profile: &Profile,
        sorted: &[Duration],
        memory: Vec<u64>,
    ) -> Self {
        let groups = |of: Vec<GroupTime>| of.iter().map(|of| Group::new(of, roofline)).collect();
        Self {
            software: "ddim".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            step: step.into(),
            device,
            clock: format!("{:?}", profile.clock),
            flops_per_second: roofline.flops_per_second,
            bytes_per_second: roofline.bytes_per_second,
            milliseconds: Times::of(sorted),
            runs: sorted.len(),
            kernels: groups(profile.kernels()),
            scopes: groups(profile.whole_scopes()),
            memory,
        }
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings are JSON") + "\n"
    }

    /// Reads what [`Results::json`] wrote.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = files::read(path, LARGEST).map_err(|error| Failure::file(path, error))?;
        serde_json::from_slice(&bytes).map_err(|error| Failure::file(path, error))
    }

    /// The kernels that take a hundredth of the time or more and reach less than half of their ceiling.
    pub fn far_from_ceiling(&self) -> impl Iterator<Item = &Group> {
        let all: f64 = self.kernels.iter().map(|of| of.milliseconds.median).sum();
        let matters = move |of: &&Group| of.milliseconds.median >= 0.01 * all;
        self.kernels
            .iter()
            .filter(|of| of.share_of_ceiling.is_some_and(|share| share < 0.5))
            .filter(matters)
    }

    /// The step and each kernel that both profiles have, this one against an earlier one.
    pub fn against(&self, earlier: &Self) -> Vec<Compared> {
        let step = Compared {
            name: "a step".into(),
            before: earlier.milliseconds,
            now: self.milliseconds,
        };
        let kernel = |of: &Group| {
            let before = earlier.kernels.iter().find(|other| other.name == of.name)?;
            Some(Compared {
                name: of.name.clone(),
                before: before.milliseconds,
                now: of.milliseconds,
            })
        };
        [step].into_iter().chain(self.kernels.iter().filter_map(kernel)).collect()
    }
}

/// The times of one thing in two profiles.
pub struct Compared {
    pub name: String,
    pub before: Times,
    pub now: Times,
}

impl Compared {
    /// Time now over the time before.
    pub fn ratio(&self) -> f64 {
        self.now.median / self.before.median.max(1e-9)
    }

    /// What can be said of it: runs that overlap say nothing.
    pub fn verdict(&self) -> &'static str {
        match (self.before.is_apart(&self.now), self.ratio() < 1.0) {
            (false, _) => "within the spread",
            (true, true) => "faster",
            (true, false) => "slower",
        }
    }
}

/// The comparison as a table, with what is in one of the profiles alone.
pub fn table(compared: &[Compared], now: &Results, earlier: &Results) -> String {
    let mut table =
        String::from("ratio   before ms  (fastest  slowest)      now ms  (fastest  slowest)\n");
    for of in compared {
        let times = |Times { median, fastest, slowest }: Times| {
            format!("{median:11.3} ({fastest:8.3} {slowest:8.3})")
        };
        let (before, after) = (times(of.before), times(of.now));
        // Writing to a string does not fail.
        let _ =
            writeln!(table, "{:5.2} {before} {after}  {}: {}", of.ratio(), of.name, of.verdict());
    }
    for (only, other, what) in [(now, earlier, "new"), (earlier, now, "gone")] {
        let known = |of: &&Group| !other.kernels.iter().any(|other| other.name == of.name);
        for of in only.kernels.iter().filter(known) {
            let _ = writeln!(table, "{what:5} {:11.3} ms  {}", of.milliseconds.median, of.name);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(kernels: &[(&str, f64, f64)]) -> Results {
        let group = |&(name, median, share): &(&str, f64, f64)| Group {
            name: name.into(),
            calls: 1,
            milliseconds: Times { median, fastest: 0.9 * median, slowest: 1.1 * median },
            flops: 1,
            bytes: 1,
            share_of_ceiling: Some(share),
            bound_by: Some("compute".into()),
        };
        Results {
            software: "ddim".into(),
            version: "0".into(),
            step: "a step".into(),
            device: "none".into(),
            clock: "Host".into(),
            flops_per_second: 1.0,
            bytes_per_second: 1.0,
            milliseconds: Times { median: 1.0, fastest: 1.0, slowest: 1.0 },
            runs: 1,
            kernels: kernels.iter().map(group).collect(),
            scopes: Vec::new(),
            memory: vec![1, 2],
        }
    }

    #[test]
    fn runs_that_overlap_are_no_difference() {
        let before = results(&[("same", 10.0, 1.0), ("faster", 10.0, 1.0), ("gone", 1.0, 1.0)]);
        let now = results(&[("same", 11.0, 1.0), ("faster", 5.0, 1.0), ("new", 1.0, 1.0)]);
        let compared = now.against(&before);
        let said: Vec<_> = compared.iter().map(|of| (of.name.as_str(), of.verdict())).collect();
        let expected =
            [("a step", "within the spread"), ("same", "within the spread"), ("faster", "faster")];
        assert_eq!(said, expected);
        assert_eq!(before.against(&now)[2].verdict(), "slower");
        let table = table(&compared, &now, &before);
        for line in
            [" 0.50      10.000", "new         1.000 ms  new\n", "gone        1.000 ms  gone\n"]
        {
            assert!(table.contains(line), "{line}:\n{table}");
        }
    }

    #[test]
    fn kernels_that_hardly_count_are_not_far_from_their_ceiling() {
        let of = results(&[("far", 99.0, 0.4), ("near", 50.0, 0.6), ("short", 0.5, 0.1)]);
        let far: Vec<_> = of.far_from_ceiling().map(|of| of.name.as_str()).collect();
        assert_eq!(far, ["far"]);
    }

    #[test]
    fn results_are_read_as_they_were_written() {
        let (folder, of) = (tempfile::tempdir().expect("room"), results(&[("one", 1.0, 0.5)]));
        let path = folder.path().join("profile.json");
        std::fs::write(&path, of.json()).expect("room");
        assert_eq!(Results::read(&path).expect("its own"), of);
        std::fs::write(&path, "{}").expect("room");
        let error = Results::read(&path).expect_err("no profile").line();
        assert!(error.contains("profile.json") && error.contains("software"), "{error}");
    }
}
