//! The committed PTX belongs to its sources, and the table of what the assembler said belongs to the PTX.
//!
//! `cargo xtask kernels --nvcc PATH` makes both anew.

#![expect(clippy::unwrap_used, reason = "a test panics where a file is not as it should be")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

/// Kernels that may keep registers in memory on some card, each with the reason: none.
const SPILLS: &[(&str, &str)] = &[];

/// All PTX together. A fifth of it is in the program, compressed, and the driver compiles about 400 kB a second when a
/// card first sees it.
const MOST_BYTES: usize = 4_500_000;

const FIX: &str = "run `cargo xtask kernels --nvcc PATH`";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")
}

/// The names of the files with this extension, without it.
fn families(extension: &str) -> BTreeSet<String> {
    let paths = fs::read_dir(folder()).unwrap().map(|it| it.unwrap().path());
    let paths = paths.filter(|it| it.extension().is_some_and(|it| it == extension));
    paths.map(|it| it.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

/// A source and all that it includes.
fn closure(name: String) -> BTreeMap<String, String> {
    let (mut open, mut texts) = (vec![name], BTreeMap::new());
    while let Some(name) = open.pop() {
        let text = fs::read_to_string(folder().join(&name)).unwrap();
        let included = text.lines().filter_map(|it| it.trim().strip_prefix("#include \""));
        open.extend(included.map(|it| it.split('"').next().unwrap().to_owned()));
        open.retain(|it| !texts.contains_key(it) && *it != name);
        texts.insert(name, text);
    }
    texts
}

/// The names of the kernels in a PTX file.
fn kernels(family: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(folder().join(format!("{family}.ptx"))).unwrap();
    let names = text.split(".entry").skip(1).filter_map(|it| it.split('(').next());
    names.map(|it| it.trim().to_owned()).collect()
}

#[test]
fn the_ptx_belongs_to_its_sources() {
    assert_eq!(families("cu"), families("ptx"), "each source has its PTX: {FIX}");
    let mut bytes = 0;
    for family in families("cu") {
        let text = fs::read_to_string(folder().join(format!("{family}.ptx"))).unwrap();
        let written: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|it| it.strip_prefix("// sha256: ")?.split_once(' '))
            .map(|(hash, name)| (name, hash))
            .collect();
        let sources = closure(format!("{family}.cu"));
        let names: Vec<_> = sources.keys().collect();
        assert!(
            written.keys().eq(&names),
            "{family}.ptx is made from {written:?}, not from {names:?}: {FIX}"
        );
        for (name, source) in &sources {
            let hash: String =
                Sha256::digest(source).iter().map(|it| format!("{it:02x}")).collect();
            assert_eq!(
                written[name.as_str()],
                hash,
                "{name} has changed since {family}.ptx was made: {FIX}"
            );
        }
        assert!(
            text.contains("// compiler: Cuda compilation tools"),
            "{family}.ptx names its compiler"
        );
        assert!(
            text.contains("\n.version 7.8\n.target sm_80\n"),
            "{family}.ptx is for old drivers and cards"
        );
        bytes += text.len();
    }
    assert!(
        bytes <= MOST_BYTES,
        "all PTX has {bytes} bytes, and {MOST_BYTES} are allowed: fewer variants"
    );
}

#[test]
fn the_table_of_the_assembler_belongs_to_the_ptx() {
    let table = fs::read_to_string(folder().join("ptxas.csv")).unwrap();
    let mut lines = table.lines();
    let columns = "family,kernel,architecture,registers,spilled_bytes,stack_bytes,shared_bytes";
    assert_eq!(lines.next(), Some(columns));
    let (mut rows, mut spilling) = (BTreeSet::new(), BTreeSet::new());
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let [family, kernel, card, registers, spilled, stack, shared] = cells[..] else {
            panic!("{line}")
        };
        assert!(rows.insert([family, kernel, card].map(str::to_owned)), "{line} is there twice");
        let number = |it: &str| it.parse::<u32>().unwrap();
        assert!((1..=255).contains(&number(registers)), "{line}");
        // A stack without spills is an array that is indexed by a variable.
        if number(spilled) + number(stack) > 0 {
            let is_listed = SPILLS.iter().any(|(name, _)| *name == kernel);
            assert!(is_listed, "`{kernel}` spills on {card}: {line}");
            spilling.insert(kernel);
        }
        assert!(number(shared) <= 99 << 10, "{line}");
    }
    let listed: BTreeSet<_> = SPILLS.iter().map(|(name, _)| *name).collect();
    assert_eq!(spilling, listed, "a kernel that does not spill any more is not listed");
    let want: BTreeSet<_> = families("cu")
        .iter()
        .flat_map(|family| kernels(family).into_iter().map(move |kernel| (family.clone(), kernel)))
        .flat_map(|(family, kernel)| {
            ["sm_80", "sm_90", "sm_100"]
                .map(|card| [family.clone(), kernel.clone(), card.to_owned()])
        })
        .collect();
    assert!(
        rows == want,
        "rows and kernels differ: {:?}: {FIX}",
        rows.symmetric_difference(&want).next()
    );
}
