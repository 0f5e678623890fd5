//! Pickles made by hand, most of them hostile.

use super::{Value, read};
use crate::Error;
use crate::torch_file::test_pickles::*;

fn refusal(bytes: &[u8]) -> String {
    read("file.pth", bytes).expect_err("must be refused").to_string()
}

#[test]
fn code_is_refused_by_name() {
    // What `pickle.dumps` makes of an object whose __reduce__ says (os.system, ("rm -rf /",)).
    let text = |s: &str| [&[b'X'][..], &(s.len() as u32).to_le_bytes(), s.as_bytes()].concat();
    let classic = [b"\x80\x02cposix\nsystem\n".to_vec(), text("rm -rf /"), b"\x85R.".to_vec()].concat();
    match read("evil.pth", &classic) {
        Err(Error::Code { file, global }) => {
            assert_eq!((&file[..], &global[..]), ("evil.pth", "posix.system"))
        }
        other => panic!("{other:?}"),
    }
    assert!(refusal(&classic).contains("refusing to run code"));
    let by_stack = [b"\x80\x04".to_vec(), text("builtins"), text("eval"), b"\x93.".to_vec()].concat();
    assert!(refusal(&by_stack).contains("`builtins.eval`"));
    for (module, name) in
        [("os", "system"), ("subprocess", "Popen"), ("__builtin__", "eval"), ("os.path", "join")]
    {
        let bytes = format!("\u{2}c{module}\n{name}\n.").into_bytes();
        assert!(refusal(&bytes[1..]).contains("refusing to run code"), "{module}.{name}");
    }
}

