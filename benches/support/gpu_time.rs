//! Criterion's measurement by the device's clock: time between the begin of the first launch and
//! the end of the last, throughput in GFLOP/s or GB/s.
use criterion::{
    Bencher, Criterion, Throughput,
    measurement::{Measurement, ValueFormatter},
};
use ddim::gpu::Executor;
use std::{cell::RefCell, time::Duration};

/// Samples of a bench.
const SAMPLES: usize = 10;

/// Times launches on the device.
pub struct GpuTime;

/// Ten samples of a second in all: kernels take from microseconds to seconds, and there are many.
pub fn config() -> Criterion<GpuTime> {
    Criterion::default()
        .with_measurement(GpuTime)
        .sample_size(SAMPLES)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

type Restart = Box<dyn Fn(&mut Executor) -> Result<(), ddim::Error>>;

/// An executor under measurement.
pub struct Timed {
    executor: RefCell<Executor>,
    /// Runs of the plan that count as one.
    runs: usize,
    /// Back to the beginning, before each sample.
    restart: Restart,
    /// Of each sample, those of the warm-up too.
    times: RefCell<Vec<Duration>>,
}

impl Timed {
    /// Ready to be measured.
    pub fn new(executor: Executor, runs: usize, restart: Restart) -> Self {
        Self { executor: executor.into(), runs, restart, times: RefCell::default() }
    }

    /// Measures.
    pub fn iterate(&self, bencher: &mut Bencher<GpuTime>) {
        let mut executor = self.executor.borrow_mut();
        bencher.iter_custom(|times| {
            (self.restart)(&mut executor).expect("the device works");
            let runs = times as usize * self.runs;
            let time = executor.time(runs).expect("the device works");
            self.times.borrow_mut().push(time.div_f64(times as f64));
            time
        });
    }

    /// The shortest, the median and the longest of the last ten samples: criterion warms up first.
    pub fn spread(&self) -> Option<[Duration; 3]> {
        let times = self.times.borrow();
        let mut last = times[times.len().saturating_sub(SAMPLES)..].to_vec();
        last.sort();
        Some([*last.first()?, last[last.len() / 2], *last.last()?])
    }
}

impl Measurement for GpuTime {
    type Intermediate = ();
    type Value = Duration;

    fn start(&self) {}

    fn end(&self, (): ()) -> Duration {
        unreachable!("iter_custom brings the time along")
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, time: &Duration) -> f64 {
        time.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for GpuTime {
    fn scale_values(&self, typical: f64, nanoseconds: &mut [f64]) -> &'static str {
        let (unit, name) = match typical {
            ..1e3 => (1.0, "ns"),
            ..1e6 => (1e3, "us"),
            ..1e9 => (1e6, "ms"),
            _ => (1e9, "s"),
        };
        nanoseconds.iter_mut().for_each(|value| *value /= unit);
        name
    }

    fn scale_throughputs(&self, _: f64, work: &Throughput, values: &mut [f64]) -> &'static str {
        let (amount, name) = match *work {
            Throughput::Elements(flops) => (flops, "GFLOP/s"),
            Throughput::Bytes(bytes) | Throughput::BytesDecimal(bytes) => (bytes, "GB/s"),
            Throughput::Bits(bits) => (bits / 8, "GB/s"),
        };
        // Per nanosecond, that is 1e9 per second.
        values.iter_mut().for_each(|value| *value = amount as f64 / *value);
        name
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "ns"
    }
}
