//! `cargo xtask recipes`: runs every recipe with `--fast` at its published sizes, and prints the seconds.
//!
//! Networks, images and batches are the recipe's; only the weights are random. The data are synthetic people of
//! the competition's image size, and hard links to these images as a table of 120 breeds and as folders of 10
//! classes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, bail, ensure};

/// The generated people, of seven images each: enough for the table and the folders.
const N_PEOPLE: usize = 100;
const N_BREEDS: usize = 120;
const N_PER_BREED: usize = 3;
/// The classes of the folders, and the images of each class in `train/` and `val/`: a batch of 128, and more.
const N_CLASSES: usize = 10;
const N_PER_CLASS: [(&str, usize); 2] = [("train", 20), ("val", 5)];

/// Runs the recipes, or those that are named, and fails if one fails.
pub(crate) fn run(program: &Path, named: &[String]) -> anyhow::Result<()> {
    let temporary = tempfile::Builder::new().prefix("maskfit-recipes-").tempdir()?;
    let bench = Bench { program, dir: temporary.path() };
    let mut names = bench.names()?;
    if let Some(unknown) = named.iter().find(|it| !names.contains(it)) {
        bail!("there is no recipe `{unknown}`: choose among {}", names.join(", "));
    }
    if !named.is_empty() {
        names = named.to_vec();
    }
    bench.make_data().context("cannot make the data")?;
    println!("{:<36} {:>9} {:>7}", "recipe", "seconds", "steps");
    let (mut failed, began) = (Vec::new(), Instant::now());
    for name in &names {
        match bench.fast(name) {
            Ok((seconds, steps)) => println!("{name:<36} {seconds:>9.1} {steps:>7}"),
            Err(err) => {
                println!("{name:<36} {:>9}", "failed");
                failed.push(format!("{name}: {err:#}"));
            }
        }
    }
    println!("{:<36} {:>9.1}", "in all", began.elapsed().as_secs_f64());
    temporary.close().context("cannot remove the data")?;
    ensure!(failed.is_empty(), "{} recipes failed:\n{}", failed.len(), failed.join("\n"));
    Ok(())
}

/// A folder with the data.
struct Bench<'a> {
    program: &'a Path,
    dir: &'a Path,
}

impl Bench<'_> {
    /// Runs a command, and returns its stdout.
    ///
    /// # Errors
    /// It fails: its stderr.
    fn output(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(self.program);
        command.args(args).current_dir(self.dir).env("MASKFIT_CACHE", self.dir.join("cache"));
        let output = command.output().context("cannot start the program")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        ensure!(output.status.success(), "{}", text(&output.stderr));
        Ok(text(&output.stdout))
    }

    /// Returns the names of all recipes.
    fn names(&self) -> anyhow::Result<Vec<String>> {
        let listed = self.output(&["list", "recipes"])?;
        let names = listed.lines().filter_map(|it| it.strip_prefix("  "));
        Ok(names.filter(|it| !it.starts_with(' ')).map(str::to_owned).collect())
    }

    /// Runs a recipe; returns the seconds and the number of steps.
    fn fast(&self, name: &str) -> anyhow::Result<(f64, String)> {
        let settings = self.output(&["config", "show", name])?;
        let root = match settings {
            it if it.contains("kind = \"table\"") => "breeds",
            it if it.contains("kind = \"folders\"") => "folders",
            _ => "people/train",
        };
        let root = format!("data.source.root={root}");
        let began = Instant::now();
        let args = ["train", name, "--fast", "--set", &root, "--set", "model.pretrained="];
        let result = self.output(&args)?;
        let seconds = began.elapsed().as_secs_f64();
        // "3 steps of everything work: ..."
        let steps = result.lines().find(|it| it.contains("steps of everything work"));
        let steps = steps.and_then(|it| it.split(' ').next()).unwrap_or_default();
        Ok((seconds, steps.to_owned()))
    }

    /// Generates the people, and makes the table and the folders of their images.
    fn make_data(&self) -> anyhow::Result<()> {
        let n_people = N_PEOPLE.to_string();
        let size = ["--test", "0", "--size", "512x384"];
        let generate = ["data", "synthetic-people", "people", "--people", &n_people];
        self.output(&[&generate[..], &size].concat())?;
        let mut people = entries(&self.dir.join("people/train/images"))?;
        people.sort();
        let mut images = Vec::new();
        for person in people {
            images.extend(entries(&person)?);
        }
        let mut images = images.into_iter();
        let mut put = |folder: &Path, stem: &str| -> anyhow::Result<()> {
            let image = images.next().context("too few images")?;
            fs::create_dir_all(folder)?;
            fs::hard_link(image, folder.join(stem).with_extension("jpg"))?;
            Ok(())
        };
        let (breeds, mut table) = (self.dir.join("breeds"), "id,breed\n".to_owned());
        for n in 0..N_BREEDS * N_PER_BREED {
            put(&breeds.join("train"), &format!("{n:04}"))?;
            table += &format!("{n:04},breed_{:03}\n", n % N_BREEDS);
        }
        fs::write(breeds.join("labels.csv"), table)?;
        for class in 0..N_CLASSES {
            for (side, n) in N_PER_CLASS {
                let folder = self.dir.join(format!("folders/{side}/class_{class}"));
                (0..n).try_for_each(|it| put(&folder, &it.to_string()))?;
            }
        }
        Ok(())
    }
}

/// Returns the paths of what is in a folder.
fn entries(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    Ok(fs::read_dir(dir)?.map(|it| it.map(|it| it.path())).collect::<Result<_, _>>()?)
}
