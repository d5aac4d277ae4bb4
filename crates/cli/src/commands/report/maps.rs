//! Grad-CAM of some images: which parts of an image the network's prediction depends on.
//!
//! Of a right image it explains the level of the factor that is wrong most often, of a wrong one the predicted level
//! of the first factor that is wrong; of a task of one factor the predicted class. Images are explained by the model
//! that predicted them: of a cross-validation that of the fold that held them out.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use base::{Task, task::Scope};
use candle::Device;
use explain::{ColourMap, Explainer, Method, Target};
use infer::Bundle;
use report::{Gallery, MapShown, RunReport};

use super::{
    facts::Data,
    found::{Found, Kind},
    images::{Images, data_uri},
    predictions::Read,
};
use crate::{bundles, drawing::thumbnail};

/// The share of the map's colours in an overlay.
const OPACITY: f64 = 0.5;

/// Adds the maps of some images to a run's report.
///
/// - `patience`: no further map is begun after this time.
pub(super) fn add(
    run: &mut RunReport,
    found: &Found,
    read: &Read,
    gallery: &Gallery,
    data: &Data,
    images: &mut Images<'_>,
    patience: Duration,
) {
    if !matches!(found.kind, Kind::Run | Kind::Kfold) {
        return;
    }
    let made = make(found, read, gallery, data, images, patience);
    match made {
        Ok((maps, note)) => {
            run.maps_of = of(&found.task, read);
            run.maps = maps;
            run.notes.extend(note);
        }
        Err(reason) => run.notes.push(format!("There are no Grad-CAM maps: {reason}.")),
    }
}

/// Says what the maps show.
fn of(task: &Task, read: &Read) -> String {
    let begin = "Grad-CAM of the last stage, over the image as the network receives it";
    match task.factors.as_slice() {
        [_] => format!("{begin}: what raises the score of the predicted class"),
        factors => format!(
            "{begin}: what raises the score of the predicted level, of right images that of `{}`, of wrong ones that \
             of the first factor that is wrong",
            factors.get(worst(read)).map_or("", |it| it.name.as_str())
        ),
    }
}

/// Returns the factor that is wrong most often, the first of equals.
fn worst(read: &Read) -> usize {
    let n_wrong = read.collected.wrong_factors().1;
    n_wrong.iter().enumerate().rev().max_by_key(|it| it.1).map_or(0, |it| it.0)
}

fn make(
    found: &Found,
    read: &Read,
    gallery: &Gallery,
    data: &Data,
    images: &mut Images<'_>,
    patience: Duration,
) -> Result<(Vec<MapShown>, Option<String>), String> {
    let begun = Instant::now();
    let dirs = bundles::dirs(&found.dir).map_err(|err| format!("{err:#}"))?;
    let factor = worst(read);
    let mut explainers: BTreeMap<usize, Explainer> = BTreeMap::new();
    let (mut maps, mut n_left, mut failed) = (Vec::new(), 0, None);
    for at in gallery.explained() {
        let Some(name) = read.images.get(at) else { continue };
        // Missing ones are counted where they are shown otherwise.
        let Some(uri) = images.uri(name) else { continue };
        let Some(bytes) = images.bytes(name) else { continue };
        if begun.elapsed() > patience {
            n_left += 1;
            continue;
        }
        let held = match found.is_test {
            true => 0,
            false => data.fold_of.get(name).copied().unwrap_or(0),
        };
        let explainer = match explainers.entry(held) {
            std::collections::btree_map::Entry::Occupied(it) => it.into_mut(),
            std::collections::btree_map::Entry::Vacant(it) => it.insert(open(dirs.get(held))?),
        };
        let record = read.collected.records[at];
        let target = target(&found.task, record.class, record.predicted, factor);
        let (scope, class) = (target.scope, target.class.unwrap_or_default());
        let map = match explainer.explain(&bytes, &target, Method::GradCam, None) {
            Ok(it) => it,
            Err(err) => {
                failed.get_or_insert(err.to_string());
                continue;
            }
        };
        let overlay = thumbnail(&map.overlay(ColourMap::Viridis, OPACITY));
        let mut shown = read.collected.shown(at, name);
        shown.image = Some(uri);
        let class = found.task.class_name(class, scope);
        let target = match scope {
            Scope::Joint => class,
            Scope::Factor(_) => format!("{}: {class}", found.task.scope_name(scope)),
        };
        maps.extend(data_uri(&overlay).map(|overlay| MapShown { shown, target, overlay }));
    }
    if maps.is_empty()
        && let Some(reason) = failed
    {
        return Err(reason);
    }
    let note = (n_left > 0).then(|| {
        let seconds = patience.as_secs();
        format!(
            "{n_left} Grad-CAM {} left out after {seconds} s: `maskfit report` takes up to a minute for them.",
            if n_left == 1 { "map was" } else { "maps were" }
        )
    });
    Ok((maps, note))
}

/// Returns what is explained of an image.
///
/// - `factor`: of a right image.
fn target(task: &Task, class: usize, predicted: usize, factor: usize) -> Target {
    if task.factors.len() < 2 {
        return Target { scope: Scope::Joint, class: Some(predicted) };
    }
    let [actual, levels] = [class, predicted].map(|it| task.levels_of(it));
    let wrong = actual.iter().zip(&levels).position(|it| it.0 != it.1);
    let factor = wrong.unwrap_or(factor);
    Target { scope: Scope::Factor(factor), class: levels.get(factor).copied() }
}

fn open(dir: Option<&PathBuf>) -> Result<Explainer, String> {
    let dir: &Path = dir.ok_or("the bundle of a fold is missing")?;
    let bundle = Bundle::open(dir, &Device::Cpu).map_err(|err| err.to_string())?;
    Explainer::new(&bundle, 0).map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use base::{
        Task,
        task::{Factor, Scope},
    };

    use super::target;

    #[test]
    fn the_first_wrong_factor_is_explained() {
        let task = Task::mask_gender_age();
        // Class 7 is (1, 0, 1), class 10 (1, 1, 1).
        let it = target(&task, 7, 10, 0);
        assert_eq!((it.scope, it.class), (Scope::Factor(1), Some(1)));
        let it = target(&task, 7, 7, 2);
        assert_eq!((it.scope, it.class), (Scope::Factor(2), Some(1)));
        let one = Task::new(vec![Factor::new("class", &["a", "b"])]);
        let it = target(&one, 0, 1, 0);
        assert_eq!((it.scope, it.class), (Scope::Joint, Some(1)));
    }
}
