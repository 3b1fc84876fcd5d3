//! An open device, and what goes wrong on it.
use super::{
    adapter::{GpuOptions, choose, optional_features, target},
    cache::Pipelines,
};
use crate::{
    error::GpuError,
    plan::{Target, Tuning},
};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

/// An open device, and how it is planned for. Clones share the device.
#[derive(Clone)]
pub struct Gpu(Arc<Inner>, Target);

/// What [`Gpu::on_compile`] was given.
type Listener = Arc<dyn Fn(usize, usize) + Send + Sync>;

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    /// Whether wgpu tells of its loss: not of a caller's device, which has its own callback.
    watched: bool,
    /// Why the device is lost.
    lost: Arc<Mutex<Option<String>>>,
    pipelines: Mutex<Pipelines>,
    listener: Mutex<Option<Listener>>,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gpu").field(&self.0.info).finish()
    }
}

impl Gpu {
    /// Opens the best adapter that fits `options`.
    ///
    /// # Errors
    /// If there is none, or it gives no device.
    pub fn new(options: &GpuOptions) -> Result<Self, GpuError> {
        pollster::block_on(Self::new_async(options))
    }

    /// As [`Gpu::new`], for callers with an event loop.
    ///
    /// # Errors
    /// As [`Gpu::new`].
    pub async fn new_async(options: &GpuOptions) -> Result<Self, GpuError> {
        let adapter = choose(options).await?;
        let (features, limits) = if options.minimal {
            (wgpu::Features::empty(), wgpu::Limits::default())
        } else {
            (Self::wanted_features(&adapter), adapter.limits())
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("ddim"),
            required_features: features,
            required_limits: limits,
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| {
            GpuError::NoDevice { adapter: adapter.get_info().name, message: error.to_string() }
        })?;
        // Scopes catch what this crate causes; what is left belongs in the log, not in a panic.
        device.on_uncaptured_error(Arc::new(|error: wgpu::Error| log::error!("{error}")));
        let gpu = Self::open(device, queue, true);
        let lost = Arc::clone(&gpu.0.lost);
        gpu.0.device.set_device_lost_callback(move |reason, message| {
            *lost.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(format!("{reason:?}: {message}"));
        });
        Ok(gpu)
    }

    /// The limits to open a device with, if the caller opens it: WebGPU's defaults, and the adapter's own
    /// for buffers and compute shaders. A device with WebGPU's defaults alone runs everything that fits
    /// its bindings (128 MiB), more slowly.
    pub fn required_limits(adapter: &wgpu::Adapter) -> wgpu::Limits {
        let own = adapter.limits();
        wgpu::Limits {
            max_buffer_size: own.max_buffer_size,
            max_storage_buffer_binding_size: own.max_storage_buffer_binding_size,
            max_compute_workgroup_storage_size: own.max_compute_workgroup_storage_size,
            max_compute_invocations_per_workgroup: own.max_compute_invocations_per_workgroup,
            min_storage_buffer_offset_alignment: own.min_storage_buffer_offset_alignment,
            min_uniform_buffer_offset_alignment: own.min_uniform_buffer_offset_alignment,
            max_compute_workgroup_size_x: own.max_compute_workgroup_size_x,
            max_compute_workgroup_size_y: own.max_compute_workgroup_size_y,
            max_compute_workgroup_size_z: own.max_compute_workgroup_size_z,
            ..wgpu::Limits::default().or_worse_values_from(&own)
        }
    }

    /// The features of the adapter that kernels and profiling use. None is needed.
    pub fn wanted_features(adapter: &wgpu::Adapter) -> wgpu::Features {
        adapter.features() & optional_features()
    }

    /// Runs on the caller's own device, with the features that it has of
    /// [`Gpu::wanted_features`]. No callback of the device is set: its loss is seen when a wait or a read
    /// fails, or when the caller says so by [`Gpu::device_lost`].
    ///
    /// # Errors
    /// If a limit is below WebGPU's defaults where this crate needs them.
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self, GpuError> {
        type Limit = fn(&wgpu::Limits) -> u32;
        let (limits, needed) = (device.limits(), wgpu::Limits::default());
        let checks: [(&'static str, Limit); 4] = [
            ("max_storage_buffers_per_shader_stage", |of| of.max_storage_buffers_per_shader_stage),
            ("max_compute_invocations_per_workgroup", |of| {
                of.max_compute_invocations_per_workgroup
            }),
            ("max_compute_workgroup_storage_size", |of| of.max_compute_workgroup_storage_size),
            ("max_compute_workgroups_per_dimension", |of| of.max_compute_workgroups_per_dimension),
        ];
        for (what, limit) in checks {
            let (needed, found) = (limit(&needed), limit(&limits));
            if found < needed {
                let (needed, found) = (needed.to_string(), found.to_string());
                let adapter = device.adapter_info().name;
                return Err(GpuError::Unsuitable { adapter, what, needed, found });
            }
        }
        Ok(Self::open(device, queue, false))
    }

    fn open(device: wgpu::Device, queue: wgpu::Queue, watched: bool) -> Self {
        let info = device.adapter_info();
        let target = target(&info, device.features(), &device.limits());
        log::info!("{} ({}, {})", info.name, info.backend, info.driver_info);
        let (lost, pipelines, listener) = Default::default();
        Self(Arc::new(Inner { device, queue, info, watched, lost, pipelines, listener }), target)
    }

    /// Tells that the device is lost: a caller that opened it passes on what its device-lost callback
    /// hears. Every later call fails with [`GpuError::Lost`].
    pub fn device_lost(&self, reason: &str) {
        *self.0.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    /// While an executor is made, `hear` is told how many of how many new kernels are compiled: 0
    /// first. It is called from several threads, in place of an earlier listener.
    pub fn on_compile(&self, hear: impl Fn(usize, usize) + Send + Sync + 'static) {
        *self.0.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hear));
    }

