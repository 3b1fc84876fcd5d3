//! What was measured, as JSON and as one page.
use super::{Bottleneck, GroupTime, Profile, Roofline};
use crate::{files, plan::Cost};
use serde::{Deserialize, Serialize};
use std::{fmt::Write, io, path::Path, time::Duration};

/// The page, which draws the numbers that are put in its place for them.
const PAGE: &str = include_str!("report.html");

/// Largest file of a report that is read, in bytes.
const LARGEST: u64 = 64 << 20;

/// Median, fastest and slowest of several runs, in milliseconds. `From` takes the fastest, the median and the slowest.
///
/// Example: [`Roofline`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Half of the runs took less.
    pub median: f64,
    /// The fastest run.
    pub fastest: f64,
    /// The slowest run.
    pub slowest: f64,
}

impl From<[Duration; 3]> for Times {
    fn from(times: [Duration; 3]) -> Self {
        let [fastest, median, slowest] = times.map(|time| 1e3 * time.as_secs_f64());
        Self { median, fastest, slowest }
    }
}

impl Times {
    /// Of runs in ascending order; none of no runs.
    pub fn of(sorted: &[Duration]) -> Option<Self> {
        Some([*sorted.first()?, sorted[sorted.len() / 2], *sorted.last()?].into())
    }

    /// Whether the runs of one lie apart from those of the other.
    fn is_apart(&self, other: &Self) -> bool {
        self.slowest < other.fastest || other.slowest < self.fastest
    }
}

/// A kernel, a part of a model or a bench.
///
/// Example: [`Roofline`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportLine {
    /// The kernel's printed form, the part's whole path, or the bench's title.
    pub name: String,
    /// Launches in a run.
    pub calls: usize,
    /// All of them, in a run.
    pub milliseconds: Times,
    /// Floating-point operations in a run.
    pub flops: u64,
    /// Bytes in a run.
    pub bytes: u64,
    /// The share of the ceiling that applies, 1 for all of it; none where nothing is counted.
    pub share_of_ceiling: Option<f64>,
    /// That ceiling: `compute` or `bandwidth`.
    pub bound_by: Option<String>,
}

impl ReportLine {
    /// What took these times for this work, under the ceilings of a device.
    pub fn new(name: &str, calls: usize, times: Times, cost: Cost, roofline: &Roofline) -> Self {
        let known = (cost != Cost::default()).then_some(cost);
        let bound = |cost| match roofline.bottleneck(cost) {
            Bottleneck::Compute => "compute",
            Bottleneck::Bandwidth => "bandwidth",
        };
        let time = Duration::from_secs_f64(times.median / 1e3);
        Self {
            name: name.to_owned(),
            calls,
            milliseconds: times,
            flops: cost.flops,
            bytes: cost.bytes,
            share_of_ceiling: known.map(|cost| roofline.share(cost, time)),
            bound_by: known.map(|cost| bound(cost).into()),
        }
    }

    fn of(group: &GroupTime, roofline: &Roofline) -> Self {
        let [fastest, slowest] = group.range;
        let times = [fastest, group.time, slowest].into();
        Self::new(&group.name, group.calls, times, group.cost, roofline)
    }
}

/// What was measured on a device: a step with its kernels, or benches.
///
/// Example: [`Roofline`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What made it.
    pub software: String,
    /// Its version.
    pub version: String,
    /// What was timed.
    pub step: String,
    /// The adapter and its driver.
    pub device: String,
    /// What launches were timed by.
    pub clock: String,
    /// Ceiling of multiply-adds from registers.
    pub flops_per_second: f64,
    /// Ceiling of a copy.
    pub bytes_per_second: f64,
    /// The whole step by the host's clock, if there is one.
    pub milliseconds: Option<Times>,
    /// How many of it were timed.
    pub runs: usize,
    /// Kernels, the slowest first, or benches.
    pub kernels: Vec<ReportLine>,
    /// Parts of the model by their whole path, in the order of their first launches.
    pub scopes: Vec<ReportLine>,
    /// Bytes alive in each launch of a run: [`Plan::alive_bytes`](crate::plan::Plan::alive_bytes).
    pub memory: Vec<u64>,
}

impl Report {
    /// Of lines that were measured on a device, its name first.
    pub fn new(title: &str, device: &str, roofline: &Roofline, kernels: Vec<ReportLine>) -> Self {
        Self {
            software: "ddim".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            step: title.to_owned(),
            device: device.to_owned(),
            clock: String::new(),
            flops_per_second: roofline.flops_per_second,
            bytes_per_second: roofline.bytes_per_second,
            milliseconds: None,
            runs: 0,
            kernels,
            scopes: Vec::new(),
            memory: Vec::new(),
        }
    }

    /// Of a profile. `steps` are whole runs by the host's clock, the fastest first.
    pub fn of_profile(
        [title, device]: [&str; 2],
        roofline: &Roofline,
        profile: &Profile,
        steps: &[Duration],
        memory: Vec<u64>,
    ) -> Self {
        let lines = |groups: Vec<GroupTime>| -> Vec<ReportLine> {
            groups.iter().map(|group| ReportLine::of(group, roofline)).collect()
        };
        Self {
            clock: format!("{:?}", profile.clock),
            milliseconds: Times::of(steps),
            runs: steps.len(),
            scopes: lines(profile.whole_scopes()),
            memory,
            ..Self::new(title, device, roofline, lines(profile.kernels()))
        }
    }

