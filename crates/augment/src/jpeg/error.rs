//! The errors of a JPEG.

use crate::DecodeError;

/// The error for a damaged file.
pub(super) fn damaged(what: &str) -> DecodeError {
    DecodeError::Damaged(what.to_owned())
}

/// The error for an unsupported kind of file.
pub(super) fn unsupported(what: &str) -> DecodeError {
    DecodeError::Unsupported { format: "JPEG", what: what.to_owned() }
}
