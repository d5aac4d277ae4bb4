//! `cargo xtask dist`: what people without Rust install, in `target/dist`: an archive of the program, a wheel for
//! `pip install`, and the SHA-256 of both.
//!
//! Both run on x86-64 Linux with glibc 2.28 or newer, whatever the glibc of this machine: zig's linker knows the older
//! symbols. zig, cargo-zigbuild and maturin are packages of PyPI.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use xshell::{Shell, cmd};

use crate::{as_typed, licences, peers::Peers};

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The oldest glibc that the program runs with: that of Debian 10 and RHEL 8, and of wheels for `manylinux_2_28`.
const GLIBC: (u32, u32) = (2, 28);
/// A shell, and the name of the file that it completes commands with.
const SHELLS: [(&str, &str); 3] =
    [("bash", "maskfit.bash"), ("zsh", "_maskfit"), ("fish", "maskfit.fish")];
/// The files of the project that both have.
const OWN: [&str; 7] = [
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-DEJAVU",
    "LICENSE-MIT",
    "LICENSE-SEETAFACE",
    "LICENSE-UNIFONT",
    "README.md",
];
/// The licences of the libraries.
const OTHERS: &str = "LICENSES-OF-LIBRARIES.txt";

/// Builds the archive and the wheel, and prints where they are.
pub(crate) fn dist(sh: &Shell, root: &Path, peers: &Peers) -> anyhow::Result<()> {
    sh.change_dir(root);
    let _path = sh.push_env("PATH", path_with(&peers.python)?);
    for tool in ["cargo-zigbuild", "maturin"] {
        let version = cmd!(sh, "{tool} --version").quiet().ignore_stdout().ignore_stderr();
        if version.run().is_err() {
            bail!(
                "`{tool}` is not installed: `pip install ziglang cargo-zigbuild maturin` in a virtual environment, and \
                 name its interpreter with `--python PATH`"
            );
        }
    }
    let to = format!("{TARGET}.{}.{}", GLIBC.0, GLIBC.1);
    let built = root.join("target/dist-build");
    let build = cmd!(sh, "cargo zigbuild --release --workspace --bin maskfit --target {to}");
    as_typed(build.arg("--target-dir").arg(&built)).run().context("building the program failed")?;
    let program = built.join(TARGET).join("release/maskfit");
    check_glibc(&program)?;

    let dist = root.join("target/dist");
    sh.remove_path(&dist)?;
    sh.create_dir(&dist)?;
    let files = [archive(sh, root, &program, &dist)?, wheel(sh, root, &program, &built, &dist)?];
    let names = files.each_ref().map(|it| it.file_name().unwrap_or_default());
    let _dir = sh.push_dir(&dist);
    let sums = cmd!(sh, "sha256sum {names...}").quiet().read()?;
    sh.write_file("SHA256SUMS", format!("{sums}\n"))?;
    for file in &files {
        println!("{} ({:.1} MB)", file.display(), fs::metadata(file)?.len() as f64 * 1e-6);
    }
    println!("{sums}");
    Ok(())
}

/// Returns `PATH` with the folder of an interpreter first, where pip puts programs.
fn path_with(python: &Path) -> anyhow::Result<OsString> {
    let folder = python.parent().filter(|it| *it != Path::new("")).map(Path::canonicalize);
    let paths = env::var_os("PATH").unwrap_or_default();
    let first: Vec<PathBuf> = folder.transpose()?.into_iter().collect();
    Ok(env::join_paths(first.into_iter().chain(env::split_paths(&paths)))?)
}

/// Fails if a program or a library needs a newer glibc than [`GLIBC`].
fn check_glibc(file: &Path) -> anyhow::Result<()> {
    let newest = newest_glibc(&fs::read(file)?).unwrap_or_default();
    ensure!(
        newest <= GLIBC,
        "{} needs glibc {}.{}, newer than {}.{}",
        file.display(),
        newest.0,
        newest.1,
        GLIBC.0,
        GLIBC.1
    );
    Ok(())
}

