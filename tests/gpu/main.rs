//! The executor, and a device that belongs to a host.

mod asynchronous;
#[path = "../common/mod.rs"]
mod common;
mod context;
mod executor;
mod host;
mod loads;
mod lost;
mod pipeline_cache;
mod web_forward;
