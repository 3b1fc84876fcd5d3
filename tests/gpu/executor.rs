//! The executor: replay without waiting, transfers, what it refuses and how, time on the device.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use crate::common::{square::Square, support};
use ddim::{
    Error,
    error::{GpuError, LoweringError},
    gpu::{Clock, Executor, Gpu, GpuOptions, Profile, Timing},
    graph::Graph,
    ops::{Add, Conv2d, Op, Silu},
    passes,
    plan::{Cost, DeviceProfile, Dispatch, Scope, Target},
    value::{TensorType, Value},
    wgpu,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// `silu(x) + x`, with `x` the state that the next run starts from.
fn recurrence(shape: &[usize]) -> (Graph, Value, Value) {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(shape));
    let silu = graph.push(Silu, &[x]).unwrap();
    let y = graph.push(Add, &[silu, x]).unwrap();
    graph.outputs.push(y);
    graph.update(x, y);
    (graph, x, y)
}

fn executor(gpu: &Gpu, graph: &Graph) -> Executor {
    Executor::new(gpu, passes::compile(graph, gpu.target()).unwrap()).unwrap()
}

fn gpu_error(error: Error) -> GpuError {
    match error {
        Error::Gpu(error) => error,
        other => panic!("{other}"),
    }
}

/// Another thread's plan is made while this one's kernels wait to be compiled.
#[test]
fn compiling_keeps_no_other_thread_from_it() {
    let Some(gpu) = support::gpu() else { return };
    let (first, second) = (recurrence(&[2, 77]).0, recurrence(&[5, 131]).0);
    let (told, heard) = mpsc::channel();
    let (other, begun) = (gpu.clone(), AtomicBool::new(false));
    gpu.on_compile(move |_, _| {
        // The other thread's kernels are told of here too.
        if !begun.swap(true, Ordering::SeqCst) {
            let (gpu, graph) = (other.clone(), second.clone());
            let (done, finished) = mpsc::channel();
            thread::spawn(move || done.send(executor(&gpu, &graph).run(1).is_ok()));
            // Far longer than two small kernels take.
            let _ = told.send(finished.recv_timeout(Duration::from_secs(60)));
        }
    });
    executor(&gpu, &first).run(1).unwrap();
    gpu.on_compile(|_, _| ());
    assert_eq!(heard.recv().unwrap(), Ok(true), "the other thread waited");
}

#[test]
fn fifty_runs_wait_for_nothing_and_map_nothing() {
    let Some(gpu) = support::gpu() else { return };
    let (graph, x, y) = recurrence(&[3, 5]);
    let mut executor = executor(&gpu, &graph);
    let start: Vec<f32> = (0..15).map(|i| i as f32 / 10.0 - 0.7).collect();
    executor.write(x, &start).unwrap();
    let before = executor.stats();
    executor.run(50).unwrap();
    let after = executor.stats();
    assert!(after.submits > before.submits);
    assert_eq!(after.dispatches, before.dispatches + 150);
    assert_eq!((after.waits, after.maps), (before.waits, before.maps));
    let got = executor.read(y).unwrap();
    assert_eq!(executor.read(x).unwrap(), got);
    for (&start, got) in start.iter().zip(got) {
        let step = |x: f64| x + x / (1.0 + (-x).exp());
        let want = (0..50).fold(f64::from(start), |x, _| step(x));
        assert!((f64::from(got) - want).abs() <= 1e-3 * want.abs(), "{got} for {want}");
    }
}

#[test]
fn runs_that_are_waited_for_are_counted_as_they_end() {
    let Some(gpu) = support::gpu() else { return };
    let (graph, x, y) = recurrence(&[1 << 16]);
    let (mut heard, mut silent) = (executor(&gpu, &graph), executor(&gpu, &graph));
    let start: Vec<f32> = (0..1 << 16).map(|i| i as f32 / 65536.0 - 0.5).collect();
    for executor in [&mut heard, &mut silent] {
        executor.write(x, &start).unwrap();
    }
    let (mut counts, before) = (Vec::new(), heard.stats());
    heard.run_with(3000, |runs| counts.push(runs)).unwrap();
    let submits = heard.stats().submits - before.submits;
    assert!(submits > 3, "more command buffers than are under way at once: {submits}");
    assert_eq!(counts.len() as u64, submits);
    assert!(counts.is_sorted() && counts.last() == Some(&3000), "{counts:?}");
    silent.run(3000).unwrap();
    assert_eq!(heard.read(y).unwrap(), silent.read(y).unwrap());
    let nothing: Vec<usize> = Vec::new();
    counts.clear();
    heard.run_with(0, |runs| counts.push(runs)).unwrap();
    assert_eq!(counts, nothing);
}

