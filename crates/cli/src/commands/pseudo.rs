//! `maskfit pseudo`
//!
//! An image that belongs to a group which a model was trained on, or whose file is one that it was trained on, under
//! whatever name, is not labelled by this model: its own training would be its label. So the images among the data
//! of a cross-validation are labelled out of fold, and the images that all models were trained on not at all.

use std::{cell::LazyCell, cmp::Reverse, collections::HashSet, fs::File, path::Path, sync::Arc};

use anyhow::{anyhow, bail};
use base::{
    Task,
    table::Table,
    task::{Scope, Unit},
};
use candle::Device;
use data::{
    Content, Context, Manifest, PseudoTable, Recognise, copies, file_hashes, groups_in, list_images,
};
use infer::{Bundle, Prediction};
use metrics::argmax;
use trainer::{Callback as _, Experiment};

use super::predict::{self, rows, serving};
use crate::{
    End,
    args::{ExperimentArgs, LabelKind, PseudoArgs},
    bundles,
    output::{Output, Own},
    phrases::argument,
    preparation::{in_short, use_threads},
    runs,
    style::headed,
    tables::{Counted, counted},
    terminal::Terminal,
    trained_on::{TrainedOn, unknown},
    wrap::{columns, cut, wrapped},
};

/// Maximum width of the name of a class.
const NAME: usize = 40;
/// The tables that this command has written.
const OWN: Own<'static> =
    Own { what: "a table of `maskfit pseudo`", is_own: &PseudoTable::is_own::<File> };

/// The models, and which of them may label each image.
struct Labellers {
    bundle: Bundle,
    /// The number of members of each model.
    n_members: Vec<usize>,
    /// For each image that is among the data of a model: the models that were trained on its group.
    refused: Vec<Vec<usize>>,
    /// The group of each image that is among the data; empty for the others.
    groups: Vec<String>,
    /// Whether each image has the content of an image of the data.
    are_copies: Vec<bool>,
}

/// An image with its label.
struct Labelled {
    image: usize,
    class: usize,
    confidence: f64,
    /// Empty where labels are hard.
    probabilities: Vec<f64>,
}

pub(crate) fn pseudo(args: &PseudoArgs) -> anyhow::Result<End> {
    let output = Output::at(&args.output)?;
    output.check(&OWN)?;
    use_threads(0)?;
    trainer::check_device(args.models.device)?;
    bundles::note_unfinished(&args.models.runs)?;
    let terminal = Terminal::new();
    if !args.images.is_dir() {
        bail!("{}: --images: name a folder of images", args.images.display());
    }
    let mut folder = list_images(&args.images, Recognise::ByContent)?;
    folder.notes.iter().for_each(|it| status!("note: {it}"));
    if let Some(text) = folder.skipped_text() {
        complain!("{text}");
    }
    let mut labellers = Labellers::open(args, &folder.images, &terminal)?;
    let table = PseudoTable::new(&labellers.bundle.task).map_err(|err| anyhow!(err))?;

    let mut unfit = predict::unfit(&labellers.bundle, &args.images, &folder.images, &terminal);
    let names: HashSet<&str> = unfit.0.iter().map(|it| it.place.as_str()).collect();
    let is_fit: Vec<bool> = folder.images.iter().map(|it| !names.contains(it.0.as_str())).collect();
    keep(&mut folder.images, &is_fit);
    labellers.keep(&is_fit);
    unfit.0.append(&mut folder.unreadable.0);
    unfit.0.sort();
    let n_left_out = labellers.leave_out(&mut folder.images);
    let shown = args.images.display();
    if folder.images.is_empty() {
        let why = match n_left_out {
            0 => format!("{}\nno image can be predicted", in_short(&unfit)),
            n => {
                format!(
                    "all models were trained on these images, or on their groups ({})",
                    Unit::Image.count(n)
                )
            }
        };
        bail!("{shown}: {why}: nothing is written");
    }
    let images: Arc<[(String, Content)]> = folder.images.into();
    terminal.heed_interrupts();
    let labelled = labellers.label(args, &images, &terminal);
    terminal.clear();
    if labelled.is_err() && terminal.should_stop() {
        complain!("stopped: no file was written");
        return Ok(End::Stopped);
    }
    let (all, n_unsure) = labelled?;
    let task = &labellers.bundle.task;
    let mut counts = vec![0; task.n_classes()];
    all.iter().for_each(|it| counts[it.class] += 1);
    let mut taken = all;
    match args.top {
        Some(share) => retain_top(&mut taken, &counts, share),
        None => {
            let highest = taken.iter().map(|it| it.confidence).fold(0.0, f64::max);
            taken.retain(|it| it.confidence >= args.threshold);
            if taken.is_empty() {
                bail!(
                    "{shown}: no image reaches --threshold {}: the highest probability is {highest:.4}: lower \
                     it, or take a share of each class with --top",
                    args.threshold
                );
            }
        }
    }
    let is_soft = args.labels == LabelKind::Soft;
    output.write_with(&OWN, |out| {
        let mut file = Table::begin(out, table.header(is_soft))?;
        for it in &taken {
            let (name, group) = (&images[it.image].0, &labellers.groups[it.image]);
            file.row(table.row(is_soft, name, group, it.class, it.confidence, &it.probabilities))?;
        }
        file.finish()?;
        Ok(())
    })?;
    print(task, &counts, &taken);
    labellers.print(n_left_out, n_unsure);
    say!("{} of {} images: {output}", taken.len(), images.len());
    if let Output::Path(file) = &output {
        let n_copies = taken.iter().filter(|it| labellers.are_copies[it.image]).count();
        if n_copies > 0 {
            status!(
                "note: {} of {} {} in the data of the models. A run on this data refuses those that it holds \
                 out, which in a cross-validation are all: take a CONFIG with one validation set (`--set \
                 data.split.kind=profile`), and remove the rows that its error names",
                Unit::Image.count(n_copies),
                file.display(),
                if n_copies == 1 { "is" } else { "are" }
            );
        }
        status!(
            "next: maskfit train CONFIG --set data.pseudo.file={} --set data.pseudo.images={}",
            argument(file),
            argument(&args.images)
        );
    }
    if !unfit.0.is_empty() {
        bail!(
            "{shown}: {}\nthese images have no label; {} written",
            in_short(&unfit),
            rows(taken.len())
        );
    }
    Ok(End::Done)
}

