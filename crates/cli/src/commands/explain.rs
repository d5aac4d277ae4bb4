//! `maskfit explain`

mod areas;
mod inputs;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use base::{Task, table};
use data::Findings;
use explain::{ColourMap, Explainer, Explanation, Method, Target};
use image::{Rgb, RgbImage, imageops};
use infer::Bundle;
use trainer::{Callback as _, DeviceSetting, kfold::is_kfold};

use self::{
    areas::{Areas, Shares},
    inputs::{Input, inputs, is_out_of_fold},
};
use super::predict;
use crate::{
    End,
    args::{ExplainArgs, ModelArgs},
    drawing::{Cell, Sheet, png, thumbnail},
    new_folder::NewFolder,
    preparation::in_short,
    runs,
    style::headed,
    terminal::Terminal,
    wrap::columns,
};

/// The share of the map's colours in the overlay.
const OPACITY: f64 = 0.5;
/// A small input of a network is enlarged to about this many pixels.
const SHOWN_SIDE: u32 = 224;
/// Pixels between an image and its overlay.
const GAP: u32 = 8;
/// Number of images to print.
const SHOWN: usize = 10;
/// Characters of an image's name in the name of its file: names of files have at most 255 bytes.
const NAME: usize = 40;

/// A row of `explain.csv`.
struct Row {
    image: String,
    file: String,
    /// The number of the model.
    fold: usize,
    truth: Option<String>,
    target: String,
    probability: f64,
    half_mass: Option<f64>,
    shares: Option<Shares>,
}

/// Explains each image, or none if one cannot be read.
pub(crate) fn explain(args: &ExplainArgs) -> anyhow::Result<End> {
    if args.images.is_empty() && args.side.is_none() {
        bail!("name the images with `--images PATH`, or a set of the run with `--side valid`");
    }
    let output = NewFolder::at(&args.output)?;
    let models = ModelArgs {
        runs: vec![args.run.clone()],
        batch_size: 1,
        num_workers: 1,
        device: DeviceSetting::Cpu,
    };
    let bundle = predict::open(&models, true)?;
    let member = args.member.unwrap_or(0);
    let explainer = Explainer::new(&bundle, member)
        .with_context(|| format!("--member {member}: {}", args.run.display()))?;
    let target = target(args, explainer.task())?;
    let stage = args.stage.as_deref();
    if stage.is_some() && !args.method.needs_stage() {
        bail!("--stage: occlusion has no stage: leave it out, or choose another `--method`");
    }
    explainer.check_stage(stage).context("--stage")?;
    let dir = runs::find(&args.run)?;
    let terminal = Terminal::new();
    let areas = args.areas.as_deref().map(|it| Areas::at(it, &explainer)).transpose()?;
    let mut images = inputs(args, &terminal)?;
    if let Some(areas) = &areas {
        let n = images.len();
        images.retain(|it| areas.path(&it.path).is_some());
        match (images.len(), n - images.len()) {
            (0, _) => bail!("--areas: no image has an area in this folder"),
            (_, 0) => {}
            (_, without) => status!("note: {without} of {n} images have no area, and are left out"),
        }
    }
    check(&bundle, &images, &terminal)?;
    let explainers = Explainers::of(&bundle, &explainer, member, &images)?;
    let (n, is_kfold) = (bundle.members.len(), is_kfold(&dir));
    if is_out_of_fold(args, &dir) {
        status!(
            "note: each image is explained by the fold that was not trained on it: `--member` chooses one of the {n}"
        );
    } else if n > 1 {
        let what = if is_kfold { "fold" } else { "model" };
        status!("note: {what} {member} of {n} is explained: `--member` chooses another");
    }
    terminal.heed_interrupts();
    let made = make(args, &explainers, &target, &images, areas.as_ref(), &output, &terminal);
    terminal.clear();
    if made.is_err() && terminal.should_stop() {
        complain!("stopped: no file was written");
        return Ok(End::Stopped);
    }
    let rows = made?;
    output.write("explain.csv", csv(&rows, is_kfold, areas.is_some()).as_bytes())?;
    let dir = output.path().to_owned();
    output.finish()?;
    say!("{}", headed(&listed(&rows)));
    if areas.is_some() {
        say!("\n{}", areas::summary(&rows.iter().filter_map(|it| it.shares).collect::<Vec<_>>()));
    }
    let n = rows.len();
    say!("\n{n} image{} explained: {}", if n == 1 { "" } else { "s" }, dir.display());
    say!("table: {}", dir.join("explain.csv").display());
    say!("contact sheet of the first {}: {}", n.min(args.sheet), dir.join("sheet.png").display());
    Ok(End::Done)
}

