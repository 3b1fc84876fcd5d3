//! What goes wrong on a device, and waiting for it.
use super::Gpu;
use crate::error::GpuError;
use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

/// What an error scope caught.
type Caught = Pin<Box<dyn Future<Output = Option<wgpu::Error>> + Send>>;

/// An error scope that is closed and whose error is not known yet, as in a browser.
pub(super) struct Late {
    action: String,
    bytes: u64,
    caught: Caught,
}

/// The error, if it is known without waiting.
fn known(caught: &mut Caught) -> Poll<Option<wgpu::Error>> {
    caught.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

impl Gpu {
    /// Runs `work` with the device's errors caught. Where wgpu does not know them at once, a later
    /// [`Gpu::check_now`] or [`Gpu::settled`] tells of them.
    pub(super) fn guard<T>(
        &self,
        action: &str,
        bytes: u64,
        work: impl FnOnce() -> T,
    ) -> Result<T, GpuError> {
        let scopes = [
            self.device().push_error_scope(wgpu::ErrorFilter::Internal),
            self.device().push_error_scope(wgpu::ErrorFilter::Validation),
            self.device().push_error_scope(wgpu::ErrorFilter::OutOfMemory),
        ];
        let result = work();
        let mut caught = None;
        for scope in scopes.into_iter().rev() {
            let mut error: Caught = Box::pin(scope.pop());
            match known(&mut error) {
                Poll::Ready(error) => caught = error.or(caught),
                Poll::Pending => {
                    self.late().push(Late { action: action.to_owned(), bytes, caught: error });
                }
            }
        }
        match caught {
            None => Ok(result),
            Some(error) => Err(self.named(action, bytes, error)),
        }
    }

    /// The error of an action as this crate names it.
    fn named(&self, action: &str, bytes: u64, error: wgpu::Error) -> GpuError {
        let action = action.to_owned();
        self.lost_or(match error {
            wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory { action, bytes },
            error => GpuError::Device { action, message: error.to_string() },
        })
    }

    /// The error, or that the device is lost: then everything fails in one way or another, and the
    /// loss is the thing to say. wgpu reports it to whoever polls once nothing is under way any
    /// more, which may be another thread.
    pub(super) fn lost_or(&self, error: GpuError) -> GpuError {
        if !self.is_watched() {
            return self.check_maps().err().unwrap_or(error);
        }
        #[cfg(not(target_family = "wasm"))]
        for _ in 0..20 {
            let _ = self.device().poll(wgpu::PollType::wait_indefinitely());
            if let Err(lost) = self.check_lost() {
                return lost;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        self.check_lost().err().unwrap_or(error)
    }

    /// An error if the device went away or refused something, as far as it knows without waiting. wgpu
    /// reports a loss only when it is polled, not through error scopes.
    pub(super) fn check_now(&self) -> Result<(), GpuError> {
        // Only waiting can time out.
        let _ = self.device().poll(wgpu::PollType::Poll);
        self.check_lost()?;
        let mut first = None;
        self.late().retain_mut(|late| match known(&mut late.caught) {
            Poll::Pending => true,
            Poll::Ready(None) => false,
            Poll::Ready(Some(error)) => {
                first.get_or_insert_with(|| (late.action.clone(), late.bytes, error));
                false
            }
        });
        if let Some((action, bytes, error)) = first {
            return Err(self.named(&action, bytes, error));
        }
        self.check_maps()
    }

    /// The errors that were not known yet. The first of them is told.
    pub(super) async fn check_late(&self) -> Result<(), GpuError> {
        let late = std::mem::take(&mut *self.late());
        let mut result = Ok(());
        for Late { action, bytes, caught } in late {
            if let (Some(error), true) = (caught.await, result.is_ok()) {
                result = Err(self.named(&action, bytes, error));
            }
        }
        result
    }

    /// An error if a caller's device went away: the least buffer cannot be mapped then, and says so at once.
    /// wgpu tells of the loss by the callback alone, which is the caller's.
    fn check_maps(&self) -> Result<(), GpuError> {
        if self.is_watched() {
            return Ok(());
        }
        let (sender, receiver) = oneshot::channel();
        // What is wrong with the device shows in the callback; the caller's handler need not hear of it.
        let scope = self.device().push_error_scope(wgpu::ErrorFilter::Validation);
        let buffer = self.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("probe of the device"),
            size: 4,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        // Without a receiver nobody asks any more: the mapping is given up with the buffer.
        buffer.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
        drop(scope.pop());
        if let Ok(Err(error)) = receiver.try_recv() {
            self.device_lost(&format!("a buffer of 4 bytes cannot be mapped: {error}"));
        }
        self.check_lost()
    }

    fn check_lost(&self) -> Result<(), GpuError> {
        self.loss().map_or(Ok(()), |message| Err(GpuError::Lost { message }))
    }

    /// Blocks until the device has finished this submission and all before it, or everything. A browser
    /// cannot.
    pub(super) fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<(), GpuError> {
        if cfg!(target_family = "wasm") {
            return Err(GpuError::Blocks);
        }
        let until = wgpu::PollType::Wait { submission_index: submission, timeout: None };
        let polled = self.device().poll(until);
        self.check_lost()?;
        self.check_maps()?;
        polled.map(|_| ()).map_err(|error| {
            let action = "waiting for the device".to_owned();
            self.lost_or(GpuError::Device { action, message: error.to_string() })
        })
    }
}
