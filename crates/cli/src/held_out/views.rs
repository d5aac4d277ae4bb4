//! The held-out predictions once more, with other views than those that the runs predicted with: what is fitted on
//! held-out predictions holds for the views that they were made with.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use anyhow::{Context as _, bail};
use augment::ViewsConfig;
use candle::Device;
use data::{Content, Manifest};
use infer::{Bundle, Predictor, Serving};
use trainer::{Callback as _, DataSection};

use super::{Column, Columns};
use crate::{
    preparation::{check_settings, images_of},
    runs,
    terminal::Terminal,
};

impl Columns {
    /// Predicts all images again, each by the bundle that did not train on it: of a test set by every bundle.
    ///
    /// - `set`: settings of the data that differ from the runs', such as its folder.
    ///
    /// # Errors
    /// The data is gone, the views do not fit, or Ctrl-C.
    pub(crate) fn predict_with(
        &mut self,
        views: &ViewsConfig,
        set: &[String],
        serving: &Serving,
        terminal: &Terminal,
    ) -> anyhow::Result<()> {
        // Everything is checked before anything is predicted.
        let mut data: Vec<(DataSection, Rc<Manifest>)> = Vec::new();
        for column in &mut self.columns {
            let experiment = runs::experiment_like(&column.dir, set)?;
            check_settings(&experiment)?;
            column.views = Some((views.clone(), experiment.augment.train.clone()));
            (0..column.bundles.len()).try_for_each(|it| column.open(it).map(drop))?;
            // Mostly the same for all runs, and then read once.
            let known = data.iter().find(|it| it.0 == experiment.data).map(|it| Rc::clone(&it.1));
            let read = match known {
                Some(it) => it,
                None => Rc::new(images_of(&experiment, terminal)?),
            };
            data.push((experiment.data, read));
        }
        for (column, (_, manifest)) in self.columns.iter_mut().zip(&data) {
            column.predict(&self.images, manifest, serving, terminal)?;
        }
        Ok(())
    }
}

impl Column {
    /// Opens one of its bundles, with the views that its held-out predictions were made with.
    pub(crate) fn open(&self, idx: usize) -> anyhow::Result<Bundle> {
        let dir = &self.bundles[idx];
        let mut bundle = Bundle::open(dir, &Device::Cpu)?;
        if let Some((views, train)) = &self.views {
            for member in bundle.members.iter_mut().filter(|it| it.train.is_empty()) {
                member.train.clone_from(train);
            }
            let with = bundle.with_views(views).map_err(anyhow::Error::msg);
            bundle = with.with_context(|| format!("--views: {}", dir.display()))?;
        }
        Ok(bundle)
    }

    fn predict(
        &mut self,
        images: &[String],
        manifest: &Manifest,
        serving: &Serving,
        terminal: &Terminal,
    ) -> anyhow::Result<()> {
        let n = self.task.n_classes();
        let contents: HashMap<&str, &Content> =
            manifest.examples.iter().map(|it| (it.name.as_str(), &it.content)).collect();
        let serving = Serving { cache: manifest.cache.clone(), ..serving.clone() };
        let what = format!("predicting, {}", self.name);
        let n_all: usize = self.held.iter().map(Vec::len).sum();
        let mut n_times = vec![0.0_f64; images.len()];
        self.held.iter().flatten().for_each(|&it| n_times[it] += 1.0);
        let (mut probabilities, mut n_done) = (vec![0.0; images.len() * n], 0);
        for (idx, held) in self.held.iter().enumerate() {
            let content = |&at: &usize| match contents.get(images[at].as_str()) {
                Some(&it) => Ok((images[at].clone(), it.clone())),
                None => {
                    bail!("`{}` is no longer in the data: restore the data of this run", images[at])
                }
            };
            let loaded: Arc<[_]> = held.iter().map(content).collect::<anyhow::Result<_>>()?;
            let predictor = Predictor::new(self.open(idx)?, &Device::Cpu);
            let mut left = held.iter();
            predictor.predict_each(&loaded, serving.clone(), &mut |it: infer::Prediction| {
                if terminal.should_stop() {
                    bail!("stopped");
                }
                let at = *left.next().expect("there is a prediction for each image");
                let to = &mut probabilities[at * n..][..n];
                to.iter_mut().zip(it.probabilities).for_each(|(to, p)| *to += p / n_times[at]);
                n_done += 1;
                terminal.progress(&what, n_done, n_all);
                Ok(())
            })?;
        }
        self.probabilities = probabilities;
        terminal.clear();
        Ok(())
    }
}