#[test]
fn kernels_are_counted_as_they_are_compiled() {
    let Some(gpu) = support::gpu() else { return };
    let told = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&told);
    // A device of its own: kernels are compiled once for each.
    let gpu =
        Gpu::new(&GpuOptions { adapter: Some(gpu.info().name.clone()), ..Default::default() });
    let gpu = gpu.unwrap();
    gpu.on_compile(move |done, of| record.lock().unwrap().push((done, of)));
    let (graph, ..) = recurrence(&[3, 5]);
    let kernels = executor(&gpu, &graph).plan().pipelines();
    let mut told_once = told.lock().unwrap().clone();
    told_once.sort_unstable();
    assert_eq!(told_once, (0..=kernels).map(|done| (done, kernels)).collect::<Vec<_>>());
    executor(&gpu, &graph);
    assert_eq!(told.lock().unwrap().len(), kernels + 1, "nothing is compiled twice");
}

#[test]
fn long_command_buffers_are_cut_until_the_pace_is_known() {
    let Some(gpu) = support::gpu() else { return };
    let mut graph = Graph::new();
    let mut x = graph.input(TensorType::f32(&[64]));
    let input = x;
    for _ in 0..6 {
        let op = Square { flops: 1_000_000_000_000, ..Square::default() };
        x = graph.push(Op::custom(op), &[x]).unwrap();
    }
    graph.outputs.push(x);
    let mut executor = executor(&gpu, &graph);
    executor.write(input, &[1.0; 64]).unwrap();
    executor.run(1).unwrap();
    assert_eq!(executor.stats().submits, 6, "a teraflop each is over half a second of prediction");
    for _ in 0..3 {
        // The first wait measures the driver's compiler too.
        executor.wait().unwrap();
        let before = executor.stats().submits;
        executor.run(1).unwrap();
        if executor.stats().submits - before == 1 {
            return;
        }
    }
    panic!("64 numbers still count as a teraflop");
}

#[test]
fn contents_survive_the_round_trip() {
    let Some(gpu) = support::gpu() else { return };
    let mut graph = Graph::new();
    for of in [TensorType::f32(&[2, 3, 5]), TensorType::f32(&[1]), TensorType::f32(&[7, 8])] {
        graph.input(of);
    }
    let half = graph.input(TensorType::f16(&[3, 1]));
    let integers = graph.input(TensorType::u32(&[2, 6]));
    let large = graph.input(TensorType::f32(&[5_000_000]));
    let mut executor = executor(&gpu, &graph);
    executor.poison().unwrap();
    for value in [0, 1, 2, large.index()].map(|index| graph.inputs[index.min(5)]) {
        let of = graph.type_of(value);
        let data: Vec<f32> = (0..of.shape.elements()).map(|i| i as f32 + 0.5).collect();
        executor.write(value, &data).unwrap();
        assert!(executor.read(value).unwrap() == data, "{of}");
        let raw: Vec<f32> = bytemuck::pod_collect_to_vec(&executor.read_raw(value).unwrap());
        for row in raw.chunks_exact(of.pitch()).take(of.rows()) {
            assert!(row[of.shape.last()..].iter().all(|&pad| pad == 0.0), "{of}");
        }
    }
    executor.write(half, &[0.1, -2.0, 70000.0]).unwrap();
    let rounded = [half::f16::from_f32(0.1).to_f32(), -2.0, f32::INFINITY];
    assert_eq!(executor.read(half).unwrap(), rounded);
    let data: Vec<u32> = (0..12).map(|i| u32::MAX - i).collect();
    executor.write_u32(integers, &data).unwrap();
    assert_eq!(executor.read_u32(integers).unwrap(), data);
}

#[test]
fn contents_that_do_not_fit_are_refused() {
    let Some(gpu) = support::gpu() else { return };
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[2, 3]));
    let integers = graph.input(TensorType::u32(&[4]));
    let hidden = graph.push(Silu, &[x]).unwrap();
    let y = graph.push(Silu, &[hidden]).unwrap();
    graph.outputs.push(y);
    let mut executor = executor(&gpu, &graph);
    let error = gpu_error(executor.write(x, &[1.0; 7]).unwrap_err());
    assert!(matches!(error, GpuError::Length { expected: 6, found: 7, .. }), "{error}");
    assert_eq!(error.to_string(), "%0 (f32[2,3]) takes 6 elements, found 7");
    let error = gpu_error(executor.write_u32(x, &[1; 6]).unwrap_err());
    assert!(matches!(error, GpuError::Element { .. }), "{error}");
    let error = gpu_error(executor.read(integers).unwrap_err());
    assert!(matches!(error, GpuError::Element { .. }), "{error}");
    let error = gpu_error(executor.read(hidden).unwrap_err());
    assert!(matches!(error, GpuError::NoContents { .. }), "{error}");
    let other = Graph::new().input(TensorType::f32(&[2, 3]));
    assert_eq!(other.index(), x.index());
    for error in [
        executor.read(other).unwrap_err(),
        executor.write(other, &[1.0; 6]).unwrap_err(),
        executor.tensor(other).unwrap_err(),
        executor.read_raw(other).unwrap_err(),
        executor.written(other).unwrap_err().into(),
    ] {
        assert!(matches!(error, Error::Gpu(GpuError::Foreign { .. })), "{error}");
    }
}

