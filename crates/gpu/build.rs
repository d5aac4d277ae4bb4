//! Packs the kernels' PTX, which is text: ten times smaller in the program. `src/ptx.rs` says how, and unpacks it.

#[path = "src/ptx/class.rs"]
mod class;

use std::{
    collections::HashMap,
    env,
    error::Error,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::DeflateEncoder};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/ptx/class.rs");
    println!("cargo:rerun-if-changed=kernels");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets `OUT_DIR`")?);
    for entry in fs::read_dir(Path::new("kernels"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "ptx") {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(pack(&fs::read_to_string(&path)?)?.as_bytes())?;
            let name = path.file_name().ok_or("a file has a name")?;
            fs::write(out.join(name).with_extension("ptx.z"), encoder.finish()?)?;
        }
    }
    Ok(())
}

/// The text with each number of a register or of a label as how recently it was used.
fn pack(text: &str) -> Result<String, Box<dyn Error>> {
    if text.contains('#') {
        return Err("PTX has no `#`: it marks new numbers".into());
    }
    let mut packed = String::with_capacity(text.len());
    let mut classes = HashMap::<&str, (Vec<i64>, i64)>::new();
    for line in text.split_inclusive('\n') {
        if line.contains(".entry") {
            classes.clear();
        }
        let mut rest = line;
        while let Some(at) = rest.find(['%', '$']) {
            let bytes = class::class_bytes(&rest[at..]);
            let (before, after) = rest.split_at(at + bytes);
            packed += before;
            let n = after.bytes().take_while(u8::is_ascii_digit).count();
            rest = &after[n..];
            if n == 0 {
                continue;
            }
            let number = after[..n].parse()?;
            let (recent, last_new) = classes.entry(&before[at..]).or_default();
            if let Some(place) = recent.iter().position(|it| *it == number) {
                recent[..=place].rotate_right(1);
                packed += &place.to_string();
                continue;
            }
            recent.insert(0, number);
            packed.push('#');
            if number != *last_new + 1 {
                packed += &(number - *last_new).to_string();
            }
            *last_new = number;
        }
        packed += rest;
    }
    Ok(packed)
}
