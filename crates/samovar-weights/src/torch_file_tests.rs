//! PyTorch files made by hand: the shapes they come in, and damage of every kind.

use super::test_pickles::*;
use crate::{Checkpoint, Error, WeightSource};

fn open(bytes: Vec<u8>) -> crate::Result<Checkpoint> {
    Checkpoint::from_bytes("weights.pth", bytes)
}

fn refusal(bytes: Vec<u8>) -> String {
    match open(bytes) {
        Ok(checkpoint) => panic!("read {:?}", checkpoint.names()),
        Err(error) => error.to_string(),
    }
}

/// A file of one tensor over a storage of `values`.
fn file_of(tensor: Vec<u8>, values: &[f32]) -> Vec<u8> {
    archive(&[("data.pkl", &state_dict(&[("w", tensor)])), ("data/0", &floats(values))])
}

fn values(checkpoint: &Checkpoint, name: &str, shape: &[usize]) -> Vec<f32> {
    checkpoint.tensor(name, shape).unwrap().to_f32_vec().unwrap()
}

#[test]
fn reads_what_torch_save_writes() {
    let bytes = archive(&[
        (
            "data.pkl",
            &state_dict(&[
                ("a", tensor("FloatStorage", "0", 6, 0, &[2, 3], &[3, 1])),
                ("tail", tensor("FloatStorage", "0", 6, 4, &[2], &[1])),
                ("steps", tensor("LongStorage", "1", 1, 0, &[], &[])),
            ]),
        ),
        ("byteorder", b"little"),
        ("data/0", &floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        ("data/1", &7i64.to_le_bytes()),
        ("version", b"3\n"),
    ]);
    let checkpoint = open(bytes).unwrap();
    assert_eq!(checkpoint.names(), ["a", "steps", "tail"]);
    assert_eq!(values(&checkpoint, "a", &[2, 3]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(values(&checkpoint, "tail", &[2]), [5.0, 6.0]);
    assert_eq!(values(&checkpoint, "steps", &[]), [7.0]);
}

#[test]
fn views_that_are_not_contiguous_are_gathered() {
    let stored = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let transposed = open(file_of(tensor("FloatStorage", "0", 6, 0, &[3, 2], &[1, 3]), &stored)).unwrap();
    assert_eq!(values(&transposed, "w", &[3, 2]), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    let every_other = open(file_of(tensor("FloatStorage", "0", 6, 1, &[3], &[2]), &stored)).unwrap();
    assert_eq!(values(&every_other, "w", &[3]), [2.0, 4.0, 6.0]);
    // Strides of dimensions of one element say nothing.
    let column = open(file_of(tensor("FloatStorage", "0", 6, 0, &[1, 3], &[77, 1]), &stored)).unwrap();
    assert_eq!(values(&column, "w", &[1, 3]), [1.0, 2.0, 3.0]);
}

#[test]
fn tensors_of_nested_dictionaries_are_named_by_the_path_to_them() {
    let inner = || dict(&[("w", tensor_of("0", 2))]);
    let storage = floats(&[1.0, 2.0]);
    let names =
        |body: Vec<u8>| open(archive(&[("data.pkl", &pickle(body)), ("data/0", &storage)])).unwrap().names();
    assert_eq!(names(dict(&[("epoch", int(3)), ("model", inner())])), ["model.w"]);
    assert_eq!(names(dict(&[("ema", dict(&[("module", inner())]))])), ["ema.module.w"]);
    assert_eq!(names(dict(&[("encoder", inner()), ("decoder", inner())])), ["decoder.w", "encoder.w"]);
    // A module pickled whole, class and all, as torch.save(model) does: its state dict lies in its attributes.
    let object =
        |state: &[(&str, Vec<u8>)]| [b"cmine\nModel\n)\x81".to_vec(), dict(state), b"b".to_vec()].concat();
    let part = object(&[("_parameters", inner()), ("_modules", dict(&[]))]);
    assert_eq!(
        names(object(&[("training", b"\x88".to_vec()), ("_modules", dict(&[("head", part)]))])),
        ["head.w"]
    );
}

#[test]
fn tensors_with_attributes_are_read_and_those_of_other_classes_are_not() {
    let of_class = |class: &str| {
        let plain = tensor_of("0", 2);
        // Function and arguments, without the call.
        let (function, arguments) =
            plain[..plain.len() - 1].split_at(b"ctorch._utils\n_rebuild_tensor_v2\n".len());
        let class = format!("c{class}").into_bytes();
        let items = [function.to_vec(), class, arguments.to_vec(), b"}".to_vec()];
        [b"ctorch._tensor\n_rebuild_from_type_v2\n".to_vec(), tuple(&items), b"R".to_vec()].concat()
    };
    let open_of = |class| open(file_of(of_class(class), &[1.0, 2.0]));
    assert_eq!(values(&open_of("torch\nTensor\n").unwrap(), "w", &[2]), [1.0, 2.0]);
    assert!(open_of("mine\nLogTensor\n").err().unwrap().to_string().contains("mine.LogTensor"));
}

/// The report: weights beside an `argparse.Namespace` or a numpy scalar were refused.
#[test]
fn objects_beside_the_weights_are_an_error_only_when_asked_for() {
    let scalar = [
        b"cnumpy._core.multiarray\nscalar\n(cnumpy\ndtype\n".to_vec(),
        [tuple(&[text("f8"), b"\x89".to_vec(), b"\x88".to_vec()]), b"R".to_vec()].concat(),
        [tuple(&[int(3), text("<"), b"N".to_vec()]), b"b".to_vec()].concat(),
        [b"c_codecs\nencode\n".to_vec(), tuple(&[text("x"), text("latin1")]), b"RtR".to_vec()].concat(),
    ];
    let namespace =
        [b"cargparse\nNamespace\n)\x81".to_vec(), dict(&[("lr", int(1))]), b"b".to_vec()].concat();
    // A tensor whose storage is of a type that is not read.
    let foreign = tensor("QInt8Storage", "0", 2, 0, &[2], &[1]);
    let bytes = archive(&[
        (
            "data.pkl",
            &state_dict(&[
                ("args", namespace),
                ("best_iou", scalar.concat()),
                ("q", foreign),
                ("w", tensor_of("0", 2)),
            ]),
        ),
        ("data/0", &floats(&[1.0, 2.0])),
    ]);
    let checkpoint = open(bytes).unwrap();
    assert_eq!(checkpoint.names(), ["w"]);
    assert_eq!(values(&checkpoint, "w", &[2]), [1.0, 2.0]);
    for (name, class) in [
        ("args", "argparse.Namespace"),
        ("best_iou", "numpy._core.multiarray.scalar"),
        ("q", "torch.QInt8Storage"),
    ] {
        let error = checkpoint.tensor(name, &[2]).unwrap_err().to_string();
        assert!(error.contains(class) && error.contains("state_dict()"), "{error}");
    }
    let nothing = archive(&[("data.pkl", &pickle(b"cmine\nModel\n)R".to_vec()))]);
    assert!(refusal(nothing).contains("only an object of `mine.Model`"));
}

/// The report: a file of f64 was "expected SAM, found a SAM checkpoint".
#[test]
fn f64_becomes_f32_and_never_infinite() {
    let stored = [0.1f64, -1e-50, f64::INFINITY, 3.0, 1e300, f64::from(f32::MAX)];
    let bytes: Vec<u8> = stored.iter().flat_map(|value| value.to_le_bytes()).collect();
    let file = |tensor| archive(&[("data.pkl", &state_dict(&[("w", tensor)])), ("data/0", &bytes)]);
    let four = open(file(tensor("DoubleStorage", "0", 6, 0, &[4], &[1]))).unwrap();
    assert_eq!(values(&four, "w", &[4]), [0.1f32, -0.0, f32::INFINITY, 3.0]);
    let view = open(file(tensor("DoubleStorage", "0", 6, 0, &[2, 2], &[1, 2]))).unwrap();
    assert_eq!(values(&view, "w", &[2, 2]), [0.1, f32::INFINITY, -0.0, 3.0]);
    let all = open(file(tensor("DoubleStorage", "0", 6, 0, &[6], &[1]))).unwrap();
    let error = all.tensor("w", &[6]).unwrap_err().to_string();
    assert!(error.contains("1e300, which is more than f32 can hold"), "{error}");
}

#[test]
fn parameters_and_ordered_dictionaries_are_read() {
    let parameter = [
        b"ctorch._utils\n_rebuild_parameter\n".to_vec(),
        tuple(&[tensor_of("0", 2), b"\x88".to_vec(), b"ccollections\nOrderedDict\n)R".to_vec()]),
        b"R".to_vec(),
    ];
    // OrderedDict(), item by item, then its attribute _metadata, as a module's state dict has it.
    let body =
        [b"ccollections\nOrderedDict\n)R".to_vec(), text("w"), parameter.concat(), b"s".to_vec()].concat();
    let body = [body, dict(&[("_metadata", b"}".to_vec())]), b"b".to_vec()].concat();
    let bytes = archive(&[("data.pkl", &pickle(body)), ("data/0", &floats(&[1.0, 2.0]))]);
    assert_eq!(values(&open(bytes).unwrap(), "w", &[2]), [1.0, 2.0]);
}

#[test]
fn code_in_a_file_is_refused() {
    let evil = [b"cos\nsystem\n".to_vec(), tuple(&[text("echo")]), b"R".to_vec()].concat();
    let bytes = file_of(evil, &[]);
    match open(bytes) {
        Err(Error::Code { global, .. }) => assert_eq!(global, "os.system"),
        other => panic!("{:?}", other.map(|checkpoint| checkpoint.names())),
    }
}

#[test]
fn tensors_that_leave_their_storage_are_refused() {
    let six = [0.0; 6];
    for (what, tensor) in [
        ("too long", tensor("FloatStorage", "0", 6, 0, &[7], &[1])),
        ("offset", tensor("FloatStorage", "0", 6, 6, &[1], &[1])),
        ("offset beyond everything", tensor("FloatStorage", "0", 6, i64::MAX, &[1], &[1])),
        ("stride", tensor("FloatStorage", "0", 6, 0, &[2], &[6])),
        ("stride overflow", tensor("FloatStorage", "0", 6, 0, &[3], &[i64::MAX])),
        ("no stride, so that a byte becomes a gigabyte", tensor("FloatStorage", "0", 6, 0, &[1 << 28], &[0])),
    ] {
        assert!(refusal(file_of(tensor, &six)).contains("leaves its storage"), "{what}");
    }
    for (what, tensor) in [
        ("negative size", tensor("FloatStorage", "0", 6, 0, &[-1], &[1])),
        ("negative stride", tensor("FloatStorage", "0", 6, 5, &[6], &[-1])),
        ("negative offset", tensor("FloatStorage", "0", 6, -1, &[1], &[1])),
        ("ranks differ", tensor("FloatStorage", "0", 6, 0, &[2, 3], &[1])),
        ("a hundred dimensions", tensor("FloatStorage", "0", 6, 0, &[1; 100], &[1; 100])),
    ] {
        assert!(refusal(file_of(tensor, &six)).contains("impossible"), "{what}");
    }
    let truncated = file_of(tensor("FloatStorage", "0", 7, 0, &[7], &[1]), &six);
    assert!(refusal(truncated).contains("7 elements in 24 bytes"));
    let overflowing = file_of(tensor("FloatStorage", "0", i64::MAX, 0, &[7], &[1]), &six);
    assert!(refusal(overflowing).contains("truncated?"));
    let elsewhere = file_of(tensor("FloatStorage", "../../etc/passwd", 6, 0, &[6], &[1]), &six);
    assert!(refusal(elsewhere).contains("is not in the file"));
}

#[test]
fn an_impossible_shape_is_no_error_until_it_is_asked_for() {
    for (shape, what) in
        [(&[1 << 40, 1 << 40], "too many dimensions or elements"), (&[0, i64::MAX], "no elements")]
    {
        let tensor = tensor("FloatStorage", "0", 6, i64::MAX, shape, &[1, 1]);
        let checkpoint = open(file_of(tensor, &[0.0; 6])).unwrap();
        let error = checkpoint.tensor("w", &[6]).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    let bools = archive(&[
        (
            "data.pkl",
            &state_dict(&[("d", tensor("BoolStorage", "0", 8, 0, &[8], &[1])), ("w", tensor_of("0", 2))]),
        ),
        ("data/0", &[0; 8]),
    ]);
    let checkpoint = open(bools).unwrap();
    assert!(checkpoint.tensor("d", &[8]).unwrap_err().to_string().contains("type Bool"));
    assert_eq!(values(&checkpoint, "w", &[2]), [0.0, 0.0]);
}

#[test]
fn two_tensors_of_one_name_are_refused() {
    let bytes = archive(&[
        ("data.pkl", &state_dict(&[("w", tensor_of("0", 1)), ("w", tensor_of("0", 1))])),
        ("data/0", &floats(&[1.0])),
    ]);
    assert!(refusal(bytes).contains("two tensors `w`"));
    let nested = state_dict(&[("a.w", tensor_of("0", 1)), ("a", dict(&[("w", tensor_of("0", 1))]))]);
    assert!(
        refusal(archive(&[("data.pkl", &nested), ("data/0", &floats(&[1.0]))])).contains("two tensors `a.w`")
    );
}

#[test]
fn nesting_without_end_ends() {
    // d0 = {}; d(n + 1) = {"l": d(n), "r": d(n)}: thirty levels are a thousand million paths.
    let mut body = b"}q\x00".to_vec();
    for level in 0..30u8 {
        body.extend([b"}(".to_vec(), text("l"), vec![b'h', level], text("r"), vec![b'h', level]].concat());
        body.extend([b'u', b'q', level + 1]);
    }
    assert!(open(archive(&[("data.pkl", &pickle(body))])).is_err());
    // A dictionary that holds itself, beside a tensor.
    let body =
        [b"}q\x00(".to_vec(), text("self"), b"h\x00".to_vec(), text("w"), tensor_of("0", 1), b"u".to_vec()];
    let checkpoint =
        open(archive(&[("data.pkl", &pickle(body.concat())), ("data/0", &floats(&[1.0]))])).unwrap();
    assert!(checkpoint.contains("w"));
    // The same, wide enough that its paths cannot all be followed.
    let mut body = b"}q\x00(".to_vec();
    for key in 0..20 {
        body.extend([text(&format!("k{key}")), b"h\x00".to_vec()].concat());
    }
    body.push(b'u');
    assert!(refusal(archive(&[("data.pkl", &pickle(body))])).contains("beyond all measure"));
}

#[test]
fn other_archives_are_told_apart() {
    assert!(refusal(archive(&[("model.txt", b"hello")])).contains("without data.pkl"));
    let script = archive(&[("data.pkl", &state_dict(&[])), ("constants.pkl", b""), ("code/model.py", b"")]);
    assert!(refusal(script).contains("TorchScript"));
    let big = archive(&[("data.pkl", &state_dict(&[])), ("byteorder", b"big")]);
    assert!(refusal(big).contains("big-endian"));
    assert!(refusal(archive(&[("data.pkl", &state_dict(&[("epoch", int(1))]))])).contains("no tensors"));
    assert!(refusal(archive(&[("data.pkl", &pickle(int(1)))])).contains("found a plain value"));
    assert!(
        refusal(archive(&[("data.pkl", &pickle(tensor_of("0", 1))), ("data/0", &[0; 4])]))
            .contains("found a tensor")
    );
    assert!(refusal(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec()).contains("before 1.6"));
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    assert!(refusal(tar).contains("before 1.6"));
}

#[test]
fn any_damage_to_an_archive_is_survived() {
    let valid = file_of(tensor("FloatStorage", "0", 6, 0, &[2, 3], &[3, 1]), &[1.0; 6]);
    assert!(open(valid.clone()).is_ok());
    for len in 0..valid.len() {
        assert!(open(valid[..len].to_vec()).is_err(), "cut to {len} bytes");
    }
    for at in 0..valid.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = valid.clone();
            damaged[at] ^= flip;
            if let Ok(checkpoint) = open(damaged) {
                for name in checkpoint.names() {
                    let _ = checkpoint.any_tensor(&name);
                }
            }
        }
    }
}

#[test]
fn compressed_entries_are_refused() {
    let mut bytes = file_of(tensor_of("0", 1), &[1.0]);
    // The method stands at offset 8 of every local header and 10 of every central one.
    for at in 0..bytes.len() - 12 {
        match &bytes[at..at + 4] {
            b"PK\x03\x04" => bytes[at + 8] = 8,
            b"PK\x01\x02" => bytes[at + 10] = 8,
            _ => {}
        }
    }
    assert!(refusal(bytes).contains("compressed"));
}