/// A device as a program that already uses wgpu would have it.
fn callers_device(limits: wgpu::Limits) -> Option<(wgpu::Device, wgpu::Queue)> {
    // The skip, and its absence under REQUIRE_GPU.
    support::gpu()?;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    let request = adapters[0].request_device(&descriptor);
    Some(pollster::block_on(request).unwrap())
}

#[test]
fn a_callers_device_will_do() {
    let Some((device, queue)) = callers_device(wgpu::Limits::default()) else { return };
    let gpu = Gpu::from_wgpu(device, queue).unwrap();
    let (graph, x, y) = recurrence(&[2, 2]);
    let mut executor = executor(&gpu, &graph);
    executor.write(x, &[0.0; 4]).unwrap();
    executor.run(2).unwrap();
    assert_eq!(executor.read(y).unwrap(), [0.0; 4]);
}

#[test]
fn a_callers_device_that_lacks_something_is_refused() {
    let limits = wgpu::Limits::downlevel_defaults();
    let Some((device, queue)) = callers_device(limits) else { return };
    let error = Gpu::from_wgpu(device, queue).unwrap_err();
    assert!(matches!(error, GpuError::Unsuitable { .. }), "{error}");
    assert!(error.to_string().contains("max_storage_buffers_per_shader_stage: needs 8"), "{error}");
}

#[test]
fn default_limits_and_no_features_will_do() {
    if support::gpu().is_none() {
        return;
    }
    let gpu = Gpu::new(&GpuOptions { minimal: true, ..Default::default() }).unwrap();
    let profile = gpu.target().profile;
    assert_eq!(*gpu.target(), Target { profile, ..Target::default() });
    let (graph, x, y) = recurrence(&[70_000, 4]);
    let mut executor = executor(&gpu, &graph);
    executor.write(x, &vec![1.0; 280_000]).unwrap();
    assert_eq!(executor.profile(1).unwrap().clock, Clock::Host);
    let got = executor.read(y).unwrap();
    assert!(got.iter().all(|&y| (y - 1.731_058_6).abs() < 1e-6));
}

#[test]
fn a_lost_device_is_an_error_wherever_it_shows() {
    let Some(owned) = support::gpu() else { return };
    let Some((device, queue)) = callers_device(wgpu::Limits::default()) else { return };
    for gpu in [owned, Gpu::from_wgpu(device, queue).unwrap()] {
        let (graph, x, y) = recurrence(&[2, 2]);
        let mut executor = executor(&gpu, &graph);
        executor.run(1).unwrap();
        // While work is under way the loss is only seen by waiting.
        executor.wait().unwrap();
        gpu.device().destroy();
        let plan = passes::compile(&graph, gpu.target()).unwrap();
        for error in [
            executor.run(1).unwrap_err(),
            executor.write(x, &[0.0; 4]).unwrap_err(),
            executor.read(y).unwrap_err(),
            executor.wait().unwrap_err(),
            executor.profile(1).unwrap_err(),
            executor.time(1).unwrap_err(),
            Executor::new(&gpu, plan).err().unwrap(),
        ] {
            let error = gpu_error(error);
            assert!(matches!(error, GpuError::Lost { .. }), "{error}");
        }
    }
}

