//! Compresses the kernels' PTX, which is text: five times smaller in the program.

use std::{
    env,
    error::Error,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::DeflateEncoder};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=kernels");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets `OUT_DIR`")?);
    for entry in fs::read_dir(Path::new("kernels"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "ptx") {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&fs::read(&path)?)?;
            let name = path.file_name().ok_or("a file has a name")?;
            fs::write(out.join(name).with_extension("ptx.z"), encoder.finish()?)?;
        }
    }
    Ok(())
}