    /// The numbers.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings are JSON") + "\n"
    }

    /// Reads what [`Report::json`] wrote.
    ///
    /// # Errors
    /// If there is no such file, or it holds something else.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&files::read(path, LARGEST)?)?)
    }

    /// The page: roofline, time by part of the model, memory, a table, and the differences to an earlier report.
    pub fn html(&self, earlier: Option<&Self>) -> String {
        let compared = earlier.map(|earlier| self.against(earlier)).unwrap_or_default();
        let numbers = serde_json::json!({ "report": self, "compared": compared });
        // Nothing in a string may end the script.
        PAGE.replace("{{numbers}}", &numbers.to_string().replace('<', "\\u003c"))
    }

    /// The step and each kernel that both reports have, this one against an earlier one.
    pub fn against(&self, earlier: &Self) -> Vec<Compared> {
        let step = self.milliseconds.zip(earlier.milliseconds);
        let step = step.map(|(now, before)| Compared::new("a step", before, now));
        let kernel = |of: &ReportLine| {
            let before = earlier.kernels.iter().find(|other| other.name == of.name)?;
            Some(Compared::new(&of.name, before.milliseconds, of.milliseconds))
        };
        step.into_iter().chain(self.kernels.iter().filter_map(kernel)).collect()
    }

    /// The differences to an earlier report as a table, with what is in one of the two alone.
    pub fn comparison(&self, earlier: &Self) -> String {
        let mut table =
            String::from("ratio   before ms  (fastest  slowest)      now ms  (fastest  slowest)\n");
        let times = |Times { median, fastest, slowest }: Times| {
            format!("{median:11.3} ({fastest:8.3} {slowest:8.3})")
        };
        for Compared { name, before, now, ratio, verdict } in self.against(earlier) {
            let (before, now) = (times(before), times(now));
            // Writing to a string does not fail.
            let _ = writeln!(table, "{ratio:5.2} {before} {now}  {name}: {verdict}");
        }
        for (only, other, what) in [(self, earlier, "new"), (earlier, self, "gone")] {
            let known = |of: &&ReportLine| !other.kernels.iter().any(|other| other.name == of.name);
            for of in only.kernels.iter().filter(known) {
                let _ = writeln!(table, "{what:5} {:11.3} ms  {}", of.milliseconds.median, of.name);
            }
        }
        table
    }
}

/// The times of one thing in two reports.
///
/// Example: [`Roofline`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// The kernel's printed form, or `a step`.
    pub name: String,
    /// In the earlier report.
    pub before: Times,
    /// In the later one.
    pub now: Times,
    /// Time now over the time before.
    pub ratio: f64,
    /// `faster`, `slower`, or `within the spread`: runs that overlap say nothing.
    pub verdict: &'static str,
}

impl Compared {
    fn new(name: &str, before: Times, now: Times) -> Self {
        let ratio = now.median / before.median.max(1e-9);
        let verdict = match (before.is_apart(&now), ratio < 1.0) {
            (false, _) => "within the spread",
            (true, true) => "faster",
            (true, false) => "slower",
        };
        Self { name: name.to_owned(), before, now, ratio, verdict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOFLINE: Roofline = Roofline { flops_per_second: 1e9, bytes_per_second: 1e9 };

    fn report(kernels: &[(&str, f64)]) -> Report {
        let cost = Cost { flops: 4_000_000, bytes: 1 };
        let line = |&(name, median): &(&str, f64)| {
            let times = Times { median, fastest: 0.9 * median, slowest: 1.1 * median };
            ReportLine::new(name, 1, times, cost, &ROOFLINE)
        };
        let step = Some(Times { median: 1.0, fastest: 1.0, slowest: 1.0 });
        let kernels = kernels.iter().map(line).collect();
        Report { milliseconds: step, ..Report::new("a step", "none", &ROOFLINE, kernels) }
    }

    #[test]
    fn runs_that_overlap_are_no_difference() {
        let before = report(&[("same", 10.0), ("faster", 10.0), ("gone", 1.0)]);
        let now = report(&[("same", 11.0), ("faster", 5.0), ("new", 1.0)]);
        let compared = now.against(&before);
        let said: Vec<_> = compared.iter().map(|of| (of.name.as_str(), of.verdict)).collect();
        let expected =
            [("a step", "within the spread"), ("same", "within the spread"), ("faster", "faster")];
        assert_eq!(said, expected);
        assert_eq!(before.against(&now)[2].verdict, "slower");
        let table = now.comparison(&before);
        for line in
            [" 0.50      10.000", "new         1.000 ms  new\n", "gone        1.000 ms  gone\n"]
        {
            assert!(table.contains(line), "{line}:\n{table}");
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let (folder, of) = (tempfile::tempdir().expect("room"), report(&[("one", 8.0)]));
        let path = folder.path().join("report.json");
        std::fs::write(&path, of.json()).expect("room");
        assert_eq!(Report::read(&path).expect("its own"), of);
        assert_eq!(of.kernels[0].share_of_ceiling, Some(0.5));
        std::fs::write(&path, "{}").expect("room");
        let error = Report::read(&path).expect_err("no report").to_string();
        assert!(error.contains("software"), "{error}");
    }

    #[test]
    fn a_name_cannot_end_the_page() {
        let page = report(&[("</script><b>", 1.0)]).html(None);
        assert!(page.contains("\\u003c/script>\\u003cb>"), "{page}");
        assert_eq!(page.matches("</script>").count(), PAGE.matches("</script>").count());
    }
}