/// The report: an `argparse.Namespace` or a numpy scalar beside the weights, and the file was refused.
#[test]
fn objects_of_other_classes_are_noted_and_nothing_is_called() {
    for (module, name) in [
        ("argparse", "Namespace"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_device_tensor_from_numpy"),
        ("torch", "FloatStorage\u{0}"),
        ("torch.jit", "FloatStorage"),
        ("collections", "OrderedDict.fromkeys"),
    ] {
        for call in
            [&b")R"[..], b")\x81", b")}\x92", b"N\x85R", b")R)R", b")\x81}b", b")R(NNe", b")R(K\x01Nu"]
        {
            let bytes = [format!("c{module}\n{name}\n").as_bytes(), call, b"."].concat();
            let pickle = read("", &bytes).unwrap();
            assert_eq!(pickle.empty_foreign(pickle.root), Some((module, name)), "{call:?}");
        }
    }
    assert!(refusal(b"carg\nparse\nNR.").contains("without a tuple"));
}

#[test]
fn a_foreign_object_holds_what_was_put_into_it() {
    // A dictionary's child, filled; and an object with attributes, as argparse.Namespace and whole modules have them.
    for bytes in [&b"cmine\nDict\n)\x81(K\x01}u."[..], b"cmine\nDict\n)R}K\x01}sb."] {
        let pickle = read("", bytes).unwrap();
        let keys: Vec<Value> = pickle.dict(pickle.root).unwrap().map(|(key, _)| key).collect();
        assert_eq!(keys, [Value::Int(1)]);
    }
    // Its own state, over and over.
    let own = read("", b"cmine\nDict\n)R}K\x01}sbq\x00K\x02h\x00sh\x00bh\x00b.").unwrap();
    assert_eq!(own.dict(own.root).unwrap().count(), 2);
}

#[test]
fn opcodes_of_sets_bytes_and_large_integers_are_read() {
    for bytes in [
        &b"\x8f(NN\x90."[..],
        b"(NN\x91.",
        b"C\x02ab.",
        b"U\x02\xff\xff.",
        b"B\x01\x00\x00\x00a.",
        b"T\x01\x00\x00\x00a.",
        b"\x8e\x01\x00\x00\x00\x00\x00\x00\x00a.",
        b"\x96\x01\x00\x00\x00\x00\x00\x00\x00a.",
        b"\x8d\x01\x00\x00\x00\x00\x00\x00\x00a.",
        b"\x8b\x01\x00\x00\x00a.",
        b"\x8a\x09123456789.",
        b"NN0.",
        b"N2.",
        b"N(NN1.",
    ] {
        assert!(read("", bytes).is_ok(), "{bytes:?}");
        for len in 0..bytes.len() {
            assert!(read("", &bytes[..len]).is_err(), "{bytes:?} cut to {len}");
        }
    }
    assert!(refusal(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.").contains("a string of"));
    assert!(refusal(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.").contains("inside a string"));
}

#[test]
fn opcodes_of_other_protocols_are_unknown() {
    // INST, OBJ, EXT1, EXT2, EXT4, PERSID, those of protocol 0, NEXT_BUFFER.
    for opcode in b"io\x82\x83\x84PFILSV\x97" {
        assert!(refusal(&[b'(', *opcode, b'.']).contains("opcode 0x"), "{opcode:#x}");
    }
}

#[test]
fn stack_and_memo_errors_are_errors() {
    for (bytes, what) in [
        (&b"."[..], "missing"),
        (b"t.", "mark is missing"),
        (b"\x85.", "values are missing"),
        (b"(\x85.", "values are missing"),
        (b"N(.", "missing after a mark"),
        (b"h\x07.", "nothing was remembered"),
        (b"q\x00.", "nothing to remember"),
        (b"NNs.", "not a dictionary"),
        (b"}(Nu.", "not a dictionary"),
        (b"NNa.", "not a list"),
        (b"NNb.", "has none"),
        (b"NNR.", "without a tuple"),
        (b"N)R.", "not a function"),
        (b"K\x01Q.", "does not name a storage"),
        (b"X\xff\xff\xff\xff.", "a string of"),
        (b"X\x05\x00\x00\x00abc", "inside a string"),
        (b"X\x01\x00\x00\x00\xff.", "not UTF-8"),
        (b"ctorch", "does not end"),
        (b"\x80\x09.", "protocol 9"),
        (b"", "ends too early"),
    ] {
        let message = refusal(bytes);
        assert!(message.contains(what), "{bytes:?}: {message}");
    }
}

#[test]
fn integers_of_all_widths() {
    for (bytes, expected) in [
        (&b"K\xff."[..], 255),
        (b"M\xff\xff.", 65_535),
        (b"J\xff\xff\xff\xff.", -1),
        (b"\x8a\x00.", 0),
        (b"\x8a\x01\xff.", -1),
        (b"\x8a\x05\x00\x00\x00\x00\x01.", 1 << 32),
    ] {
        assert_eq!(read("", bytes).unwrap().root, Value::Int(expected), "{bytes:?}");
    }
}

#[test]
fn depth_costs_nothing_and_amount_is_limited() {
    // A tuple in a tuple in a tuple …: reading and dropping must not recurse.
    let mut deep = vec![b')'];
    deep.extend(vec![0x85; 500_000]);
    deep.push(b'.');
    assert!(read("", &deep).is_ok());
    let many = vec![b'N'; (1 << 20) + 2];
    assert!(refusal(&many).contains("values; damaged or hostile"));
    let marks = vec![b'('; (1 << 20) + 2];
    assert!(refusal(&marks).contains("values; damaged or hostile"));
    let objects: Vec<u8> = (0..(1 << 20) + 2).flat_map(|_| *b"}q\x00").collect();
    assert!(refusal(&objects).contains("values; damaged or hostile"));
}

#[test]
fn a_number_for_the_memo_on_the_files_word_alone_is_refused() {
    assert!(refusal(b"Nr\xff\xff\xff\x7f.").contains("out of order"));
}

#[test]
fn a_value_stays_small() {
    // What the limit of 64 bytes per byte of the pickle stands on.
    assert_eq!((size_of::<Value>(), size_of::<Option<Value>>()), (16, 16));
    assert!(size_of::<super::Object>() <= 12 && size_of::<super::arena::Entry>() <= 24);
}

#[test]
fn a_dictionary_may_hold_itself() {
    let pickle = read("", b"}q\x00K\x01h\x00s.").unwrap();
    let entries: Vec<_> = pickle.dict(pickle.root).unwrap().collect();
    assert_eq!(entries, [(Value::Int(1), pickle.root)]);
}

#[test]
fn any_damage_to_a_real_pickle_is_survived() {
    let valid =
        state_dict(&[("a", tensor("FloatStorage", "0", 6, 0, &[2, 3], &[3, 1])), ("b", tensor_of("1", 4))]);
    assert!(read("", &valid).is_ok());
    for len in 0..valid.len() {
        assert!(read("", &valid[..len]).is_err(), "cut to {len} bytes");
    }
    for at in 0..valid.len() {
        for bit in 0..8 {
            let mut damaged = valid.clone();
            damaged[at] ^= 1 << bit;
            let _ = read("", &damaged);
        }
    }
}
