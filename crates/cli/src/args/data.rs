//! The arguments of `maskfit data`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{
    ExperimentArgs, JsonArgs,
    values::{number, size},
};

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Generate synthetic people in the competition's layout: `train/`, and `eval/` with its true labels.
    SyntheticPeople {
        /// Folder to write.
        dir: PathBuf,
        /// Number of people in `train/`.
        #[arg(long, default_value_t = 1000, value_parser = number)]
        people: usize,
        /// Number of further people in `eval/`, with correct labels.
        #[arg(long, default_value_t = 300)]
        test: usize,
        /// Height and width of the images.
        #[arg(long, value_name = "HxW", default_value = "128x96", value_parser = size)]
        size: [usize; 2],
        /// Share of the people in `train/` with a wrong label.
        #[arg(long, default_value_t = 0.03)]
        wrong_labels: f64,
        /// Random seed.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Also write the area of the mask in each image, to `train/areas` and `eval/areas`: for `explain --areas`.
        #[arg(long)]
        areas: bool,
    },
    /// Check an experiment's data: report everything that is wrong, and count the classes.
    Check {
        #[command(flatten)]
        experiment: ExperimentArgs,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Compute the mean and standard deviation of each colour channel over the training images.
    Stats {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// Detect the faces and people that the configured transforms need, so that the first epoch is as fast
    /// as the others, and report in how many images they were found.
    Prepare {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// Decode the images once, apply the leading deterministic transforms, and cache the pixels in one
    /// file, which training uses automatically.
    Pack {
        #[command(flatten)]
        experiment: ExperimentArgs,
    },
    /// Draw images as the network receives them, several random augmentations of each; or the effect of
    /// one transform.
    Show(ShowArgs),
    /// Draw a training batch as the network receives it, and print the labels of each row.
    Mixed {
        #[command(flatten)]
        experiment: ExperimentArgs,
        /// PNG to write; `-` for stdout. One that maskfit has drawn is replaced, any other file is not.
        #[arg(short, long, value_name = "FILE", default_value = "mixed.png")]
        output: PathBuf,
        /// Training step of the batch, from 0.
        #[arg(long, value_name = "N", default_value_t = 0)]
        step: usize,
    },
}

/// The images and augmentations to draw.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    /// PNG to write; `-` for stdout. One that maskfit has drawn is replaced, any other file is not.
    #[arg(short, long, value_name = "FILE", default_value = "show.png")]
    pub(crate) output: PathBuf,
    /// Number of images, spread over the training set [default: 6, or 1 with `--op`].
    #[arg(long, value_name = "N", value_parser = number)]
    pub(crate) images: Option<usize>,
    /// Number of random augmentations of each image, beside the image as `augment.eval` prepares it; with `--op`,
    /// beside the original.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = number)]
    pub(crate) samples: usize,
    /// One transform instead of the configured ones, such as `rotate` or
    /// `{ kind = "rotate", degrees = 30 }`, applied to the original images.
    #[arg(long, value_name = "OP")]
    pub(crate) op: Option<String>,
    /// Values of one of its settings, a row each, such as `degrees=5,15,45` [default: its first number
    /// halved, unchanged, and doubled].
    #[arg(long, value_name = "SETTING=V,V", requires = "op")]
    pub(crate) values: Option<String>,
}
