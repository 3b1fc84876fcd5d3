//! What can be wrong with a JSON text.

/// What is wrong with a JSON text.
///
/// Example: [`crate::files::parse_object()`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct JsonError {
    /// The key, `.` for the whole text.
    pub key: String,
    /// What is wrong with it, with line and column.
    pub message: String,
}
