//! How much of a map's mass lies on an area, compared with two baselines: a random map, of which the area's share
//! of the pixels lies there on average; and the map of the image before, which is as good where all images have their
//! object at the same place.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use augment::Step;
use explain::{Explainer, Heatmap};

/// A folder of areas, one for each image.
pub(super) struct Areas<'a> {
    dir: PathBuf,
    explainer: &'a Explainer,
}

/// The shares of an image's map; `None` for maps of zeros.
#[derive(Clone, Copy, Default)]
pub(super) struct Shares {
    /// Of the map's mass, what lies on the area.
    pub(super) on_area: Option<f64>,
    /// Of the pixels, those in the area.
    pub(super) area: Option<f64>,
    /// Of the mass of the map of the image before, what lies on this image's area; none for the first.
    pub(super) other: Option<f64>,
}

/// Compares maps with areas, image by image.
pub(super) struct Compared<'a> {
    areas: &'a Areas<'a>,
    before: Option<Heatmap>,
}

impl<'a> Areas<'a> {
    /// # Errors
    /// No such folder, or a network whose pipeline finds faces, which an area does not show.
    pub(super) fn at(dir: &Path, explainer: &'a Explainer) -> anyhow::Result<Areas<'a>> {
        if !dir.is_dir() {
            bail!("--areas {}: there is no such folder", dir.display());
        }
        if explainer.pipeline().ops.iter().any(Step::is_cached) {
            bail!(
                "--areas: the pipeline of this network depends on the face in the image, which an area does not \
                 show"
            );
        }
        Ok(Areas { dir: dir.to_owned(), explainer })
    }

    /// Returns the file of an image's area: the one with the longest end of the image's path.
    pub(super) fn path(&self, image: &Path) -> Option<PathBuf> {
        let parts: Vec<_> = image.components().collect();
        let tail = |from: usize| parts[from..].iter().collect::<PathBuf>().with_extension("png");
        let candidates = (0..parts.len()).map(tail).filter(|it| it.is_relative());
        candidates.map(|it| self.dir.join(it)).find(|it| it.is_file())
    }

    pub(super) fn begin(&self) -> Compared<'_> {
        Compared { areas: self, before: None }
    }
}

impl Compared<'_> {
    /// Returns the shares of the next image's map; `None` if the image has no area, or nothing of it is left by
    /// the pipeline.
    ///
    /// # Errors
    /// A file that is no image, or of another size than the image.
    pub(super) fn add(&mut self, image: &Path, map: &Heatmap) -> anyhow::Result<Option<Shares>> {
        let Some(path) = self.areas.path(image) else { return Ok(None) };
        let shown = || path.display().to_string();
        let bytes = fs::read(&path).with_context(shown)?;
        let area = self.areas.explainer.prepare(&bytes).with_context(shown)?;
        let size = [area.height() as usize, area.width() as usize];
        if size != [map.height, map.width] {
            bail!("{}: the area has another size than its image", path.display());
        }
        let area: Vec<bool> = area.pixels().map(|it| it.0[0] >= 128).collect();
        let n_in = area.iter().filter(|it| **it).count();
        let other = self.before.replace(map.clone()).and_then(|it| it.share_on(&area));
        let share = n_in as f64 / area.len() as f64;
        Ok((n_in > 0).then(|| Shares { on_area: map.share_on(&area), area: Some(share), other }))
    }
}

/// Returns the mean shares, in words.
pub(super) fn summary(all: &[Shares]) -> String {
    let mean = |of: fn(&Shares) -> Option<f64>| {
        let xs: Vec<f64> = all.iter().filter_map(of).collect();
        match xs.is_empty() {
            true => "-".to_owned(),
            false => format!("{:.3}", xs.iter().sum::<f64>() / xs.len() as f64),
        }
    };
    format!(
        "mass of the maps on the areas of {} image{}, on average:\n  \
         these maps                {}\n  \
         maps of the image before  {}\n  \
         random maps               {}",
        all.len(),
        if all.len() == 1 { "" } else { "s" },
        mean(|it| it.on_area),
        mean(|it| it.other),
        mean(|it| it.area)
    )
}
