//! What tests share.
#![allow(dead_code, reason = "each test uses a part of it")]
pub mod case;
pub mod copied;
pub mod latent;
pub mod square;
pub mod support;
pub mod tables;
pub mod tiny;
pub mod vocabulary;
