//! `maskfit init`: writes a config for a folder of images.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use base::{config::Layer, names::quoted, records::Records, task::Scope, text};
use data::{Content, Manifest, Use, sizes_of};
use trainer::{DEFAULT, Experiment};

use super::eda;
use crate::{
    End,
    layout::{Layout, recognise},
    output::Output,
    phrases::argument,
    terminal::Terminal,
    wrap::wrapped,
};

/// The number of images whose size is read.
const MEASURED: usize = 1000;

/// The largest area of an input, in pixels; more is a matter of time.
const AREA: f64 = 224.0 * 224.0;

/// Recognises the layout of `dir`, and writes the config that fits to `output`.
pub(crate) fn init(dir: &Path, output: Option<&Path>) -> anyhow::Result<End> {
    let terminal = Terminal::new();
    let layout = recognise(dir)?;
    let own = dir.canonicalize().with_context(|| dir.display().to_string())?;
    let name = own.file_name().map_or("images".into(), |it| it.to_string_lossy());
    let output = Output::at(output.unwrap_or(&PathBuf::from(format!("{name}.toml"))))?;
    output.check_new()?;
    let source = layout.setting();
    let config = |text: &str| -> anyhow::Result<Experiment> {
        let layers = [Layer::from_toml("the new config", text)?];
        Ok(base::config::load(&Layer::from_toml("configs/default.toml", DEFAULT)?, &layers)?)
    };
    let experiment = config(&format!("[data]\nsource = {source}\n"))?;
    let (manifest, findings) = eda::list(&experiment, &dir.display().to_string(), &terminal)?;
    let sizes = sizes(&manifest);
    let facts = facts(&layout, &manifest, &sizes);
    let text = text(dir, &facts, &source, layout.sample.as_deref(), &manifest, &sizes)?;
    // What is written can be read.
    config(&text)?;
    output.write_new(text.as_bytes())?;
    facts.iter().for_each(|it| say!("{}", wrapped("- ", it)));
    say!("written: {output}");
    if let Output::Path(path) = &output {
        say!("next: maskfit data check {}", argument(path));
    }
    manifest.notes.iter().for_each(|it| status!("note: {it}"));
    if !findings.0.is_empty() {
        status!("note: {findings}");
    }
    Ok(End::Done)
}

/// Returns what was found: the layout, what it leaves for the user to decide, images, classes and sizes.
fn facts(layout: &Layout, manifest: &Manifest, sizes: &[[usize; 2]]) -> Vec<String> {
    let mut facts = layout.remarks.clone();
    let n = manifest.examples.len();
    facts.push(manifest.task.unit.images_of(n, manifest.groups.len()));
    facts.push(classes(manifest));
    if let (Some(first), Some(last)) = (sizes.first(), sizes.last()) {
        let of = |it: &[usize; 2]| format!("{}x{}", it[0], it[1]);
        facts.push(format!("sizes (height x width) of some: {} to {}", of(first), of(last)));
    }
    facts
}

/// Returns the sizes of images, evenly chosen from all, sorted by area.
fn sizes(manifest: &Manifest) -> Vec<[usize; 2]> {
    let step = manifest.examples.len().div_ceil(MEASURED).max(1);
    let images: Vec<&Content> =
        manifest.examples.iter().step_by(step).map(|it| &it.content).collect();
    let mut sizes: Vec<[usize; 2]> = sizes_of(&images, &|_, _| {}).into_iter().flatten().collect();
    sizes.sort_unstable_by_key(|it| (it[0] * it[1], *it));
    sizes
}

/// Returns `[height, width]` of a network's input for images of these sizes: their median shape, at most
/// [`AREA`], in steps of 16; a square unless nearly all images have the same shape.
fn input(sizes: &[[usize; 2]]) -> [usize; 2] {
    let Some(&[h, w]) = sizes.get(sizes.len() / 2) else { return [128, 128] };
    let ratio = |[h, w]: [usize; 2]| w as f64 / h.max(1) as f64;
    let usual = ratio([h, w]);
    let is_usual = |it: &&[usize; 2]| (ratio(**it) / usual - 1.0).abs() < 0.05;
    let is_one_shape = sizes.iter().filter(is_usual).count() * 10 >= sizes.len() * 9;
    let sides = match is_one_shape {
        true => [h as f64, w as f64],
        false => [h.min(w) as f64; 2],
    };
    let scale = (AREA / (sides[0] * sides[1])).sqrt().min(1.0);
    sides.map(|it| ((it * scale / 16.0).round() as usize).max(2) * 16)
}

