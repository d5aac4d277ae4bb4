//! The attributes that the data of the runs keeps for reports, such as where an image was taken.

use std::{collections::HashMap, path::Path};

use base::text;
use data::{Attribute, Context};
use trainer::Callback as _;

use crate::{held_out::Columns, runs, terminal::Terminal};

/// The attributes, and their values of each image.
#[derive(Default)]
pub(super) struct Attributes {
    pub(super) all: Vec<Attribute>,
    /// The positions of the values of each image, in the order of [`Columns::images`]; empty without attributes.
    pub(super) of_images: Vec<Vec<u32>>,
}

impl Attributes {
    /// Lists the data of the first run that has scores by attribute, without opening an image; none if no run has.
    ///
    /// - `set`: settings of the data that differ from the run's, such as its folder.
    ///
    /// # Errors
    /// The data is gone, or has changed.
    pub(super) fn of(
        columns: &Columns,
        set: &[String],
        terminal: &Terminal,
    ) -> anyhow::Result<Attributes> {
        let Some(column) = columns.columns.iter().find(|it| has_attributes(&it.dir)) else {
            return Ok(Attributes::default());
        };
        let experiment = runs::experiment_like(&column.dir, set)?;
        let listed = experiment.listing(&Context {
            cache: None,
            max_pixels: experiment.data.max_pixels,
            progress: &|done, total| terminal.progress("listing images", done, total),
        });
        terminal.clear();
        let manifest = listed?;
        let by_name: HashMap<&str, &Vec<u32>> =
            manifest.examples.iter().map(|it| (it.name.as_str(), &it.attributes)).collect();
        let values = |image: &String| match by_name.get(image.as_str()) {
            Some(&it) => Ok(it.clone()),
            None => anyhow::bail!("`{image}` is no longer in the data"),
        };
        let of_images = columns.images.iter().map(values).collect::<anyhow::Result<_>>()?;
        Ok(Attributes { all: manifest.attributes, of_images })
    }
}

/// Whether the report of a run has scores by attribute.
fn has_attributes(dir: &Path) -> bool {
    let report: toml::Table =
        text::read(&dir.join("report.toml")).unwrap_or_default().parse().unwrap_or_default();
    report.values().any(|it| it.get("attributes").is_some())
}
