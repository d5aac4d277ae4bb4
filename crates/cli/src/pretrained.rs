//! Finds the weights that `model.pretrained` names: a file, a name in a folder, or a place on the hub; a bundle of one's
//! own is in `continued.rs`.
//!
//! - A path to a file.
//! - A name, looked up in the folder MASKFIT_WEIGHTS: of a file, or of a network.
//! - `hf:owner/name` or `hf:owner/name/file`: from <https://huggingface.co>, with the hub's own library
//!   and its own cache (HF_HOME), which other programs share. HF_ENDPOINT sets another hub.
//!
//! The library keeps the part of an interrupted download and resumes from there; it verifies nothing. The
//! hub names a large file by its SHA-256, and so does the cache: the file is verified here, each time.

use std::{
    env, fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use hf_hub::{
    Cache,
    api::{
        Progress,
        sync::{ApiBuilder, ApiError, ApiRepo},
    },
};
use models::{WeightsFile, published};
use sha2::{Digest as _, Sha256};
use trainer::{Callback as _, Experiment};

use crate::{args::ExperimentArgs, known_runs::instead_of, runs, terminal::Terminal};

/// The environment variable that names the folder of weight files.
const FOLDER: &str = "MASKFIT_WEIGHTS";

/// File names of weights on the hub, in order of preference.
const HUB_FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// File name endings of weights, in order of preference.
const ENDINGS: [&str; 3] = [".safetensors", ".pth", ".pt"];

/// Number of times that an interrupted download is resumed automatically.
const RETRIES: usize = 2;

/// Weights on this machine.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// Their origin, if that is not the path itself.
    pub(crate) origin: Option<String>,
}

/// Replaces `model.pretrained` of an experiment by the path of the file, fills in the settings that are left
/// out and that the file determines, and reports them.
///
/// - `args`: the source of the experiment, which distinguishes settings that are set from those left out.
///
/// # Errors
/// Weights that are not found, and settings that contradict them.
pub(crate) fn settle(
    experiment: &mut Experiment,
    args: &ExperimentArgs,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    if !is_weights(experiment) {
        return Ok(());
    }
    let requested = experiment.model.pretrained.to_string_lossy().into_owned();
    let runs = experiment.run.dir.as_path();
    let found = find(&requested, Some(runs), terminal).context("`model.pretrained`");
    terminal.clear();
    let Found { path, origin } = found?;
    if let Some(origin) = origin {
        terminal.status(&format!("weights: {}, {origin}", path.display()));
    }
    adopt(experiment, args, &requested, path, terminal)
}

/// As [`settle`], for commands that show or prepare training's input: they download nothing, and of weights
/// that are not on this machine only the network is known.
///
/// # Errors
/// Settings that contradict the weights.
pub(crate) fn settle_if_here(
    experiment: &mut Experiment,
    args: &ExperimentArgs,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    if !is_weights(experiment) {
        return Ok(());
    }
    let requested = experiment.model.pretrained.to_string_lossy().into_owned();
    let found = match requested.strip_prefix("hf:") {
        Some(place) => in_cache(place).map(|it| it.1),
        None => on_disk(&requested, None).ok().map(|it| it.path),
    };
    if let Some(path) = found {
        return adopt(experiment, args, &requested, path, terminal);
    }
    terminal.status(&format!(
        "note: the weights `{requested}` are not on this machine: their preprocessing is derived from the network \
         alone, until training reads the file"
    ));
    experiment.notes_on_weights().iter().for_each(|it| terminal.status(it));
    Ok(())
}

/// Returns whether the settings name a file of weights: neither nothing nor a bundle, whose settings are complete.
fn is_weights(experiment: &Experiment) -> bool {
    let path = &experiment.model.pretrained;
    !path.as_os_str().is_empty() && !path.is_dir()
}

/// Applies the settings that a file of weights determines.
fn adopt(
    experiment: &mut Experiment,
    args: &ExperimentArgs,
    requested: &str,
    path: PathBuf,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    let file = WeightsFile::read(&path).context("`model.pretrained`")?;
    let digest = sha256(&path).with_context(|| path.display().to_string())?;
    let called = [requested, &path.to_string_lossy()];
    let layers = runs::layers(args)?.0;
    let (settled, notes) = Experiment::load_with(&layers, &file, &called, &digest)?;
    (experiment.augment, experiment.model) = (settled.augment, settled.model);
    experiment.model.pretrained = path;
    notes.iter().for_each(|it| terminal.status(it));
    Ok(())
}