    /// Tells the listener, if there is one.
    pub(super) fn tell_compiled(&self, done: usize, of: usize) {
        let listener = self.0.listener.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hear) = listener {
            hear(done, of);
        }
    }

    /// wgpu's device.
    pub fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    /// wgpu's queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    /// Name, kind, driver and API of the adapter.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.0.info
    }

    /// The device as lowering sees it.
    pub fn target(&self) -> &Target {
        &self.1
    }

    /// The same device, whose plans take what `tuning` measured before the table; none for the table
    /// alone.
    pub fn tuned(&self, tuning: Option<Tuning>) -> Self {
        Self(self.0.clone(), Target { tuning: tuning.map(Arc::new), ..self.1.clone() })
    }

    pub(super) fn pipelines(&self) -> std::sync::MutexGuard<'_, Pipelines> {
        // A panic while compiling leaves the cache without the entry, which is no harm.
        self.0.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` with the device's errors caught.
    pub(super) fn guard<T>(
        &self,
        action: &str,
        bytes: u64,
        work: impl FnOnce() -> T,
    ) -> Result<T, GpuError> {
        let scopes = [
            self.0.device.push_error_scope(wgpu::ErrorFilter::Internal),
            self.0.device.push_error_scope(wgpu::ErrorFilter::Validation),
            self.0.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory),
        ];
        let result = work();
        let mut caught = None;
        for scope in scopes.into_iter().rev() {
            caught = pollster::block_on(scope.pop()).or(caught);
        }
        let action = action.to_owned();
        match caught {
            None => Ok(result),
            Some(wgpu::Error::OutOfMemory { .. }) => {
                Err(self.lost_or(GpuError::OutOfMemory { action, bytes }))
            }
            Some(error) => {
                Err(self.lost_or(GpuError::Device { action, message: error.to_string() }))
            }
        }
    }

    /// The error, or that the device is lost: then everything fails in one way or another, and the
    /// loss is the thing to say. wgpu reports it to whoever polls once nothing is under way any
    /// more, which may be another thread.
    pub(super) fn lost_or(&self, error: GpuError) -> GpuError {
        if !self.0.watched {
            return self.check_maps().err().unwrap_or(error);
        }
        for _ in 0..20 {
            let _ = self.0.device.poll(wgpu::PollType::wait_indefinitely());
            if let Err(lost) = self.check_lost() {
                return lost;
            }
            thread::sleep(Duration::from_millis(1));
        }
        error
    }

    /// An error if the device went away, as far as it knows without waiting. wgpu reports that
    /// only when it is polled, not through error scopes.
    pub(super) fn check_now(&self) -> Result<(), GpuError> {
        // Only waiting can time out.
        let _ = self.0.device.poll(wgpu::PollType::Poll);
        self.check_lost()?;
        self.check_maps()
    }

    /// An error if a caller's device went away: the least buffer cannot be mapped then, and says so at once.
    /// wgpu tells of the loss by the callback alone, which is the caller's.
    fn check_maps(&self) -> Result<(), GpuError> {
        if self.0.watched {
            return Ok(());
        }
        let (sender, receiver) = mpsc::channel();
        // What is wrong with the device shows in the callback; the caller's handler need not hear of it.
        let scope = self.0.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let buffer = self.0.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("probe of the device"),
            size: 4,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        // Without a receiver nobody asks any more: the mapping is given up with the buffer.
        buffer.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
        drop(pollster::block_on(scope.pop()));
        if let Ok(Err(error)) = receiver.try_recv() {
            self.device_lost(&format!("a buffer of 4 bytes cannot be mapped: {error}"));
        }
        self.check_lost()
    }

    fn check_lost(&self) -> Result<(), GpuError> {
        match &*self.0.lost.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(message) => Err(GpuError::Lost { message: message.clone() }),
            None => Ok(()),
        }
    }

    /// Blocks until the device has finished this submission and all before it, or everything.
    pub(super) fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<(), GpuError> {
        let until = wgpu::PollType::Wait { submission_index: submission, timeout: None };
        let polled = self.0.device.poll(until);
        self.check_lost()?;
        self.check_maps()?;
        polled.map(|_| ()).map_err(|error| {
            let action = "waiting for the device".to_owned();
            self.lost_or(GpuError::Device { action, message: error.to_string() })
        })
    }
}
