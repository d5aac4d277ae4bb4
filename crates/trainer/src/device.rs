//! The setting `device`: where networks run, on the CPU or on one of NVIDIA's cards.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The setting `device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DeviceSetting {
    /// A card if there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The card of this number, from 0.
    Cuda(usize),
}

impl fmt::Display for DeviceSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceSetting::Auto => f.write_str("auto"),
            DeviceSetting::Cpu => f.write_str("cpu"),
            DeviceSetting::Cuda(idx) => write!(f, "cuda:{idx}"),
        }
    }
}

impl FromStr for DeviceSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<DeviceSetting, String> {
        let card = || text.strip_prefix("cuda:")?.parse().ok();
        match text {
            "auto" => Ok(DeviceSetting::Auto),
            "cpu" => Ok(DeviceSetting::Cpu),
            "cuda" => Ok(DeviceSetting::Cuda(0)),
            _ => card().map(DeviceSetting::Cuda).ok_or_else(|| {
                format!("the device is `auto`, `cpu`, or a card such as `cuda:0`, not `{text}`")
            }),
        }
    }
}

impl From<DeviceSetting> for String {
    fn from(it: DeviceSetting) -> String {
        it.to_string()
    }
}

impl TryFrom<String> for DeviceSetting {
    type Error = String;

    fn try_from(text: String) -> Result<DeviceSetting, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceSetting;

    #[test]
    fn a_device_is_named_as_it_is_written() {
        for (text, want) in [
            ("auto", DeviceSetting::Auto),
            ("cpu", DeviceSetting::Cpu),
            ("cuda:0", DeviceSetting::Cuda(0)),
            ("cuda:12", DeviceSetting::Cuda(12)),
        ] {
            assert_eq!(text.parse(), Ok(want));
            assert_eq!(want.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceSetting::Cuda(0)));
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(text.parse::<DeviceSetting>().unwrap_err().contains(text), "{text}");
        }
    }
}
