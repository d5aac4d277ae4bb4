//! The mean and deviation that colours are normalised with, and where they come from.

use serde::{Deserialize, Serialize};

/// Of the colours red, green and blue, where 1 is the brightest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    /// What becomes 0.
    pub mean: [f64; 3],
    /// What becomes 1 above the mean.
    pub std: [f64; 3],
}

impl Statistics {
    /// What is wrong with the numbers, if anything is.
    pub fn problem(&self) -> Option<String> {
        let is_scale = self.std.iter().all(|&it| it > 0.0 && it.is_finite())
            && self.mean.iter().all(|it| it.is_finite());
        (!is_scale).then(|| "every `std` is above 0, and every `mean` a number".to_owned())
    }
}

base::choice! {
    /// `[augment] statistics`: what images are normalised with.
    pub enum StatisticsConfig: dyn StatisticsSource {
        /// Those of ImageNet, as most published weights expect.
        "imagenet" => Imagenet(Imagenet),
        /// Given numbers.
        "given" => Given(Given),
        /// Those of the images that are trained on, measured before the first step.
        "data" => Data(Data),
    }
}

impl StatisticsConfig {
    /// Those of the data, measured.
    pub fn measured() -> StatisticsConfig {
        StatisticsConfig::Data(Data {})
    }
}

/// Where statistics come from.
pub trait StatisticsSource {
    /// The statistics, or `None` where they must be measured first.
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
    /// What becomes 0: red, green, blue, where 1 is the brightest.
    pub mean: [f64; 3],
    /// What becomes 1 above the mean.
    pub std: [f64; 3],
}

impl Default for Given {
    /// Colours from -1 to 1.
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
