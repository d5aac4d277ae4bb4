use std::{collections::BTreeMap, fs, path::Path};

use candle::DType;

use super::{PickleError, read};

fn file(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/weights");
    fs::read(dir.join(name)).unwrap()
}

/// A pickle of protocol 2 with the given instructions.
fn pickle(body: &[u8]) -> Vec<u8> {
    [b"\x80\x02", body, b"."].concat()
}

#[test]
fn both_forms_hold_what_was_saved() {
    for name in ["zip.pth", "old.pth", "wrapped.pth"] {
        let tensors: BTreeMap<_, _> = read(&file(name)).unwrap().into_iter().collect();
        let check = |key: &str, dims: &[usize], want: &[f64]| {
            let tensor = &tensors[key];
            assert_eq!(tensor.dims(), dims, "{name}: {key}");
            testkit::check_close(tensor, want, 0.0);
        };
        check("plain", &[2], &[1.5, -2.0]);
        check("matrix", &[3, 4], &[0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11.]);
        check("transposed", &[4, 3], &[0., 4., 8., 1., 5., 9., 2., 6., 10., 3., 7., 11.]);
        check("part", &[2], &[4.0, 5.0]);
        check("scalar", &[], &[7.0]);
        check("empty", &[0, 3], &[]);
        check("half", &[2], &[0.5, 1.0]);
        check("brain", &[2], &[0.5, 1.0]);
        check("double", &[1], &[0.25]);
        check("parameter", &[1], &[9.0]);
        assert_eq!(tensors["num_batches_tracked"].dtype(), DType::I64, "{name}");
        assert!(!tensors.contains_key("flag"), "{name}: no type of candle's holds truth values");
    }
}

#[test]
fn a_pickle_that_would_run_a_program_is_refused_by_name() {
    // What `__reduce__` returning (os.system, ("echo",)) pickles to, in protocols 2 and 4.
    let two = pickle(b"cos\nsystem\nX\x04\x00\x00\x00echo\x85R");
    let four = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04echo\x85R.";
    let at_once = pickle(b"(X\x04\x00\x00\x00echoios\nsystem\n");
    let cases = [(&two[..], "os.system"), (four, "posix.system"), (&at_once, "os.system")];
    for (bytes, want) in cases {
        match read(bytes) {
            Err(PickleError::Forbidden(name)) => assert_eq!(name, want),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_cut_is_an_error_and_none_a_panic() {
    for name in ["zip.pth", "old.pth"] {
        let whole = file(name);
        for n in 0..whole.len() {
            // The last bytes of an old file may belong to a tensor that is not read.
            if let Ok(tensors) = read(&whole[..n]) {
                panic!(
                    "{name} cut to {n} of {} still gives {} tensors",
                    whole.len(),
                    tensors.len()
                );
            }
        }
    }
}

#[test]
fn every_flipped_byte_is_survived() {
    for name in ["zip.pth", "old.pth"] {
        let whole = file(name);
        for idx in 0..whole.len() {
            let mut bent = whole.clone();
            bent[idx] ^= 0xff;
            // Whatever comes out: no panic, no endless loop, no memory without bound.
            drop(read(&bent));
        }
    }
}

#[test]
fn a_file_without_tensors_says_so() {
    assert!(matches!(read(&file("no_tensors.pth")), Err(PickleError::NoTensors)));
}

#[test]
fn a_plain_pickle_is_no_pth() {
    let err = read(&pickle(b"K\x01")).unwrap_err().to_string();
    assert!(err.contains("magic number"), "{err}");
}
