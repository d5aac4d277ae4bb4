//! `maskfit submit`

use std::path::Path;

use anyhow::{anyhow, bail};
use infer::{Submission, SubmissionError};

use super::predict::{open, rows, stopped, unfit, write};
use crate::{
    End,
    args::ModelArgs,
    output::{Output, Own},
    preparation::in_short,
    runs,
    terminal::Terminal,
};

/// Writes a submission with a row for each test image, or nothing.
pub(crate) fn submit(
    models: &ModelArgs,
    joins_factors: bool,
    root: &Path,
    sample: Option<&Path>,
    set: &[String],
    output: &Path,
) -> anyhow::Result<End> {
    let output = Output::at(output)?;
    let config = runs::submit_settings(&models.runs, set)?;
    let bundle = open(models, joins_factors)?;
    let submission = Submission::new(&config, &bundle.task, bundle.number(), root, sample);
    let submission = submission.map_err(|err| match err {
        SubmissionError::Findings { root, findings } => {
            anyhow!("{}: {}", root.display(), in_short(&findings))
        }
        other => other.into(),
    })?;
    submission.notes.iter().for_each(|it| status!("note: {it}"));
    check_sample(&submission.place, &output)?;
    let own =
        Own { what: "a submission for these images", is_own: &|file| Ok(submission.is_own(file)) };
    output.check(&own)?;
    let (images, terminal) = (&submission.images, Terminal::new());
    let unfit = unfit(&bundle, root, images, &terminal);
    if !unfit.0.is_empty() {
        bail!(
            "{}: {}\na submission needs a row for each image: nothing is written",
            root.display(),
            in_short(&unfit)
        );
    }
    let header = submission.header();
    let predictor = trainer::predictor(bundle, models.device)?;
    let to = (&output, &own);
    let written = write(models, &predictor, images, header, to, &terminal, &|image, it| {
        Ok(submission.row(image, it)?)
    });
    if let Some(end) = stopped(&written, &terminal) {
        return Ok(end);
    }
    written?;
    say!("{}: {output}", rows(images.len()));
    Ok(End::Done)
}

/// Refuses to replace the sample file, which looks like a submission.
fn check_sample(sample: &Path, output: &Output) -> anyhow::Result<()> {
    let Output::Path(path) = output else { return Ok(()) };
    let same = |a: &Path, b: &Path| {
        a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
    };
    match same(sample, path) {
        true => bail!("{}: is the sample file: name another file with `-o`", path.display()),
        false => Ok(()),
    }
}