/// Returns what is explained.
fn target(args: &ExplainArgs, task: &Task) -> anyhow::Result<Target> {
    let factor = args.factor.as_deref();
    Target::parse(task, factor, None).context("--factor")?;
    Target::parse(task, factor, args.target.as_deref()).context("--target")
}

/// The models that explain.
struct Explainers<'a> {
    /// That of most images.
    usual: &'a Explainer,
    /// The others, by their numbers.
    others: BTreeMap<usize, Explainer>,
}

impl Explainers<'_> {
    /// - `usual`: of the model `member`.
    fn of<'a>(
        bundle: &Bundle,
        usual: &'a Explainer,
        member: usize,
        images: &[Input],
    ) -> anyhow::Result<Explainers<'a>> {
        let members: BTreeSet<usize> = images.iter().map(|it| it.member).collect();
        let others = members.into_iter().filter(|it| *it != member);
        let others = others.map(|it| Ok((it, Explainer::new(bundle, it)?)));
        Ok(Explainers { usual, others: others.collect::<anyhow::Result<_>>()? })
    }

    /// Returns the model of this number.
    fn get(&self, member: usize) -> &Explainer {
        self.others.get(&member).unwrap_or(self.usual)
    }
}

/// Refuses images that the models which explain them cannot read: all are named.
fn check(bundle: &Bundle, images: &[Input], terminal: &Terminal) -> anyhow::Result<()> {
    let mut unfit = Findings::default();
    for (idx, member) in bundle.members.iter().enumerate() {
        // Without its views.
        let alone = Bundle::new(member.task.clone(), vec![member.clone()]).without_views();
        let own = images.iter().filter(|it| it.member == idx);
        let named: Vec<_> = own.map(|it| (it.name.clone(), it.content.clone())).collect();
        if !named.is_empty() {
            let found = predict::unfit(&alone, std::path::Path::new("."), &named, terminal);
            unfit.0.extend(found.0);
        }
    }
    unfit.0.sort();
    match unfit.0.is_empty() {
        true => Ok(()),
        false => bail!("{}\nnothing is written", in_short(&unfit)),
    }
}

/// Explains the images, and writes a PNG of each and the contact sheet.
fn make(
    args: &ExplainArgs,
    explainers: &Explainers<'_>,
    target: &Target,
    images: &[Input],
    areas: Option<&Areas<'_>>,
    output: &NewFolder,
    terminal: &Terminal,
) -> anyhow::Result<Vec<Row>> {
    let (mut rows, mut cells) = (Vec::new(), Vec::new());
    let mut compared = areas.map(Areas::begin);
    for (idx, input) in images.iter().enumerate() {
        if terminal.should_stop() {
            bail!("stopped");
        }
        let bytes = input.content.bytes().with_context(|| input.name.clone())?;
        let it = explainers
            .get(input.member)
            .explain(&bytes, target, args.method, args.stage.as_deref())
            .with_context(|| input.name.clone())?;
        let shares = match &mut compared {
            Some(compared) => compared.add(&input.path, &it.heatmap)?,
            None => None,
        };
        let drawn = beside(&it);
        let file = format!("{:04}-{}.png", idx + 1, short_name(&input.name));
        output.write(&file, &png(&drawn))?;
        if idx < args.sheet {
            let label = format!("{} {:.3}", it.name, it.probability);
            let truth = input.truth.as_ref().map(|it| {
                let sign = if it.is_predicted { "✓" } else { "✗" };
                format!("{sign} label: {}", it.name)
            });
            let lines = [Some(input.name.clone()), Some(label), truth].into_iter().flatten();
            cells.push(Cell::named(Some(thumbnail(&drawn)), lines.collect()));
        }
        rows.push(Row {
            image: input.name.clone(),
            file,
            fold: input.member,
            truth: input.truth.as_ref().map(|it| it.name.clone()),
            target: it.name.clone(),
            probability: it.probability,
            half_mass: it.heatmap.half_mass(),
            shares,
        });
        terminal.progress("explaining", idx + 1, images.len());
    }
    let last = explainers.usual.stages().last().map_or("", String::as_str);
    let title = title(args.method, args.stage.as_deref().unwrap_or(last));
    let sheet = Sheet { title, cells, columns: Sheet::COLUMNS, together: 1 }.draw();
    output.write("sheet.png", &png(&sheet))?;
    Ok(rows)
}

