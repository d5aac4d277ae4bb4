use std::{collections::BTreeMap, fs, path::Path};

use candle::DType;

use super::{Content, PickleError, read};

fn file(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/weights");
    fs::read(dir.join(name)).unwrap()
}

/// The instructions for a string.
fn text(it: &str) -> Vec<u8> {
    [b"X", &(it.len() as u32).to_le_bytes()[..], it.as_bytes()].concat()
}

/// The instructions for an f32 tensor in storage `key`.
fn tensor(key: &str, offset: i32, dims: &[i32], strides: &[i32]) -> Vec<u8> {
    let tuple = |of: &[i32]| {
        let ints = of.iter().flat_map(|it| [b"J", &it.to_le_bytes()[..]].concat());
        [b"(", &ints.collect::<Vec<_>>()[..], b"t"].concat()
    };
    let storage = [b"(", &text("storage")[..], b"ctorch\nFloatStorage\n", &text(key), &text("cpu")];
    let end = [&b"J"[..], &offset.to_le_bytes(), &tuple(dims), &tuple(strides)];
    let class = b"ctorch._utils\n_rebuild_tensor_v2\n(";
    let hooks = b"\x89ccollections\nOrderedDict\n)RtR";
    [class, &storage.concat()[..], b"K\x00tQ", &end.concat(), hooks].concat()
}

/// The instructions for a dictionary whose values are given as instructions.
fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries = entries.iter().flat_map(|(key, it)| [text(key), it.clone()].concat());
    [b"}(", &entries.collect::<Vec<_>>()[..], b"u"].concat()
}