/// Returns the text of the config.
///
/// - `sample`: the sample file of a submission.
fn text(
    dir: &Path,
    facts: &[String],
    source: &str,
    sample: Option<&Path>,
    manifest: &Manifest,
    sizes: &[[usize; 2]],
) -> anyhow::Result<String> {
    let is_single = manifest.task.factors.len() == 1;
    let mut text = String::new();
    // A line break in the folder's name would end the comment.
    let command = format!("maskfit init {}", argument(dir)).replace(char::is_control, " ");
    writeln!(text, "# Written by `{command}`; every line may be changed.\n#")?;
    for fact in facts {
        wrapped("- ", fact).lines().try_for_each(|it| writeln!(text, "# {it}"))?;
    }
    let [h, w] = input(sizes);
    let crop = format!("size = [{h}, {w}]");
    let eval = match h == w {
        true => format!(
            "{{ kind = \"resize_shorter\", size = {h} }}, {{ kind = \"center_crop\", {crop} }}"
        ),
        false => format!("{{ kind = \"resize\", {crop} }}"),
    };
    let head = if is_single { "joint" } else { "factored" };
    let split = match manifest.examples.iter().any(|it| it.usage == Use::Valid) {
        true => "not used: the data states its validation set",
        false => "a fifth is held out, the same share of each class",
    };
    writeln!(
        text,
        "\n[data]\nsource = {source}\nsplit  = {{ kind = \"profile\", ratio = 0.2 }}  # {split}\n\n\
         [augment]\ntrain = [{{ kind = \"random_resized_crop\", {crop} }}, {{ kind = \"horizontal_flip\" }}]\n\
         eval  = [{eval}]\n\
         # Of EfficientNet-Lite0's published weights: (x - 127) / 128.\n\
         statistics = {{ kind = \"given\", mean = [0.498039, 0.498039, 0.498039], std = [0.501961, 0.501961, \
         0.501961] }}\n\n\
         [model]\nbackbone   = {{ kind = \"efficientnet\", variant = \"lite0\" }}\n\
         pretrained = \"\"  # efficientnet-lite0-57934424.pth: learns much faster, and scores higher\n\n\
         [head]\nkind = \"{head}\"\n\n\
         [optim]\nkind = \"adamw\"\nlr   = 1e-3\n\n\
         [train]\ntotal      = \"10 epochs\"\nbatch_size = 32"
    )?;
    if let Some(sample) = sample {
        let kind = submission(sample, manifest);
        writeln!(text, "\n[submit]\nkind = \"{kind}\"  # as {}", file_name(sample))?;
    }
    Ok(text)
}

/// Describes the classes of each factor: the number of those with images, the smallest and the largest, and which
/// have none.
fn classes(manifest: &Manifest) -> String {
    let task = &manifest.task;
    let of_factor = |idx: usize| {
        let factor = &task.factors[idx];
        let mut counts = vec![0_usize; factor.levels.len()];
        for it in &manifest.examples {
            counts[task.project(it.class, Scope::Factor(idx))] += 1;
        }
        let (some, none): (Vec<usize>, Vec<usize>) =
            (0..counts.len()).partition(|&it| counts[it] > 0);
        let named = |at: Option<&usize>| {
            at.map_or(String::new(), |&at| format!("{} (`{}`)", counts[at], factor.levels[at]))
        };
        let least = named(some.iter().min_by_key(|it| counts[**it]));
        let most = named(some.iter().max_by_key(|it| counts[**it]));
        let noun = if some.len() == 1 { "class" } else { "classes" };
        let mut text =
            format!("`{}`: {} {noun} of {least} to {most} images", factor.name, some.len());
        if !none.is_empty() {
            let names = quoted(none.iter().map(|&it| &factor.levels[it]));
            text += &format!(", and without images: {names}");
        }
        text
    };
    (0..task.factors.len()).map(of_factor).collect::<Vec<_>>().join("; ")
}

/// Returns the kind of submission that a sample file shows: with a column for each class, or with one answer.
fn submission(sample: &Path, manifest: &Manifest) -> &'static str {
    let text = text::read(sample).unwrap_or_default();
    let header = Records::of(&text).header();
    let names = manifest.task.class_names(Scope::Joint);
    match names.iter().all(|it| header.column(it).is_some()) {
        true => "probabilities",
        false => "classes",
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::input;

    #[test]
    fn the_input_has_the_shape_of_the_images() {
        assert_eq!(input(&[]), [128, 128]);
        assert_eq!(input(&[[192, 144]; 10]), [192, 144]);
        assert_eq!(input(&[[512, 384]; 10]), [256, 192]);
        assert_eq!(input(&[[128, 200], [128, 160], [170, 128]]), [128, 128]);
        assert_eq!(input(&[[1000, 1400], [1200, 1700], [3000, 2000]]), [224, 224]);
        assert_eq!(input(&[[8, 8]]), [32, 32]);
    }
}