/// Returns the newest version of glibc among the names of versions in an ELF file, such as `GLIBC_2.17`.
fn newest_glibc(elf: &[u8]) -> Option<(u32, u32)> {
    const NAME: &[u8] = b"\0GLIBC_";
    let starts = elf.windows(NAME.len()).enumerate().filter(|(_, it)| *it == NAME);
    let versions = starts.filter_map(|(at, _)| {
        let name = &elf[at + NAME.len()..];
        let end = name.iter().position(|&it| it == 0)?;
        let mut numbers = str::from_utf8(&name[..end]).ok()?.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    versions.max()
}

/// Packs the program with its man pages, completions and licences.
fn archive(sh: &Shell, root: &Path, program: &Path, dist: &Path) -> anyhow::Result<PathBuf> {
    let staged = sh.create_temp_dir()?;
    let name = format!("maskfit-{}-x86_64-linux", env!("CARGO_PKG_VERSION"));
    let dir = staged.path().join(&name);
    let (man, completions) = (dir.join("man/man1"), dir.join("completions"));
    for it in [&man, &completions] {
        sh.create_dir(it)?;
    }
    sh.copy_file(program, dir.join("maskfit"))?;
    cmd!(sh, "{program} man -o {man}").quiet().ignore_stdout().run()?;
    for (shell, file) in SHELLS {
        let script = cmd!(sh, "{program} completions {shell}").quiet().read()?;
        sh.write_file(completions.join(file), script + "\n")?;
    }
    texts(sh, root, &dir, (&root.join("Cargo.toml"), "cli"))?;
    let file = dist.join(format!("{name}.tar.gz"));
    let parent = staged.path();
    // The same files give the same bytes.
    let tar = cmd!(
        sh,
        "tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 --mode=u+rwX,go+rX,go-w -C {parent}"
    );
    tar.args(["--use-compress-program=gzip -9n", "-cf"]).arg(&file).arg(&name).quiet().run()?;
    Ok(file)
}

/// Copies the licences and what one reads first.
///
/// - `of`: as for [`licences::of`].
fn texts(sh: &Shell, root: &Path, dir: &Path, of: (&Path, &str)) -> anyhow::Result<()> {
    for name in OWN {
        sh.copy_file(root.join(name), dir.join(name))?;
    }
    Ok(sh.write_file(dir.join(OTHERS), licences::of(sh, of, TARGET)?)?)
}

/// Builds the wheel: the Python module of `python/`, with the program beside it.
fn wheel(
    sh: &Shell,
    root: &Path,
    program: &Path,
    built: &Path,
    dist: &Path,
) -> anyhow::Result<PathBuf> {
    let python = root.join("python");
    // maturin puts what is in `scripts` on the path of an environment.
    let data = python.join("maskfit.data");
    let scripts = data.join("scripts");
    sh.remove_path(&data)?;
    sh.create_dir(&scripts)?;
    sh.copy_file(program, scripts.join("maskfit"))?;
    let licences = python.join("licences");
    sh.remove_path(&licences)?;
    sh.create_dir(&licences)?;
    // The module is linked with more libraries than the program.
    texts(sh, root, &licences, (&python.join("Cargo.toml"), "maskfit_python"))?;
    let _dir = sh.push_dir(&python);
    let target = built.join("python");
    let _target = sh.push_env("CARGO_TARGET_DIR", &target);
    let glibc = format!("manylinux_{}_{}", GLIBC.0, GLIBC.1);
    let build = cmd!(sh, "maturin build --release --locked --zig --target {TARGET}");
    as_typed(build.args(["--compatibility", &glibc, "--out"]).arg(dist))
        .run()
        .context("building the wheel failed")?;
    let files = sh.read_dir(dist)?;
    let wheel = files.into_iter().find(|it| it.extension().is_some_and(|it| it == "whl"));
    wheel.context("maturin wrote no wheel")
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
    };

    use toml::{Table, Value};

    use super::newest_glibc;
    use crate::root;

    #[test]
    fn the_newest_glibc_of_a_program_is_found() {
        let elf = b"\x7fELF\0GLIBC_2.9\0GLIBC_2.28\0GLIBC_PRIVATE\0GLIBC_2.2.5\0GLIBCXX_3.4.30\0";
        assert_eq!(newest_glibc(elf), Some((2, 28)));
        assert_eq!(newest_glibc(b"static"), None);
    }

    fn table(path: &str) -> Table {
        fs::read_to_string(root().join(path)).unwrap().parse().unwrap()
    }

    /// Returns the packages of a lock file, by name.
    fn packages(path: &str) -> BTreeMap<String, Vec<Table>> {
        let mut found: BTreeMap<String, Vec<Table>> = BTreeMap::new();
        for it in table(path)["package"].as_array().unwrap() {
            let package = it.as_table().unwrap();
            let name = package["name"].as_str().unwrap().to_owned();
            found.entry(name).or_default().push(package.clone());
        }
        found
    }

    /// Returns the packages that a crate of the workspace needs outside of its tests.
    fn needed(name: &str, of_workspace: &Table) -> BTreeSet<String> {
        let manifest = table(&format!("crates/{name}/Cargo.toml"));
        let targets = manifest.get("target").and_then(Value::as_table);
        let targets = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
        let sections = [&manifest].into_iter().chain(targets);
        let tables = sections.flat_map(|it| [it.get("dependencies"), it.get("build-dependencies")]);
        let keys = tables.flatten().filter_map(Value::as_table).flat_map(Table::keys);
        let package = |key: &String| of_workspace[key].get("package").and_then(Value::as_str);
        keys.map(|key| package(key).unwrap_or(key).to_owned()).collect()
    }

    #[test]
    fn the_wheel_is_built_of_what_the_workspace_is() {
        // It has a lock file of its own, which no other build reads: made anew from a copy of `Cargo.lock`.
        let (own, wheel) = (packages("Cargo.lock"), packages("python/Cargo.lock"));
        let version = |it: &Table| it["version"].as_str().unwrap().to_owned();
        let of_workspace = &table("Cargo.toml")["workspace"]["dependencies"];
        let (mut n_crates, mut problems) = (0, Vec::new());
        for (name, all) in wheel.iter().filter(|it| it.0 != "maskfit_python") {
            let Some(known) = own.get(name) else { continue };
            let known: BTreeSet<String> = known.iter().map(version).collect();
            problems.extend(
                all.iter()
                    .map(version)
                    .filter(|it| !known.contains(it))
                    .map(|it| format!("{name} {it}, not {known:?}")),
            );
            if all[0].contains_key("source") {
                continue;
            }
            n_crates += 1;
            let locked = all[0].get("dependencies").and_then(Value::as_array);
            let locked = locked.into_iter().flatten().filter_map(Value::as_str);
            // A version follows where there are several.
            let first = |it: &str| it.split(' ').next().unwrap_or(it).to_owned();
            let locked: BTreeSet<String> = locked.map(first).collect();
            let needed = needed(name, of_workspace.as_table().unwrap());
            if needed != locked {
                problems.push(format!("{name}: needs {needed:?}, and has {locked:?}"));
            }
        }
        assert!(n_crates > 10 && problems.is_empty(), "{n_crates} crates: {problems:#?}");
    }
}