/// A `.pth` file in zip format as `torch.save` writes it: an extra field `FB` in each local header, the
/// sizes in a descriptor after the content, and two end records, 64-bit and 32-bit.
///
/// - `padding`: the length of the first extra field.
fn zip(pickle: &[u8], storages: &[(&str, Vec<f32>)], padding: u16) -> Vec<u8> {
    let bytes = |it: &[f32]| it.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<u8>>();
    let mut entries = vec![("net/data.pkl".to_owned(), pickle.to_vec())];
    entries.extend(storages.iter().map(|(key, it)| (format!("net/data/{key}"), bytes(it))));
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (idx, (name, content)) in entries.iter().enumerate() {
        let start = file.len() as u32;
        let padding = if idx == 0 { padding } else { 11 };
        let n_extra = padding + 4;
        let (crc, n) =
            (crc32fast::hash(content).to_le_bytes(), (content.len() as u32).to_le_bytes());
        let n_name = (name.len() as u16).to_le_bytes();
        file.extend(b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0");
        file.extend([0; 12]);
        file.extend([n_name, n_extra.to_le_bytes()].concat());
        file.extend(name.as_bytes());
        file.extend([b"FB", &padding.to_le_bytes()[..], &vec![b'Z'; padding.into()]].concat());
        file.extend(content);
        file.extend([b"PK\x07\x08", &crc[..], &n, &n].concat());
        directory.extend(b"PK\x01\x02\0\0\0\0\x08\x08\0\0\0\0\0\0");
        directory.extend([&crc[..], &n, &n, &n_name, &[0; 12], &start.to_le_bytes()].concat());
        directory.extend(name.as_bytes());
    }
    let (start, n) = (file.len() as u64, entries.len() as u64);
    file.extend(&directory);
    let end = file.len() as u64;
    let [n_bytes, start] = [directory.len() as u64, start];
    file.extend([b"PK\x06\x06", &44_u64.to_le_bytes()[..], &[0; 12]].concat());
    file.extend([n, n, n_bytes, start].map(u64::to_le_bytes).concat());
    file.extend([b"PK\x06\x07\0\0\0\0", &end.to_le_bytes()[..], &1_u32.to_le_bytes()].concat());
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([n as u16, n as u16].map(u16::to_le_bytes).concat());
    file.extend([n_bytes as u32, start as u32].map(u32::to_le_bytes).concat());
    file.extend([0; 2]);
    file
}

/// A `.pth` file with the object that the instructions build, and a storage `0` of four numbers.
fn pth(instructions: &[u8]) -> Vec<u8> {
    zip(&pickle(instructions), &[("0", vec![1.0, 2.0, 3.0, 4.0])], 5)
}

fn names(content: &Content) -> Vec<&str> {
    content.tensors.iter().map(|it| it.0.as_str()).collect()
}

/// A pickle of protocol 2 with the given instructions.
fn pickle(body: &[u8]) -> Vec<u8> {
    [b"\x80\x02", body, b"."].concat()
}

#[test]
fn both_formats_load_the_saved_tensors() {
    for name in ["zip.pth", "old.pth", "wrapped.pth"] {
        let tensors: BTreeMap<_, _> = read(&file(name)).unwrap().tensors.into_iter().collect();
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
        assert!(!tensors.contains_key("flag"), "{name}: candle has no boolean dtype");
    }
}

#[test]
fn pickle_that_would_execute_code_is_refused_by_name() {
    // The pickle of an object whose `__reduce__` returns (os.system, ("echo",)), in protocols 2 and 4.
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
fn truncated_files_are_errors_at_any_length() {
    for name in ["zip.pth", "old.pth"] {
        let whole = file(name);
        for n in 0..whole.len() {
            // The last bytes of a legacy file may belong to a tensor that is not read.
            if let Ok(Content { tensors, .. }) = read(&whole[..n]) {
                panic!(
                    "{name} truncated to {n} of {} bytes still loads {} tensors",
                    whole.len(),
                    tensors.len()
                );
            }
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    for name in ["zip.pth", "old.pth"] {
        let whole = file(name);
        for idx in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[idx] ^= 0xff;
            // Any result, but no panic, no endless loop, no unbounded memory.
            drop(read(&damaged));
        }
    }
}

#[test]
fn file_without_tensors_is_an_error() {
    assert!(matches!(read(&file("no_tensors.pth")), Err(PickleError::NoTensors)));
}

#[test]
fn plain_pickle_is_not_a_pth_file() {
    let err = read(&pickle(b"K\x01")).unwrap_err().to_string();
    assert!(err.contains("magic number"), "{err}");
}

#[test]
fn headers_may_have_any_padding() {
    let four = dict(&[("a.weight", tensor("0", 0, &[2, 2], &[2, 1]))]);
    for padding in 0..80 {
        let whole = zip(&pickle(&four), &[("0", vec![1.0, 2.0, 3.0, 4.0])], padding);
        let content = read(&whole).unwrap_or_else(|err| panic!("padding {padding}: {err}"));
        testkit::check_close(&content.tensors[0].1, &[1.0, 2.0, 3.0, 4.0], 0.0);
    }
}

#[test]
fn checksum_mismatch_is_an_error() {
    let mut whole = pth(&dict(&[("a.weight", tensor("0", 0, &[4], &[1]))]));
    let at = whole.windows(4).position(|it| it == 3_f32.to_le_bytes()).unwrap();
    whole[at] ^= 1;
    let err = read(&whole).unwrap_err().to_string();
    assert!(err.contains("the checksum of `net/data/0` is wrong"), "{err}");
}

#[test]
fn weights_are_found_in_checkpoints() {
    let one = || tensor("0", 0, &[4], &[1]);
    let net = || dict(&[("conv1.weight", one()), ("fc.bias", one())]);
    let check = |entries: &[(&str, Vec<u8>)], place: &str, ignored: &[&str]| {
        let content = read(&pth(&dict(entries))).unwrap();
        assert_eq!(names(&content), ["conv1.weight", "fc.bias"], "{place}");
        assert_eq!(
            (content.place.as_str(), &content.ignored[..]),
            (place, &ignored.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()[..])
        );
    };
    check(&[("conv1.weight", one()), ("fc.bias", one())], "", &[]);
    check(&[("state_dict", net()), ("best_acc1", one())], "state_dict", &["`best_acc1`"]);
    check(
        &[("class_weights", one()), ("mean", one()), ("std", one()), ("model", net())],
        "model",
        &["`class_weights`", "`mean`", "`std`"],
    );
    check(
        &[("state_dict_ema", net()), ("state_dict", net())],
        "state_dict",
        &["`state_dict_ema` (2 tensors)"],
    );
    check(&[("epoch", b"K\x03".to_vec()), ("state_dict_ema", net())], "state_dict_ema", &[]);
    check(&[("learner", dict(&[("model", net())])), ("x", one())], "learner.model", &["`x`"]);
    let moments = dict(&[("conv1.weight", one()), ("fc.bias", one()), ("a.b", one())]);
    check(&[("optimizer", dict(&[("state", moments)])), ("my_net", net())], "my_net", &[]);

    let two = dict(&[("generator", net()), ("critic", net())]);
    let err = read(&pth(&two)).unwrap_err().to_string();
    assert!(err.contains("several networks (`generator`, `critic`)"), "{err}");
}

#[test]
fn other_objects_in_checkpoints_are_ignored() {
    // argparse.Namespace(lr=1), in protocol 2.
    let args = b"cargparse\nNamespace\n)\x81}X\x02\x00\x00\x00lrK\x01sb".to_vec();
    // numpy.float64(0), in protocol 2.
    let score =
        b"cnumpy._core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x02\x00\x00\x00f8K\x00K\x01tR\
                  (K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\
                  c_codecs\nencode\n(X\x01\x00\x00\x00\x00X\x06\x00\x00\x00latin1tRtR";
    let net = dict(&[("conv1.weight", tensor("0", 0, &[4], &[1]))]);
    let whole = pth(&dict(&[("args", args), ("best", score.to_vec()), ("model", net)]));
    assert_eq!(names(&read(&whole).unwrap()), ["conv1.weight"]);
}

#[test]
fn tensors_outside_their_storage_are_errors() {
    let check = |offset, dims: &[i32], strides: &[i32]| {
        let whole = pth(&dict(&[("a.weight", tensor("0", offset, dims, strides))]));
        read(&whole).map(|it| it.tensors[0].1.dims().to_vec()).map_err(|err| err.to_string())
    };
    assert_eq!(check(1, &[3], &[1]), Ok(vec![3]));
    assert_eq!(check(0, &[2, 2], &[1, 2]), Ok(vec![2, 2]));
    assert_eq!(check(9, &[0, 3], &[1, 1]), Ok(vec![0, 3]));
    let truncated = Err("this `.pth` file is truncated: download it again".to_owned());
    for (offset, dims, strides) in [
        (1, &[4][..], &[1][..]),
        (0, &[2], &[4]),
        (0, &[5], &[0]),
        (i32::MAX, &[1], &[1]),
        (0, &[i32::MAX, i32::MAX, i32::MAX], &[0, 0, 0]),
        (0, &[i32::MAX, i32::MAX, i32::MAX, 0], &[0, 0, 0, 0]),
        (0, &[2, 2, 1], &[i32::MAX, i32::MAX, i32::MAX]),
    ] {
        assert_eq!(check(offset, dims, strides), truncated, "{offset} {dims:?} {strides:?}");
    }
    let negative = check(-1, &[1], &[1]).unwrap_err();
    assert!(negative.contains("a negative size"), "{negative}");
    let many = check(0, &[1; 65], &[1; 65]).unwrap_err();
    assert!(many.contains("too many dimensions"), "{many}");
}

#[test]
fn lengths_beyond_the_end_of_file_are_errors() {
    for claim in [
        &b"\x8b\xff\xff\xff\x7f"[..],
        b"\x8a\xff",
        b"X\xff\xff\xff\xff",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x96\0\0\0\0\0\0\0\x80",
    ] {
        assert!(matches!(read(&pth(claim)), Err(PickleError::Truncated)), "{claim:?}");
    }
}

#[test]
fn deep_nesting_never_overflows_the_stack() {
    let million = 1_000_000;
    let nested = |opens: &[u8], closes: &[u8]| {
        let body = [opens.repeat(million), closes.repeat(million)].concat();
        read(&pth(&body)).unwrap_err()
    };
    // Nested tuples, lists and dictionaries: none of them is dropped recursively.
    assert!(matches!(nested(b")", b"\x86"), PickleError::Malformed(_)));
    assert!(matches!(nested(b"", b"\x85"), PickleError::Malformed(_)));
    assert!(matches!(
        read(&pth(&[b"N".to_vec(), b"\x85".repeat(million)].concat())),
        Err(PickleError::NoTensors)
    ));
    assert!(matches!(nested(b"]", b"a"), PickleError::Malformed(_)));
    assert!(matches!(nested(b"(", b"t"), PickleError::NoTensors));
    let dicts = [b"}".to_vec(), b"X\x05\x00\x00\x00model}".repeat(million), b"s".repeat(million)];
    assert!(matches!(read(&pth(&dicts.concat())), Err(PickleError::NoTensors)));
    // A dictionary that contains itself.
    assert!(matches!(read(&pth(b"}q\x00X\x01\x00\x00\x00ah\x00s")), Err(PickleError::NoTensors)));
}

#[test]
fn small_files_cannot_fill_the_memory() {
    // A tuple of two references to the previous one, 60 times: 2^60 elements if they were copied.
    let doubled = [b"Nq\x00".to_vec(), b"h\x00h\x00\x86q\x00".repeat(60)].concat();
    assert!(matches!(read(&pth(&doubled)), Err(PickleError::NoTensors)));
    // 100,000 dictionaries built from one list of 100,000 pairs.
    let list = [b"](".to_vec(), b"NN\x86".repeat(100_000), b"e\x85q\x00".to_vec()].concat();
    let dicts = b"ccollections\nOrderedDict\nh\x00R".repeat(100_000);
    assert!(matches!(read(&pth(&[list, dicts].concat())), Err(PickleError::TooLarge)));
    // More instructions than the limit.
    assert!(matches!(read(&pth(&b"N".repeat(10_000_001))), Err(PickleError::TooLarge)));
    // 1,000 names of one tensor share it; 1,000 different views are refused.
    let storage = vec![0.5; 1 << 20];
    let of = |view: &dyn Fn(i32) -> Vec<u8>| {
        let entries: Vec<(String, Vec<u8>)> =
            (0..1000).map(|idx| (format!("{idx}.weight"), view(idx))).collect();
        let entries: Vec<(&str, Vec<u8>)> =
            entries.iter().map(|(name, it)| (name.as_str(), it.clone())).collect();
        read(&zip(&pickle(&dict(&entries)), &[("0", storage.clone())], 0))
    };
    assert_eq!(of(&|_| tensor("0", 0, &[1 << 20], &[1])).unwrap().tensors.len(), 1000);
    let other = of(&|idx| tensor("0", 0, &[(1 << 20) - idx], &[1]));
    assert!(matches!(other, Err(PickleError::TooLarge)), "{other:?}");
}

#[test]
fn random_programs_never_panic() {
    // Programs of random instructions, in which valid ones are likely.
    let pieces: Vec<Vec<u8>> = vec![
        b"(".to_vec(),
        b"t".to_vec(),
        b"]".to_vec(),
        b"}".to_vec(),
        b"\x85".to_vec(),
        b"\x86".to_vec(),
        b"e".to_vec(),
        b"a".to_vec(),
        b"s".to_vec(),
        b"u".to_vec(),
        b"0".to_vec(),
        b"2".to_vec(),
        b"q\x00".to_vec(),
        b"h\x00".to_vec(),
        b"\x94".to_vec(),
        b"N".to_vec(),
        b"R".to_vec(),
        b"b".to_vec(),
        b"Q".to_vec(),
        b"ccollections\nOrderedDict\n".to_vec(),
        b"J\xff\xff\xff\x7f".to_vec(),
        text("model"),
        text("a.weight"),
        tensor("0", 0, &[4], &[1]),
    ];
    let mut rng = base::Seed(21).stream("programs");
    for _ in 0..20_000 {
        let n = rand::Rng::random_range(&mut rng, 0..40);
        let mut program = b"}".to_vec();
        for _ in 0..n {
            let idx = rand::Rng::random_range(&mut rng, 0..pieces.len() + 4);
            match pieces.get(idx) {
                Some(it) => program.extend(it),
                None => program.push(rand::Rng::random(&mut rng)),
            }
        }
        // Any result, but no panic, no endless loop, no unbounded memory.
        drop(read(&pth(&program)));
    }
}