/// Finds weights, and downloads those on the hub.
///
/// - `runs`: the folder of runs, where one may be named too.
pub(crate) fn find(
    requested: &str,
    runs: Option<&Path>,
    terminal: &Terminal,
) -> anyhow::Result<Found> {
    match requested.strip_prefix("hf:") {
        Some(place) => from_hub(place, terminal),
        None => on_disk(requested, runs),
    }
}

/// Finds a file, by its path or by its name in the folder of weights.
fn on_disk(requested: &str, runs: Option<&Path>) -> anyhow::Result<Found> {
    let path = Path::new(requested);
    if path.is_dir() {
        bail!("{requested}: this is a folder: name a file in it");
    }
    if path.exists() {
        return Ok(Found { path: path.to_owned(), origin: None });
    }
    let dir = env::var_os(FOLDER).filter(|it| !it.is_empty()).map(PathBuf::from);
    in_folder(requested, dir.as_deref(), runs)
}

/// Finds a name in the folder of weights.
fn in_folder(requested: &str, dir: Option<&Path>, runs: Option<&Path>) -> anyhow::Result<Found> {
    let help = match published().into_iter().find(|it| it.name == requested) {
        Some(it) if it.has_weights() => {
            format!("put it there, or download it: `hf:timm/{}`", it.full_name())
        }
        _ => match runs.map(|it| instead_of(Path::new(requested), it)) {
            None => "name a file, or a place on the hub as `hf:owner/name`".to_owned(),
            Some(instead) => format!(
                "name a file, a place on the hub as `hf:owner/name`, or the folder of a run, a fold or a \
                     bundle{instead}"
            ),
        },
    };
    let Some(dir) = dir else {
        bail!(
            "{requested}: there is no such file (and {FOLDER} does not name a folder of weights): {help}"
        );
    };
    let entries = fs::read_dir(dir);
    let entries = entries.with_context(|| format!("{FOLDER}={}", dir.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|it| it.path().is_file())
        .map(|it| it.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let is_weights = |it: &str| ENDINGS.iter().any(|ending| it.ends_with(ending));
    let has_suffix = |it: &str| {
        let rest = it.strip_prefix(requested);
        is_weights(it) && rest.is_some_and(|it| it.starts_with(['-', '.']))
    };
    let exact = std::iter::once(requested.to_owned());
    let exact = exact.chain(ENDINGS.iter().map(|ending| format!("{requested}{ending}")));
    let mut matching: Vec<String> = exact.filter(|it| names.contains(it)).take(1).collect();
    if matching.is_empty() {
        matching.extend(names.iter().filter(|it| has_suffix(it)).cloned());
    }
    match matching.as_slice() {
        [one] => {
            let path = std::path::absolute(dir.join(one))?;
            Ok(Found { path, origin: Some(format!("`{requested}` in the folder of {FOLDER}")) })
        }
        [] => {
            names.retain(|it| is_weights(it));
            let has = if names.is_empty() { "no weights".to_owned() } else { names.join(", ") };
            let dir = dir.display();
            bail!(
                "{requested}: there is no such file, here or in {FOLDER} ({dir} has {has}): {help}"
            )
        }
        several => bail!(
            "{requested}: {FOLDER} has {} files of that name ({}): name one of them",
            several.len(),
            several.join(", ")
        ),
    }
}

/// Returns the repository of a place on the hub, and the files that may contain weights, in order of
/// preference.
fn repo_and_files(place: &str) -> (String, Vec<String>) {
    let words: Vec<&str> = place.split('/').collect();
    let n = words.len().min(2);
    let files = match words[n..].join("/") {
        file if file.is_empty() => HUB_FILES.map(str::to_owned).to_vec(),
        file => vec![file],
    };
    (words[..n].join("/"), files)
}

/// Returns the name and the path of the file that was downloaded before from a place on the hub.
fn in_cache(place: &str) -> Option<(String, PathBuf)> {
    let (repo, files) = repo_and_files(place);
    let cache = Cache::from_env().model(repo);
    files.into_iter().find_map(|it| cache.get(&it).map(|path| (it, path)))
}

/// Finds the file of a place on the hub in the cache, or downloads it.
fn from_hub(place: &str, terminal: &Terminal) -> anyhow::Result<Found> {
    let is_word = |it: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        !it.is_empty() && !it.starts_with('.') && it.chars().all(is_plain)
    };
    let words: Vec<&str> = place.split('/').collect();
    if words.len() < 2 || !words.iter().all(|it| is_word(it)) {
        bail!(
            "hf:{place}: this is not a place on the hub: write hf:owner/name, or hf:owner/name/file"
        );
    }
    let (repo, files) = repo_and_files(place);
    if let Some((file, path)) = in_cache(place) {
        let verified = verify(&path).with_context(|| format!("hf:{place}"))?;
        let origin = format!("hf:{repo}/{file}, downloaded before; {verified}");
        return Ok(Found { path: std::path::absolute(path)?, origin: Some(origin) });
    }
    let endpoint = env::var("HF_ENDPOINT").unwrap_or("https://huggingface.co".to_owned());
    let by_hand = |file: &str| {
        format!(
            "download {file} by hand from {endpoint}/{repo} and give its path, or put it into the \
             folder of {FOLDER}"
        )
    };
    let api = ApiBuilder::from_env().build();
    let api =
        api.with_context(|| format!("hf:{place}: {}", by_hand(&files[0])))?.model(repo.clone());
    for file in &files {
        match fetch(&api, &repo, file, terminal) {
            Ok(path) => {
                terminal.clear();
                let verified = verify(&path).with_context(|| format!("hf:{place}"))?;
                let origin = format!("downloaded from hf:{repo}/{file}; {verified}");
                return Ok(Found { path: std::path::absolute(path)?, origin: Some(origin) });
            }
            Err(ApiError::RequestError(err)) => match *err {
                ureq::Error::StatusCode(404) => {}
                ureq::Error::StatusCode(code @ (401 | 403)) => bail!(
                    "hf:{place}: `{repo}` does not exist, or is not accessible to you ({endpoint} returns \
                     {code}): correct the name, or {}",
                    by_hand(file)
                ),
                ureq::Error::StatusCode(code) => {
                    bail!("hf:{place}: {endpoint} returns {code}: try later, or {}", by_hand(file))
                }
                other => {
                    bail!("hf:{place}: the hub cannot be reached ({other}): {}", by_hand(file))
                }
            },
            Err(ApiError::IoError(err)) => bail!(
                "hf:{place}: the download of {file} was interrupted ({err}): the same command resumes it, or {}",
                by_hand(file)
            ),
            Err(ApiError::LockAcquisition(path)) => bail!(
                "hf:{place}: another program is downloading it ({}): wait until it is done",
                path.display()
            ),
            Err(err) => {
                bail!(
                    "hf:{place}: {endpoint} does not respond as a hub does ({err}): {}",
                    by_hand(file)
                )
            }
        }
    }
    bail!(
        "hf:{place}: `{repo}` has no {}: look at {endpoint}/{repo}, and name the file as \
         hf:{repo}/FILE",
        files.join(" and no ")
    )
}

/// Downloads one file, and resumes interrupted downloads.
fn fetch(api: &ApiRepo, repo: &str, file: &str, terminal: &Terminal) -> Result<PathBuf, ApiError> {
    let mut n_tried = 0;
    loop {
        let bar = Bar { terminal, what: format!("downloading {file}"), done: 0, total: 0 };
        let result = api.download_with_progress(file, bar);
        let is_retried = match &result {
            Err(ApiError::IoError(_)) => true,
            // The part of an earlier download is already complete, or too long.
            Err(ApiError::InvalidResume) => remove_parts(repo),
            Err(ApiError::RequestError(err)) => match **err {
                ureq::Error::StatusCode(416) => remove_parts(repo),
                _ => false,
            },
            _ => false,
        };
        if !is_retried || n_tried == RETRIES {
            return result;
        }
        n_tried += 1;
    }
}

/// Removes the parts of interrupted downloads, and returns whether there were any.
fn remove_parts(repo: &str) -> bool {
    let dir = format!("models--{}", repo.replace('/', "--"));
    let Ok(entries) = fs::read_dir(Cache::from_env().path().join(dir).join("blobs")) else {
        return false;
    };
    let parts = entries.flatten().map(|it| it.path());
    let parts = parts.filter(|it| it.extension().is_some_and(|it| it == "part"));
    parts.filter(|it| fs::remove_file(it).is_ok()).count() > 0
}

/// Verifies a file of the hub's cache by its SHA-256, and returns a description of the result.
///
/// A damaged file is removed, so that it is downloaded again.
fn verify(path: &Path) -> anyhow::Result<String> {
    let blob = fs::canonicalize(path).with_context(|| path.display().to_string())?;
    let name = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name.len() != 64 || !name.chars().all(|it| it.is_ascii_hexdigit()) {
        return Ok("the hub provides no SHA-256 to verify it".to_owned());
    }
    let digest = sha256(&blob).with_context(|| blob.display().to_string())?;
    if !digest.eq_ignore_ascii_case(&name) {
        drop(fs::remove_file(path));
        drop(fs::remove_file(&blob));
        bail!(
            "the file has the SHA-256 {digest}, but the hub specifies {name}: it is damaged and was \
             removed; download it again"
        );
    }
    Ok(format!("its SHA-256 matches the hub's, {}...", &name[..16]))
}

/// Returns the SHA-256 of a file, in lowercase hexadecimal digits.
pub(crate) fn sha256(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hasher) = (fs::File::open(path)?, Sha256::new());
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => break,
            n => hasher.update(&block[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|it| format!("{it:02x}")).collect())
}

