//! Waiting without blocking: a thread of its own waits, or in a browser its event loop.
use super::{DeviceTensor, Executor, Gpu};
use crate::{
    error::{Error, GpuError},
    plan::Plan,
    value::Value,
};
#[cfg(not(target_family = "wasm"))]
use std::{panic, thread};

impl Gpu {
    /// Completes when the device has done all that was submitted, and everything that it refused is known.
    ///
    /// # Errors
    /// The first thing that the device refused and no call told of yet, or its loss.
    pub async fn settled(&self) -> Result<(), GpuError> {
        self.idle().await?;
        self.check_late().await?;
        self.check_now()
    }

    #[cfg(not(target_family = "wasm"))]
    async fn idle(&self) -> Result<(), GpuError> {
        let gpu = self.clone();
        elsewhere(move || gpu.wait(None)).await
    }

    #[cfg(target_family = "wasm")]
    async fn idle(&self) -> Result<(), GpuError> {
        let (sender, done) = oneshot::async_channel();
        self.queue().on_submitted_work_done(move || drop(sender.send(())));
        // Dropped, the callback tells nothing: the loss of the device is told by what is asked next.
        let _ = done.await;
        Ok(())
    }
}

/// Does work on a thread of its own.
#[cfg(not(target_family = "wasm"))]
async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, result) = oneshot::async_channel();
    // Without a receiver nobody waits any more.
    let thread = thread::spawn(move || drop(sender.send(work())));
    match result.await {
        Ok(result) => result,
        // The sender is gone without a result: the work panicked.
        Err(_) => match thread.join() {
            Err(panic) => panic::resume_unwind(panic),
            Ok(()) => unreachable!("the thread sends before it ends"),
        },
    }
}

impl Executor {
    /// As [`Executor::new`], without blocking. [`Gpu::on_compile`] tells of its progress.
    ///
    /// # Errors
    /// As [`Executor::new`].
    pub async fn new_async(gpu: &Gpu, plan: Plan) -> Result<Self, Error> {
        Self::with_buffers_async(gpu, plan, Vec::new()).await
    }

    /// As [`Executor::with_buffers`], without blocking.
    ///
    /// # Errors
    /// As [`Executor::with_buffers`].
    pub async fn with_buffers_async(
        gpu: &Gpu,
        plan: Plan,
        tensors: Vec<(Value, DeviceTensor)>,
    ) -> Result<Self, Error> {
        #[cfg(not(target_family = "wasm"))]
        let executor = {
            let gpu = gpu.clone();
            elsewhere(move || Self::with_buffers(&gpu, plan, &tensors)).await?
        };
        // A browser compiles what it is given beside this thread.
        #[cfg(target_family = "wasm")]
        let executor = Self::with_buffers(gpu, plan, &tensors)?;
        gpu.settled().await?;
        Ok(executor)
    }

    /// As [`Executor::wait`], without blocking.
    ///
    /// # Errors
    /// As [`Executor::wait`], or what the device refused before, where a browser tells it late.
    pub async fn wait_async(&mut self) -> Result<(), Error> {
        self.stats.waits += 1;
        self.gpu.settled().await?;
        self.waited();
        Ok(())
    }

    /// As [`Executor::run_with`], without blocking.
    ///
    /// # Errors
    /// As [`Executor::run_with`].
    pub async fn run_async(
        &mut self,
        times: usize,
        mut hear: impl FnMut(usize),
    ) -> Result<(), Error> {
        let launches = self.run.len().max(1);
        let mut run = self.start(times)?;
        loop {
            let progress = run.poll()?;
            hear(progress.done / launches);
            if progress.is_finished() {
                return Ok(());
            }
            run.executor.wait_async().await?;
        }
    }
}