/// Keeps the items that are marked.
fn keep<T>(items: &mut Vec<T>, is_kept: &[bool]) {
    let mut is_kept = is_kept.iter();
    items.retain(|_| is_kept.next().copied().unwrap_or(false));
}

/// Keeps a share of each class, rounded up, with the highest confidence; of equal ones the first images.
///
/// - `counts`: the number of images of each class.
fn retain_top(all: &mut Vec<Labelled>, counts: &[usize], share: f64) {
    // 0.3 of 10 is not rounded up to 4.
    let mut left: Vec<usize> =
        counts.iter().map(|&n| (share * n as f64 - 1e-9).ceil() as usize).collect();
    all.sort_by_key(|it| (Reverse(it.confidence.to_bits()), it.image));
    all.retain(|it| {
        let is_taken = left[it.class] > 0;
        left[it.class] -= usize::from(is_taken);
        is_taken
    });
    all.sort_by_key(|it| it.image);
}

/// Prints how many images of each predicted class were taken, and their mean confidence.
fn print(task: &Task, counts: &[usize], taken: &[Labelled]) {
    let (mut n, mut sums) = (vec![0; counts.len()], vec![0.0; counts.len()]);
    for it in taken {
        n[it.class] += 1;
        sums[it.class] += it.confidence;
    }
    let mean =
        |sum: f64, n: usize| if n == 0 { String::new() } else { format!("{:.4}", sum / n as f64) };
    let mut lines = vec![["class", "predicted", "taken", "mean confidence"].map(str::to_owned)];
    for row in counted(counts) {
        lines.push(match row {
            Counted::Class(class) => [
                cut(&task.class_name(class, Scope::Joint), NAME),
                counts[class].to_string(),
                n[class].to_string(),
                mean(sums[class], n[class]),
            ],
            Counted::Between { n, least, most } => [
                format!("... {n} classes between"),
                format!("{least} to {most}"),
                String::new(),
                String::new(),
            ],
        });
    }
    let confidence = mean(sums.iter().sum(), taken.len());
    let total = counts.iter().sum::<usize>().to_string();
    lines.push(["all".to_owned(), total, taken.len().to_string(), confidence]);
    say!("{}", headed(&columns(&lines, &[false, true, true, true])));
}

