//! `maskfit data show`: augmented images, and the effect of a single transform.

use anyhow::{Context as _, anyhow, bail};
use augment::{Cache, Canvas, Image, Pipeline, Step, decode};
use base::{Seed, task::Scope};
use candle::Device;
use toml::{Table, Value};
use trainer::Plan;

use crate::{
    End,
    args::ShowArgs,
    drawing::{Cell, OWN_PNG, Sheet, png, thumbnail},
    output::Output,
    preparation::{manifest, settled, use_threads},
    terminal::Terminal,
};

/// Maximum number of images in a row of whole groups.
const WIDE: usize = 9;

/// A row of the sheet: the caption of its augmented images, and their transforms.
struct Row {
    caption: String,
    ops: Vec<Step>,
}

pub(super) fn show(args: &ShowArgs, terminal: &Terminal) -> anyhow::Result<End> {
    let output = Output::at(&args.output)?;
    output.check(&OWN_PNG)?;
    let experiment = settled(&args.experiment, terminal)?;
    use_threads(experiment.threads)?;
    let manifest = manifest(&experiment, terminal)?;
    let plan = Plan::new(&experiment, &manifest, experiment.data.fold, &Device::Cpu, terminal)?;
    terminal.clear();
    let (rows, n_images) = match &args.op {
        None => {
            let ops = plan.train_pipeline.ops.clone();
            (vec![Row { caption: String::new(), ops }], args.images.unwrap_or(6))
        }
        Some(op) => (at_strengths(op, args.values.as_deref())?, args.images.unwrap_or(1)),
    };
    let cache = plan.cache.as_ref().map(|it| it as &dyn Cache);
    let side = &plan.sides.train;
    let n_images = n_images.min(side.len());
    let mut cells = Vec::new();
    for image in 0..n_images {
        // Spread over the training set, as adjacent images show the same group.
        let example = side[image * side.len() / n_images];
        let (name, content) = &plan.images[example];
        let bytes = content.bytes().with_context(|| name.clone())?;
        let (before, what) = match &args.op {
            // The pipeline of validation and inference is deterministic.
            None => {
                let rng = &mut Seed(0).stream("show");
                (
                    plan.eval_pipeline.apply(&bytes, rng, cache).with_context(|| name.clone())?,
                    "as `augment.eval`",
                )
            }
            Some(_) => {
                let decoded = decode(&bytes, experiment.data.max_pixels);
                (decoded.with_context(|| name.clone())?, "original")
            }
        };
        for row in &rows {
            let class = plan.task.class_name(plan.classes[example], Scope::Joint);
            let lines = vec![name.clone(), class, what.to_owned()];
            cells.push(Cell::named(Some(thumbnail(&before)), lines));
            let pipeline = Pipeline { ops: row.ops.clone(), ..(*plan.train_pipeline).clone() };
            for idx in 0..args.samples {
                let rng = &mut plan.seed().stream(&format!("show/{idx}/{image}"));
                let augmented = match &args.op {
                    None => pipeline.apply(&bytes, rng, cache).with_context(|| name.clone())?,
                    Some(_) => {
                        alone(&row.ops, before.clone(), rng).with_context(|| name.clone())?
                    }
                };
                cells.push(Cell::named(Some(thumbnail(&augmented)), vec![row.caption.clone()]));
            }
        }
    }
    let title = match &args.op {
        None => format!("{} augmentations of each image", args.samples),
        Some(op) => op.clone(),
    };
    // A row contains an image and its augmentations, or several such groups in frames if they are short.
    let group = args.samples + 1;
    let n_groups = (WIDE / group).max(1);
    let together = if n_groups > 1 { group } else { 1 };
    let sheet = Sheet { title, cells, columns: n_groups * group, together }.draw();
    output.write(&OWN_PNG, &png(&sheet))?;
    let images = if n_images == 1 { "image" } else { "images" };
    say!("{n_images} {images}, {} augmentations of each: {output}", args.samples);
    Ok(End::Done)
}

/// Applies only the given transforms to an image.
fn alone(ops: &[Step], image: Image, rng: &mut base::Rng) -> anyhow::Result<Image> {
    let mut canvas = Canvas::from(image);
    for step in ops {
        step.apply(&mut canvas, rng)?;
    }
    Ok(canvas.finish()?)
}

/// Returns rows of one transform at several values of one of its settings.
///
/// - `op`: the kind of a transform, or its table as in a config.
/// - `values`: `setting=value,value`; by default the first float setting, at half, once and
///   twice its value.
fn at_strengths(op: &str, values: Option<&str>) -> anyhow::Result<Vec<Row>> {
    let text = match op.trim_start().starts_with('{') {
        true => format!("op = {op}"),
        false => format!("op = {{ kind = \"{op}\" }}"),
    };
    let table: Table =
        toml::from_str(&text).map_err(|it| anyhow!("--op {op}: {}", it.message()))?;
    let step = |table: Table| -> anyhow::Result<Step> {
        let mut step: Step = Value::Table(table)
            .try_into()
            .map_err(|it: toml::de::Error| anyhow!("--op: {}", it.message()))?;
        step.p = 1.0;
        match step.problem() {
            Some(problem) => bail!("--op: `{}`: {problem}", step.op.kind()),
            None => Ok(step),
        }
    };
    let Some(Value::Table(given)) = table.get("op").cloned() else { unreachable!("a table") };
    let all = Table::try_from(step(given)?)?;
    let (key, values) = match values {
        Some(text) => {
            let (key, list) = text
                .split_once('=')
                .with_context(|| format!("--values {text}: write setting=value,value"))?;
            let values: Table = toml::from_str(&format!("list = [{list}]"))
                .map_err(|it| anyhow!("--values {text}: {}", it.message()))?;
            let Some(Value::Array(values)) = values.get("list").cloned() else {
                bail!("--values {text}: write setting=value,value");
            };
            (key.to_owned(), values)
        }
        None => {
            let number = |(key, value): (&String, &Value)| match value {
                Value::Float(it) if key != "p" => Some((key.clone(), *it)),
                _ => None,
            };
            match all.iter().find_map(number) {
                Some((key, usual)) => {
                    (key, [0.5, 1.0, 2.0].map(|it| Value::Float(usual * it)).to_vec())
                }
                None => return Ok(vec![Row { caption: String::new(), ops: vec![step(all)?] }]),
            }
        }
    };
    let row = |value: Value| {
        let mut table = all.clone();
        let caption = format!("{key} = {value}");
        table.insert(key.clone(), value);
        Ok(Row { caption, ops: vec![step(table)?] })
    };
    values.into_iter().map(row).collect()
}