/// The progress bar of a download.
struct Bar<'a> {
    terminal: &'a Terminal,
    what: String,
    done: usize,
    total: usize,
}

impl Progress for Bar<'_> {
    fn init(&mut self, size: usize, _: &str) {
        (self.done, self.total) = (0, size);
    }

    fn update(&mut self, size: usize) {
        self.done += size;
        // In kilobytes, and never complete: a complete bar is removed, and a retry would show it again.
        let (done, total) = (self.done / 1000, self.total / 1000 + 1);
        self.terminal.progress(&self.what, done.min(total - 1), total);
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use expect_test::{Expect, expect};

    use super::in_folder;

    #[test]
    fn folder_is_searched_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let names = [
            "a.pth",
            "a.safetensors",
            "b-57934424.pth",
            "b.txt",
            "c-1.pth",
            "c-2.pth",
            "c.in1k.safetensors",
            "resnet18-5c.pt",
        ];
        names.iter().for_each(|it| fs::write(dir.path().join(it), "").unwrap());
        let check = |requested: &str, want: Expect| {
            let found = in_folder(requested, Some(dir.path()), None);
            let got = match found {
                Ok(it) => it.path.file_name().unwrap().to_string_lossy().into_owned(),
                Err(err) => err.to_string().replace(&dir.path().display().to_string(), "DIR"),
            };
            want.assert_eq(&got);
        };
        check("a", expect!["a.safetensors"]);
        check("a.pth", expect!["a.pth"]);
        check("b", expect!["b-57934424.pth"]);
        check("resnet18", expect!["resnet18-5c.pt"]);
        check(
            "c",
            expect![
                "c: MASKFIT_WEIGHTS has 3 files of that name (c-1.pth, c-2.pth, c.in1k.safetensors): name one of them"
            ],
        );
        check(
            "resnet1",
            expect![
                "resnet1: there is no such file, here or in MASKFIT_WEIGHTS (DIR has a.pth, a.safetensors, b-57934424.pth, c-1.pth, c-2.pth, c.in1k.safetensors, resnet18-5c.pt): name a file, or a place on the hub as `hf:owner/name`"
            ],
        );
        check(
            "resnet50",
            expect![
                "resnet50: there is no such file, here or in MASKFIT_WEIGHTS (DIR has a.pth, a.safetensors, b-57934424.pth, c-1.pth, c-2.pth, c.in1k.safetensors, resnet18-5c.pt): put it there, or download it: `hf:timm/resnet50.a1_in1k`"
            ],
        );
    }

    #[test]
    fn error_without_a_folder_names_the_fix() {
        let check = |requested: &str, dir: Option<&Path>, want: Expect| {
            want.assert_eq(&format!("{:#}", in_folder(requested, dir, None).err().unwrap()));
        };
        check(
            "resnet18",
            None,
            expect![
                "resnet18: there is no such file (and MASKFIT_WEIGHTS does not name a folder of weights): put it there, or download it: `hf:timm/resnet18.a1_in1k`"
            ],
        );
        check(
            "x.pth",
            None,
            expect![
                "x.pth: there is no such file (and MASKFIT_WEIGHTS does not name a folder of weights): name a file, or a place on the hub as `hf:owner/name`"
            ],
        );
        check(
            "x.pth",
            Some(Path::new("nowhere")),
            expect!["MASKFIT_WEIGHTS=nowhere: No such file or directory (os error 2)"],
        );
    }
}