#[test]
fn a_tensor_over_the_binding_limit_is_named() {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[1 << 26]));
    let y = graph.push(Silu, &[x]).unwrap();
    graph.outputs.push(y);
    let error = passes::compile(&graph, &Target::default()).unwrap_err();
    assert!(matches!(error, Error::Lowering(LoweringError::Binding { .. })));
    let text = error.to_string();
    for part in ["f32[67108864]", "binding of 256 MiB", "at most 128"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn an_adapter_that_is_not_there_is_named_among_those_that_are() {
    let Some(gpu) = support::gpu() else { return };
    let options = GpuOptions { adapter: Some("no such adapter".to_owned()), ..Default::default() };
    let error = Gpu::new(&options).unwrap_err();
    assert!(matches!(error, GpuError::NoAdapter { .. }), "{error}");
    let text = error.to_string();
    for part in ["\"no such adapter\" (vulkan", &gpu.info().name] {
        assert!(text.contains(part), "{text}");
    }
    // A driver is there already.
    assert!(!text.contains("install"), "{text}");
}

#[test]
fn every_launch_is_timed() {
    let Some(gpu) = support::gpu() else { return };
    let (graph, x, _) = recurrence(&[1000, 100]);
    let mut executor = executor(&gpu, &graph);
    executor.write(x, &vec![0.5; 100_000]).unwrap();
    // The first run compiles.
    executor.run(1).unwrap();
    let profile = executor.profile(3).unwrap();
    assert_eq!(profile.timings.len(), executor.plan().dispatches().count());
    let timed = |timing: &Timing| timing.times.len() == 3 && !timing.times[2].is_zero();
    assert!(profile.timings.iter().all(timed), "{profile}");
    // No layer made them; the last keeps the state.
    let scopes: Vec<&str> = profile.timings.iter().map(|timing| timing.scope.as_str()).collect();
    assert_eq!(scopes, ["(step)", "(step)", "update"]);
    let kernels = profile.kernels();
    assert!(kernels.windows(2).all(|pair| pair[0].time >= pair[1].time), "{profile}");
    assert_eq!(kernels.iter().map(|kernel| kernel.calls).sum::<usize>(), profile.timings.len());
    let (few, many) = (executor.time(1).unwrap(), executor.time(40).unwrap());
    assert!(few < many, "{few:?}, {many:?}");
}

#[test]
fn a_profile_has_medians_and_the_runs_beside_them() {
    let timing = |kernel: &str, milliseconds: [u64; 5]| Timing {
        scope: Scope::new("mid_block"),
        kernel: kernel.to_owned(),
        times: milliseconds.map(Duration::from_millis).into(),
        cost: Cost::default(),
        work: Cost { flops: 0, bytes: 6_000_000 },
    };
    let timings = vec![
        timing("winograd.output narrow=0", [3, 3, 2, 3, 7]),
        timing("winograd.output narrow=1", [2, 3, 3, 3, 5]),
        timing("silu.forward", [1, 1, 1, 1, 1]),
    ];
    let profile = Profile { clock: Clock::Host, timings };
    let entries = profile.entry_points();
    let [output, silu] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((output.name.as_str(), output.calls), ("winograd.output", 2));
    assert_eq!(output.time, Duration::from_millis(6));
    // Of a run, not of a launch.
    assert_eq!(output.range, [5, 12].map(Duration::from_millis));
    assert_eq!(silu.range, [1, 1].map(Duration::from_millis));
    assert_eq!(profile.total().range, [6, 13].map(Duration::from_millis));
    let table = profile.table(&entries, "kernel", None);
    let row: Vec<&str> = table.lines().nth(1).expect("a row").split_whitespace().collect();
    // 12 MB in 6 ms; no operations to speak of.
    assert_eq!(row, ["2", "6.000", "5.000", "12.000", "85.7%", "-", "2.0", "winograd.output"]);
}

#[test]
fn each_launch_of_an_equation_has_its_own_work() {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[8, 32, 32, 128]));
    let weight = graph.input(TensorType::f32(&[3, 3, 128, 128]));
    let y = graph.push(Conv2d { stride: 1, padding: [1; 4] }, &[x, weight]).unwrap();
    let z = graph.push(Silu, &[y]).unwrap();
    graph.outputs.push(z);
    let profile = DeviceProfile::SOFTWARE;
    let target = Target { subgroup: Some(8), int64: true, profile, ..Target::default() };
    let plan = passes::compile(&graph, &target).unwrap();
    let bytes = graph.type_of(y).bytes();
    let (mut written, mut silu) = (0, 0);
    for dispatch in plan.dispatches() {
        let kernel = format!("{}.{}", dispatch.kernel.shader, dispatch.kernel.entry);
        let work = dispatch.work;
        match kernel.as_str() {
            "winograd.output" => {
                assert_eq!(work.flops, 0);
                written += work.bytes;
            }
            "silu.forward" => {
                assert_eq!((work, work.bytes), (dispatch.cost, 2 * bytes));
                silu += 1;
            }
            _ => assert!(work.bytes > 0 && work.flops == dispatch.cost.flops, "{kernel}: {work:?}"),
        }
    }
    assert_eq!(silu, 1);
    // Tiles of 2x4 pixels from 4x6 sums each, three reads for a write, in chunks of the batch.
    assert_eq!(written, 4 * bytes);
    let flops = |of: fn(&Dispatch) -> u64| plan.dispatches().map(of).sum::<u64>();
    assert_eq!(flops(|dispatch| dispatch.work.flops), flops(|dispatch| dispatch.cost.flops));
}