impl Labellers {
    /// Opens the models, and finds the images that are among their data.
    fn open(
        args: &PseudoArgs,
        images: &[(String, Content)],
        terminal: &Terminal,
    ) -> anyhow::Result<Labellers> {
        let (mut bundles, mut n_members) = (Vec::new(), Vec::new());
        let mut refused = vec![Vec::new(); images.len()];
        let mut groups = vec![String::new(); images.len()];
        let mut are_copies = vec![false; images.len()];
        let runs = args.models.runs.iter().map(|it| runs::find(it));
        let runs = runs.collect::<anyhow::Result<Vec<_>>>()?;
        let dirs = runs.iter().map(|it| bundles::dirs(it));
        let dirs = dirs.collect::<anyhow::Result<Vec<_>>>()?;
        bundles::check_related(&dirs.concat(), args.join.join_factors)?;
        // Each file is read once more, and only where a model's training is known by its files.
        let hashes = LazyCell::new(|| file_hashes(images));
        for (run, dirs) in runs.iter().zip(dirs) {
            let manifest = own_data(args, run, terminal)?;
            let copies = manifest.as_ref().map(|it| copies(images, it)).unwrap_or_default();
            copies.iter().for_each(|it| are_copies[it.0] = true);
            let found = manifest.as_ref().map(|it| groups_in(images, it, &copies));
            let found = found.unwrap_or_default();
            for dir in dirs {
                let shown = dir.display().to_string();
                let trained = TrainedOn::of(&dir)?;
                let remedy = "name its run, or its data with `--config`";
                match (&trained, &manifest) {
                    (None, _) => terminal.status(&format!("note: {}; {remedy}", unknown(&dir))),
                    (Some(_), None) => terminal.status(&format!(
                        "note: {shown}: only files that it was trained on are recognised, not other images of the \
                         same groups; {remedy}"
                    )),
                    (Some(_), Some(_)) => {}
                }
                for image in 0..images.len() {
                    let Some(trained) = &trained else { break };
                    let own = found.get(image).zip(manifest.as_ref());
                    let is_known = own.is_some_and(|(own, manifest)| {
                        own.iter().any(|it| trained.contains(&manifest.groups[*it]))
                    });
                    let is_copy = trained.has_files() && trained.has_file(hashes[image]);
                    are_copies[image] |= is_copy;
                    if is_known || is_copy {
                        refused[image].push(bundles.len());
                    }
                }
                let bundle = Bundle::open(&dir, &Device::Cpu)?;
                n_members.push(bundle.members.len());
                bundles.push((shown, bundle));
            }
            if let Some(manifest) = &manifest {
                for (group, own) in groups.iter_mut().zip(&found) {
                    if let Some(&own) = own.first().filter(|_| group.is_empty()) {
                        group.clone_from(&manifest.groups[own]);
                    }
                }
            }
        }
        let bundle = Bundle::join(bundles, &[]).map_err(|err| anyhow!(err))?;
        Ok(Labellers { bundle, n_members, refused, groups, are_copies })
    }

    /// Keeps the images that are marked.
    fn keep(&mut self, is_kept: &[bool]) {
        keep(&mut self.refused, is_kept);
        keep(&mut self.groups, is_kept);
        keep(&mut self.are_copies, is_kept);
    }

    /// Leaves out the images that all models were trained on; returns their number.
    fn leave_out(&mut self, images: &mut Vec<(String, Content)>) -> usize {
        let is_kept: Vec<bool> =
            self.refused.iter().map(|it| it.len() < self.n_members.len()).collect();
        keep(images, &is_kept);
        self.keep(&is_kept);
        is_kept.into_iter().filter(|it| !it).count()
    }

    /// Labels all images; returns the labels, and the number of images left out because a model that may label
    /// them predicts only some factors.
    fn label(
        &self,
        args: &PseudoArgs,
        images: &Arc<[(String, Content)]>,
        terminal: &Terminal,
    ) -> anyhow::Result<(Vec<Labelled>, usize)> {
        let predictor = trainer::predictor(self.bundle.clone(), args.models.device)?;
        // Without `--top`, the probabilities of other images are not needed.
        let least = if args.top.is_some() { 0.0 } else { args.threshold };
        let (mut all, mut n_done, mut n_left_out) = (Vec::new(), 0, 0);
        predictor.predict_each(images, serving(&args.models), &mut |it: Prediction| {
            if terminal.should_stop() {
                bail!("stopped");
            }
            match self.prediction(n_done, it) {
                None => n_left_out += 1,
                Some((class, probabilities)) => {
                    let confidence = probabilities[class];
                    let is_kept = args.labels == LabelKind::Soft && confidence >= least;
                    let probabilities = if is_kept { probabilities } else { Vec::new() };
                    all.push(Labelled { image: n_done, class, confidence, probabilities });
                }
            }
            n_done += 1;
            terminal.progress("predicting", n_done, images.len());
            Ok(())
        })?;
        Ok((all, n_left_out))
    }

