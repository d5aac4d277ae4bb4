//! The errors of a `.pth` file.

/// Why a `.pth` file could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PickleError {
    #[error("this `.pth` file is truncated: download it again")]
    Truncated,
    #[error(
        "this `.pth` file would call `{0}`, which loading weights does not require, and is refused: save \
         only the weights, as `torch.save(model.state_dict(), ...)` or as `.safetensors`"
    )]
    Forbidden(String),
    #[error("this `.pth` file is damaged or has a newer format ({0}): save it as `.safetensors`")]
    Malformed(String),
    #[error(
        "this `.pth` file builds more objects than weights require, and is refused: save only the weights, \
         as `torch.save(model.state_dict(), ...)` or as `.safetensors`"
    )]
    TooLarge,
    #[error("this `.pth` file contains no named tensors: save the model's `state_dict()`")]
    NoTensors,
    #[error(
        "this `.pth` file contains several networks ({0}), so the weights are ambiguous: save the \
         `state_dict()` of only one of them"
    )]
    Several(String),
    #[error(transparent)]
    Tensor(#[from] candle::Error),
}

pub(super) type Result<T> = std::result::Result<T, PickleError>;

pub(super) fn malformed(what: &str) -> PickleError {
    PickleError::Malformed(what.to_owned())
}
