//! Names the dynamic library as the driver's is named.
//!
//! A library that is loaded already is found again by its SONAME, wherever its file lies: after a test has loaded ours
//! by its path, cudarc's search for the driver finds it. cudarc tries `libcuda.so` first and `libcuda.so.1` last; with
//! the first name ours is found also on a machine that has the real driver and its headers.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
    println!("cargo:rerun-if-changed=build.rs");
}
