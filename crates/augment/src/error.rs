//! The errors of decoding.

/// Why bytes cannot be decoded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The file is empty.
    #[error("the file is empty")]
    Empty,
    /// The bytes do not begin like a supported format.
    #[error("this is not an image: its first bytes are none of JPEG, PNG, WebP, GIF, BMP or TIFF")]
    NotAnImage,
    /// A format that is not supported.
    #[error("{0} is not supported: save it as JPEG or PNG")]
    Foreign(&'static str),
    /// An image of an unsupported kind.
    #[error("this kind of {format} is not supported ({what}): save it as PNG")]
    Unsupported {
        /// The file format.
        format: &'static str,
        /// The kind.
        what: String,
    },
    /// The end is missing.
    #[error("the image is truncated")]
    Truncated,
    /// The decoder failed.
    #[error("the image is damaged: {0}")]
    Damaged(String),
    /// The pixels are not decoded yet, but later, together with those that other views of the image need. No
    /// public function returns it.
    #[error("the pixels are not decoded yet")]
    Deferred,
    /// Decoding would use too much memory.
    #[error("{width}x{height} pixels exceed `max_pixels = {limit}`")]
    TooLarge {
        /// The width in pixels.
        width: u32,
        /// The height in pixels.
        height: u32,
        /// The limit.
        limit: u64,
    },
}