/// Returns the title of the contact sheet, which says what the colours of [`ColourMap::default`] mean.
fn title(method: Method, stage: &str) -> String {
    let what = match method {
        Method::GradCam => format!("Grad-CAM of {stage}"),
        Method::GradCamPlusPlus => format!("Grad-CAM++ of {stage}"),
        Method::Occlusion => "Occlusion".to_owned(),
    };
    format!("{what}: red to light yellow raises the score of the class")
}

/// Draws the image as the network read it, and the map over it, side by side.
fn beside(it: &Explanation) -> RgbImage {
    let (w, h) = it.image.dimensions();
    let scale = (SHOWN_SIDE / w.max(h)).max(1);
    let enlarged =
        |it: &RgbImage| imageops::resize(it, w * scale, h * scale, imageops::FilterType::Nearest);
    let mut both = RgbImage::from_pixel(2 * w * scale + GAP, h * scale, Rgb([255; 3]));
    imageops::replace(&mut both, &enlarged(&it.image), 0, 0);
    let overlay = enlarged(&it.overlay(ColourMap::default(), OPACITY));
    imageops::replace(&mut both, &overlay, i64::from(w * scale + GAP), 0);
    both
}

/// Returns the last part of an image's name without its ending, shortened, for the name of a file.
fn short_name(name: &str) -> String {
    let path = std::path::Path::new(name);
    let stem = path.file_stem().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
    let is_safe = |it: char| !it.is_control() && !"/\\:*?\"<>|".contains(it);
    stem.chars().map(|it| if is_safe(it) { it } else { '_' }).take(NAME).collect()
}

fn csv(rows: &[Row], with_folds: bool, with_areas: bool) -> String {
    let has_truth = rows.iter().any(|it| it.truth.is_some());
    let mut header = vec!["image", "file"];
    if with_folds {
        header.push("fold");
    }
    if has_truth {
        header.push("truth");
    }
    header.extend(["target", "probability", "half_mass"]);
    if with_areas {
        header.extend(["on_area", "area", "other_on_area"]);
    }
    let number = |it: Option<f64>| it.map(table::number).unwrap_or_default();
    let fields = |row: &Row| {
        let mut fields = vec![row.image.clone(), row.file.clone()];
        if with_folds {
            fields.push(row.fold.to_string());
        }
        if has_truth {
            fields.push(row.truth.clone().unwrap_or_default());
        }
        let (p, half) = (number(Some(row.probability)), number(row.half_mass));
        fields.extend([row.target.clone(), p, half]);
        if with_areas {
            let shares = row.shares.unwrap_or_default();
            fields.extend([shares.on_area, shares.area, shares.other].map(number));
        }
        fields
    };
    table::text(header, rows.iter().map(fields))
}

/// Returns the first rows as a table to print.
fn listed(rows: &[Row]) -> String {
    let mut table = vec![["image", "target", "probability"].map(str::to_owned)];
    for it in rows.iter().take(SHOWN) {
        table.push([it.image.clone(), it.target.clone(), format!("{:.3}", it.probability)]);
    }
    let more = match rows.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!("\n... and {n} more"),
    };
    columns(&table, &[false, false, true]) + &more
}

#[cfg(test)]
mod tests {
    use explain::Method;

    use super::{short_name, title};

    #[test]
    fn the_sheet_says_what_its_colours_mean() {
        let colours = "red to light yellow raises the score of the class";
        assert_eq!(title(Method::GradCam, "stage7"), format!("Grad-CAM of stage7: {colours}"));
        assert_eq!(title(Method::Occlusion, "stage7"), format!("Occlusion: {colours}"));
    }

    #[test]
    fn files_are_named_after_the_image() {
        assert_eq!(short_name("a/b/Kim, Min-su.mpo"), "Kim, Min-su");
        assert_eq!(short_name("사진 1.jpg"), "사진 1");
        assert_eq!(short_name("c"), "c");
        assert_eq!(short_name("a:b\nc?.png"), "a_b_c_");
        assert_eq!(short_name(&format!("{}.png", "가".repeat(100))).chars().count(), 40);
    }
}