    /// Returns the class and the probabilities of an image by the models that may label it: those of the bundle
    /// if all may, else the mean of their members'.
    fn prediction(&self, image: usize, it: Prediction) -> Option<(usize, Vec<f64>)> {
        let refused = &self.refused[image];
        if refused.is_empty() {
            return Some((it.predicted, it.probabilities));
        }
        let of_members = self.n_members.iter().enumerate();
        let models = of_members.flat_map(|(model, n)| std::iter::repeat_n(model, *n));
        let allowed = models.zip(&it.members).filter(|(model, _)| !refused.contains(model));
        let allowed: Vec<&Vec<f64>> = allowed.map(|it| it.1).collect();
        let n = allowed.len() as f64;
        let mut mean = vec![0.0; it.probabilities.len()];
        for member in allowed {
            if member.is_empty() {
                return None;
            }
            mean.iter_mut().zip(member).for_each(|(sum, p)| *sum += p / n);
        }
        Some((argmax(&mean), mean))
    }

    /// Prints which images were labelled by some models only, or by none.
    fn print(&self, n_left_out: usize, n_unsure: usize) {
        let unit = self.bundle.task.unit;
        let n = self.refused.iter().filter(|it| !it.is_empty()).count();
        let among = self.groups.iter().zip(&self.refused);
        let of_all = among.filter(|it| !it.0.is_empty() || !it.1.is_empty()).count();
        if of_all > 0 {
            let text = format!(
                "{} among the data of the models, each labelled only by models that were not trained on its {} ({n} \
                 not by all models)",
                Unit::Image.count(of_all),
                unit.one()
            );
            say!("{}", wrapped("", &text));
        }
        if n_left_out > 0 {
            let images = Unit::Image.count(n_left_out);
            say!("left out: {images} that all models were trained on, or on their {}", unit.one());
        }
        if n_unsure > 0 {
            let images = Unit::Image.count(n_unsure);
            say!("left out: {images} that no model which predicts all factors may label");
        }
    }
}

/// Returns the data that a run was trained on, without pseudo-labelled images; `None` for a bundle, whose data is
/// unknown.
fn own_data(
    args: &PseudoArgs,
    run: &Path,
    terminal: &Terminal,
) -> anyhow::Result<Option<Manifest>> {
    let without_pseudo = ["file", "images"].map(|it| format!("data.pseudo.{it}=\"\""));
    let set = [&args.set[..], &without_pseudo].concat();
    let experiment: Experiment = if args.config.is_some() {
        runs::experiment(&ExperimentArgs { config: args.config.clone(), set })?.0
    } else if run.join("config.toml").is_file() {
        runs::experiment_like(run, &set)?
    } else {
        return Ok(None);
    };
    let context = Context {
        cache: None,
        max_pixels: experiment.data.max_pixels,
        progress: &|done, total| terminal.progress("listing the data", done, total),
    };
    let manifest = experiment.listing(&context)?;
    terminal.clear();
    Ok(Some(manifest))
}

#[cfg(test)]
mod tests {
    use super::{Labelled, retain_top};

    #[test]
    fn the_top_share_of_each_class_is_taken() {
        let of = |(image, &(class, confidence)): (usize, &(usize, f64))| Labelled {
            image,
            class,
            confidence,
            probabilities: Vec::new(),
        };
        // Class 0 has 5 images: 0.4 of them are 2, the first of those with 0.8; class 1 has one: at least one.
        let all = [(0, 0.8), (0, 0.5), (1, 0.3), (0, 0.9), (0, 0.8), (0, 0.7)];
        let mut taken: Vec<Labelled> = all.iter().enumerate().map(of).collect();
        retain_top(&mut taken, &[5, 1, 0], 0.4);
        assert_eq!(taken.iter().map(|it| it.image).collect::<Vec<_>>(), [0, 2, 3]);
    }
}
