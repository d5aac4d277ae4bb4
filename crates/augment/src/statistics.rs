//! The mean and standard deviation with which images are normalised, and their source.

use serde::{Deserialize, Serialize};

/// The mean and standard deviation of red, green and blue, in 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    /// The mean of each channel.
    pub mean: [f64; 3],
    /// The standard deviation of each channel.
    pub std: [f64; 3],
}

impl Statistics {
    /// Returns what is wrong with the numbers, if anything.
    pub fn problem(&self) -> Option<String> {
        let is_scale = self.std.iter().all(|&it| it > 0.0 && it.is_finite())
            && self.mean.iter().all(|it| it.is_finite());
        (!is_scale)
            .then(|| "every `std` must be above 0 and finite, and every `mean` finite".to_owned())
    }
}

base::choice! {
    /// `[augment] statistics`: the mean and standard deviation with which images are normalised.
    pub enum StatisticsConfig: dyn StatisticsSource {
        /// The mean and standard deviation of ImageNet, as most published weights expect.
        "imagenet" => Imagenet(Imagenet),
        /// A given mean and standard deviation.
        "given" => Given(Given),
        /// The mean and standard deviation of the training images, measured before the first step.
        "data" => Data(Data),
    }
}

impl StatisticsConfig {
    /// Statistics measured on the training images.
    pub fn measured() -> StatisticsConfig {
        StatisticsConfig::Data(Data {})
    }
}

/// A source of statistics.
pub trait StatisticsSource {
    /// Returns the statistics, or `None` if they must be measured first.
    fn known(&self) -> Option<Statistics>;
}

/// `statistics = { kind = "imagenet" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Imagenet {}

impl StatisticsSource for Imagenet {
    fn known(&self) -> Option<Statistics> {
        Some(Statistics { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] })
    }
}

/// `statistics = { kind = "given", mean = [...], std = [...] }`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Given {
    /// The mean of red, green and blue, in 0..=1.
    pub mean: [f64; 3],
    /// The standard deviation of red, green and blue.
    pub std: [f64; 3],
}

impl Default for Given {
    /// Maps 0..=1 to -1..=1.
    fn default() -> Given {
        Given { mean: [0.5; 3], std: [0.5; 3] }
    }
}

impl StatisticsSource for Given {
    fn known(&self) -> Option<Statistics> {
        Some(Statistics { mean: self.mean, std: self.std })
    }
}

/// `statistics = { kind = "data" }`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {}

impl StatisticsSource for Data {
    fn known(&self) -> Option<Statistics> {
        None
    }
}
