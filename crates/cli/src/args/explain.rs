//! The arguments of `maskfit explain`.

use std::path::PathBuf;

use clap::ValueEnum;
use explain::Method;

use super::values::number;

/// The network, the images, and what is explained.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// Run, cross-validation or bundle, or `latest`.
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Images, or folders of images; or name a set with `--side`.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) images: Vec<PathBuf>,
    /// Explain images of the run's own test or validation set instead: half of them wrong, half right, the most
    /// certain first. The validation set of a cross-validation is all of its images, each explained by the fold that
    /// was not trained on it.
    #[arg(long, value_enum, value_name = "SIDE", conflicts_with = "images")]
    pub(crate) side: Option<LabelledSide>,
    /// Override a setting of the data of `--side`, for example `data.source.root=DIR` if it has moved. May be repeated.
    #[arg(long, value_name = "PATH=VALUE", conflicts_with = "images")]
    pub(crate) set: Vec<String>,
    /// Number of images of `--side`.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = number, conflicts_with = "images")]
    pub(crate) n: usize,
    /// Class to explain: a level of `--factor`, a level that one factor has, or a joint class, by name or number
    /// [default: the predicted one of each image].
    #[arg(long, value_name = "CLASS")]
    pub(crate) target: Option<String>,
    /// Factor to explain [default: the joint classes].
    #[arg(long, value_name = "NAME")]
    pub(crate) factor: Option<String>,
    /// Method: grad_cam, grad_cam_plus_plus or occlusion.
    #[arg(long, value_name = "METHOD", default_value_t = Method::GradCam)]
    pub(crate) method: Method,
    /// Stage whose feature map is weighted, such as `stage3`; occlusion has none [default: the last].
    #[arg(long, value_name = "NAME")]
    pub(crate) stage: Option<String>,
    /// Number of the model in an ensemble, or of the fold in a cross-validation, from 0; with `--side valid` only the
    /// images that the fold held out are explained [default: 0, or with `--side valid` the fold that held the image
    /// out].
    #[arg(long, value_name = "N")]
    pub(crate) member: Option<usize>,
    /// Folder of areas, as `data synthetic-people --areas` writes: compare the maps with them. The area of an image
    /// is the PNG of the same name, white on black, in the same subfolder; images without one are left out.
    #[arg(long, value_name = "DIR", requires = "images")]
    pub(crate) areas: Option<PathBuf>,
    /// Number of images on the contact sheet.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = number)]
    pub(crate) sheet: usize,
    /// Folder to write: new or empty. It gets a PNG of each image, `explain.csv`, and `sheet.png`, a contact sheet.
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) output: PathBuf,
}

/// A set of a run, whose predictions it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LabelledSide {
    Test,
    Valid,
}
