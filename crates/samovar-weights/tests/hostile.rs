//! Files made to take more memory or time than their size calls for: 64 times the input, and time that grows as the file.

use std::time::Duration;

use samovar_testkit::{MeteredAllocator, cpu_time, peak_bytes};
use samovar_weights::{Checkpoint, NameMap, Renamed, Rule, WeightSource};

#[global_allocator]
static ALLOCATOR: MeteredAllocator = MeteredAllocator;

#[allow(dead_code, reason = "shared with the tests inside the crate, which need all of it")]
#[path = "../src/torch_file/test_pickles.rs"]
mod test_pickles;
use test_pickles::*;

/// Most memory: this many times the file,
const MEMORY_FACTOR: usize = 64;
/// and this much.
const MEMORY_BYTES: usize = 1 << 20;
/// Length of the larger file of a pair; the limit of the test on what is quadratic.
const LARGE_BYTES: usize = 1 << 21;
/// Most time per byte, debug builds on slow machines included. Where work grows with the square of [`LARGE_BYTES`], or
/// with their product with the longest string, it is seconds.
const MAX_TIME_PER_BYTE: Duration = Duration::from_nanos(if cfg!(debug_assertions) { 10_000 } else { 1000 });

fn read(bytes: Vec<u8>) -> Option<Checkpoint> {
    Checkpoint::from_bytes("hostile", bytes).ok()
}

/// Reads files of some and of twice as many bytes, and measures both.
fn check(what: &str, file_of_bytes: impl Fn(usize) -> Vec<u8>, work: impl Fn(Vec<u8>)) {
    for bytes in [LARGE_BYTES / 4, LARGE_BYTES / 2, LARGE_BYTES] {
        let file = file_of_bytes(bytes);
        let len = file.len();
        assert!(len > bytes / 4 && len < 4 * bytes, "{what}: a file of {len} bytes instead of {bytes}");
        let (((), time), memory) = peak_bytes(|| cpu_time(|| work(file)));
        let factor = memory as f64 / len as f64;
        println!(
            "{what}: {len} bytes, memory {factor:.1} times, {:.1} ns/byte",
            time.as_nanos() as f64 / len as f64
        );
        assert!(
            memory <= MEMORY_FACTOR * len + MEMORY_BYTES,
            "{what}: {len} bytes of file took {memory} of memory"
        );
        assert!(time <= MAX_TIME_PER_BYTE * len as u32, "{what}: {len} bytes took {time:?}");
    }
}

fn check_file(what: &str, file_of_bytes: impl Fn(usize) -> Vec<u8>) {
    check(what, file_of_bytes, |file| drop(read(file)));
}

/// As [`check_file`], for a pickle: `head`, then `part` of 0, 1, 2 and so on, then `tail`.
fn check_pickle(what: &str, head: &[u8], part: impl Fn(u32) -> Vec<u8>, tail: &[u8]) {
    check_file(what, |bytes| {
        let mut body = head.to_vec();
        let mut index = 0;
        while body.len() + tail.len() < bytes {
            body.extend(part(index));
            index += 1;
        }
        body.extend(tail);
        archive(&[("data.pkl", &pickle(body)), ("data/0", &floats(&[1.0]))])
    });
}

/// A tensor of the storage `data/0`, remembered as 1 and taken off the stack again by a dictionary that is nobody's.
fn remembered_tensor() -> Vec<u8> {
    [b"}".to_vec(), text("x"), tensor_of("0", 1), b"q\x01s".to_vec()].concat()
}

/// A short text that is another for every number.
fn short(number: u32) -> Vec<u8> {
    text(&format!("{number:x}"))
}

#[test]
fn a_long_prefix_is_not_copied_for_every_tensor() {
    // 571 kB took more than 3 GB.
    let head = [b"}(".to_vec(), text(&"p".repeat(65_000)), b"}(".to_vec()].concat();
    let head = [remembered_tensor(), head].concat();
    check_pickle("a long prefix", &head, |index| [short(index), b"h\x01".to_vec()].concat(), b"uu");
    // The same, eight levels deep.
    let level = [b"}(".to_vec(), text(&"p".repeat(40_000))].concat();
    let head = [remembered_tensor(), level.repeat(7), b"}(".to_vec()].concat();
    check_pickle("long prefixes", &head, |index| [short(index), b"h\x01".to_vec()].concat(), b"uuuuuuuu");
}

#[test]
fn a_long_prefix_of_dictionaries_is_not_copied_for_each() {
    let head = [b"}(".to_vec(), text(&"p".repeat(65_000)), b"}(".to_vec()].concat();
    let part = |index| [short(index), b"}".to_vec()].concat();
    check_pickle("a prefix of dictionaries", &head, part, b"uu");
}

#[test]
fn a_long_name_that_is_remembered_is_not_copied_for_every_use() {
    let name = [text(&"k".repeat(65_000)), b"q\x02".to_vec()].concat();
    let head = [remembered_tensor(), b"}(".to_vec(), name, b"h\x01".to_vec()].concat();
    check_pickle("one name", &head, |_| b"h\x02h\x01".to_vec(), b"u");
    let part = |index| [short(index), b"}h\x02h\x01s".to_vec()].concat();
    check_pickle("one name in many dictionaries", &head, part, b"u");
}

#[test]
fn a_dictionary_that_many_share_is_not_walked_for_each() {
    // Half of the file is a dictionary of tensors, the other half uses it over and over.
    check_file("a shared dictionary", |bytes| {
        let mut inner = b"}q\x03(".to_vec();
        let mut outer = b"}(".to_vec();
        for index in 0.. {
            inner.extend([short(index), b"h\x01".to_vec()].concat());
            outer.extend([short(index), b"h\x03".to_vec()].concat());
            if inner.len() + outer.len() > bytes {
                break;
            }
        }
        let body = [remembered_tensor(), inner, b"u".to_vec(), outer, b"u".to_vec()].concat();
        archive(&[("data.pkl", &pickle(body)), ("data/0", &floats(&[1.0]))])
    });
    // A hundred bytes of dictionaries in each other are a thousand million paths; the rest is padding.
    let mut head = b"}q\x00".to_vec();
    for level in 0..8u8 {
        head.extend(b"}(");
        for key in 0..8u8 {
            head.extend([b"K".to_vec(), vec![key], vec![b'h', level]].concat());
        }
        head.extend([b'u', b'q', level + 1]);
    }
    check_pickle("paths", &head, |_| vec![b'h', 8], b"");
}

/// A class is named once and its objects are many.
#[test]
fn a_long_name_of_a_class_is_not_copied_for_every_object() {
    let class = format!("c{}\n{}\n)Rq\x02", "m".repeat(60_000), "n".repeat(60_000)).into_bytes();
    let head = [remembered_tensor(), class, b"0}(".to_vec()].concat();
    check_pickle("one class", &head, |index| [short(index), b"h\x02".to_vec()].concat(), b"u");
}

#[test]
fn arguments_of_calls_are_not_copied() {
    // 248 kB took seconds: a call of five bytes copied a tuple of a hundred thousand values.
    check_file("a long tuple of arguments", |bytes| {
        let class = b"ctorch._utils\n_rebuild_parameter\nq\x01";
        let tuple = [b"(".to_vec(), vec![b'N'; bytes / 2], b"tq\x02".to_vec()].concat();
        let calls = b"h\x01h\x02R".repeat(bytes / 10);
        let body = [b"}".to_vec(), class.to_vec(), tuple, calls].concat();
        archive(&[("data.pkl", &pickle(body)), ("data/0", &floats(&[1.0]))])
    });
    let shape = [b"(".to_vec(), b"K\x01".repeat(100_000), b"tq\x04".to_vec()].concat();
    let head = [b"}".to_vec(), b"ctorch._utils\n_rebuild_tensor_v2\nq\x01".to_vec(), shape].concat();
    check_pickle("a long shape", &head, |_| b"h\x01(h\x04K\x00h\x04h\x04tR".to_vec(), b"");
}

#[test]
fn a_long_storage_key_or_folder_is_not_copied_for_every_tensor() {
    let key = "7".repeat(60_000);
    let tensor = tensor("FloatStorage", &key, 1, 0, &[1], &[1]);
    let head = [b"}".to_vec(), text("x"), tensor, b"q\x01s}(".to_vec()].concat();
    let entry = |index| [short(index), b"h\x01".to_vec()].concat();
    check_file("a long key", |bytes| {
        let mut body = head.clone();
        (0..bytes as u32 / 8).for_each(|index| body.extend(entry(index)));
        body.push(b'u');
        archive(&[("data.pkl", &pickle(body)), (&format!("data/{key}"), &floats(&[1.0]))])
    });
    check_file("a long folder", |bytes| {
        let folder = "f".repeat(60_000);
        let mut body = [remembered_tensor(), b"}(".to_vec()].concat();
        (0..bytes as u32 / 8).for_each(|index| body.extend(entry(index)));
        body.push(b'u');
        let (pkl, data) = (format!("{folder}/data.pkl"), format!("{folder}/data/0"));
        archive(&[(&pkl, &pickle(body)), (&data, &floats(&[1.0]))])
    });
}

#[test]
fn every_opcode_costs_about_its_own_bytes() {
    let nothing: &[u8] = b"";
    for (what, head, part) in [
        ("values", nothing, &b"N"[..]),
        ("marks", b"", b"("),
        ("dictionaries", b"", b"}"),
        ("lists", b"", b"]"),
        ("empty tuples", b"", b")"),
        ("tuples in tuples", b")", b"\x85"),
        ("tuples of three", b"", b"NNN\x87"),
        ("tuples of sixteen", b"", b"(NNNNNNNNNNNNNNNNt"),
        ("the memo", b"N", b"\x94"),
        ("the memo again and again", b"N", b"q\x00"),
        ("recalls", b"Nq\x00", b"h\x00"),
        ("integers", b"", b"\x8a\x00"),
        ("texts", b"", b"\x8c\x00"),
        ("a dictionary, entry by entry", b"}", b"K\x00}s"),
        ("a dictionary of dictionaries", b"}(", b"K\x00}"),
        ("a list, item by item", b"]", b"Na"),
        ("a list of long lists", b"](", b"N"),
        ("attributes", b"}", b"}b"),
        ("classes", b"", b"ctorch\nIntStorage\n"),
        ("foreign classes", b"", b"c\n\n"),
        ("foreign classes of the stack", b"X\x00\x00\x00\x00q\x00", b"h\x00h\x00\x93"),
        ("foreign objects", b"c\n\nq\x00)q\x01", b"h\x00h\x01R"),
        ("foreign objects of foreign objects", b"c\n\n)q\x01R", b"h\x01R"),
        ("foreign objects in a dictionary", b"c\n\n)Rq\x00}(", b"K\x00h\x00"),
        ("a foreign object, entry by entry", b"c\n\n)R", b"K\x00}s"),
        ("states of foreign objects", b"}q\x00K\x00h\x00sc\n\n)R", b"h\x00b"),
        ("bytes", b"", b"C\x00"),
        ("sets", b"", b"\x8f"),
        ("copies", b"N", b"2"),
        ("calls", b"ccollections\nOrderedDict\nq\x00)q\x01", b"h\x00h\x01R"),
        (
            "storages",
            b"(X\x07\x00\x00\x00storagectorch\nIntStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tq\x00",
            b"h\x00Q",
        ),
        (
            "tensors",
            b"ctorch._utils\n_rebuild_tensor_v2\nq\x03((X\x07\x00\x00\x00storagectorch\nIntStorage\n\
              X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQK\x00(K\x01K\x01K\x01K\x01K\x01K\x01t(K\x01K\x01K\x01K\x01K\x01K\x01\
              ttq\x04",
            b"h\x03h\x04R",
        ),
    ] {
        check_pickle(what, head, |_| part.to_vec(), b"");
    }
    // Numbers of the memo as large as they get, each once.
    check_pickle(
        "the memo backwards",
        b"N",
        |index| [&b"r"[..], &(1_000_000 - index).to_le_bytes()].concat(),
        b"",
    );
}

#[test]
fn tensors_of_few_bytes_cost_few_bytes() {
    let head = [remembered_tensor(), b"}(".to_vec()].concat();
    check_pickle("tensors", &head, |index| [short(index), b"h\x01".to_vec()].concat(), b"u");
    let head = [remembered_tensor(), b"}(".to_vec()].concat();
    let part =
        |index: u32| [b"M".to_vec(), (index as u16).to_le_bytes().to_vec(), b"h\x01".to_vec()].concat();
    check_pickle("numbered tensors", &head, part, b"u");
    check_pickle(
        "tensors as torch.save writes them",
        b"}(",
        |index| [short(index), tensor_of("0", 1)].concat(),
        b"u",
    );
}

#[test]
fn many_entries_of_an_archive_cost_about_their_own_bytes() {
    check_file("entries", |bytes| {
        let pickled = state_dict(&[("w", tensor_of("0", 1))]);
        let names: Vec<String> =
            (0..(bytes / 100).min(60_000)).map(|index| format!("data/{index:x}")).collect();
        let mut entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
        entries[0].1 = &[0; 4];
        entries.push(("data.pkl", &pickled));
        archive(&entries)
    });
    check_file("entries with long names", |bytes| {
        let pickled = state_dict(&[("w", tensor_of("0", 1))]);
        let long = "n".repeat(8_000);
        let names: Vec<String> = (0..bytes / 16_100).map(|index| format!("data/{long}{index:x}")).collect();
        let mut entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
        entries.push(("data.pkl", &pickled));
        archive(&entries)
    });
}

/// A safetensors file of this header and nothing else.
fn header(text: String) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A safetensors header of as many `part`s as fit.
fn repeated(bytes: usize, head: &str, part: impl Fn(usize) -> String, tail: &str) -> Vec<u8> {
    let mut text = head.to_owned();
    for index in 0.. {
        if text.len() + tail.len() >= bytes {
            break;
        }
        let comma = if index > 0 { "," } else { "" };
        text = text + comma + &part(index);
    }
    header(text + tail)
}

#[test]
fn headers_of_safetensors_cost_about_their_own_bytes() {
    let tensor =
        |name: &str| format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    check_file("tiny tensors", |bytes| repeated(bytes, "{", |index| tensor(&format!("{index:x}")), "}"));
    let long = "p".repeat(10_000);
    check_file("a shared prefix", |bytes| {
        repeated(bytes, "{", |index| tensor(&format!("{long}{index:x}")), "}")
    });
    check_file("one name", |bytes| repeated(bytes, "{", |_| tensor("a"), "}"));
    check_file("metadata", |bytes| {
        repeated(bytes, "{\"__metadata__\":{", |index| format!("\"{index:x}\":\"\""), "}}")
    });
    for part in ["1", "[]", "{}", "\"\"", "null", "[[]]"] {
        check_file(&format!("a shape of {part}"), |bytes| {
            let head = "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4],\"shape\":[";
            repeated(bytes, head, |_| part.into(), "]}}")
        });
        check_file(&format!("entries that are {part}"), |bytes| {
            repeated(bytes, "{", |index| format!("\"{index:x}\":{part}"), "}")
        });
    }
}

#[test]
fn names_of_many_dots_are_renamed_in_linear_time() {
    const RULES: &[Rule] =
        &[Rule::new("a.*.b", "c.*"), Rule::new("q.", "r"), Rule::new("x", "y.z"), Rule::new("^0", "")];
    let map = NameMap { tables: &[RULES] };
    check(
        "dots",
        |bytes| {
            let name = "x.a.7.b.".repeat(bytes / 8);
            header(format!("{{\"{name}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}}}"))
        },
        |file| {
            let checkpoint = read(file).unwrap();
            assert_eq!(Renamed::new(&checkpoint, map).unwrap().names().len(), 1);
        },
    );
    check(
        "nothing but dots",
        |bytes| {
            header(format!(
                "{{\"{}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}}}",
                ".".repeat(bytes)
            ))
        },
        |file| drop(Renamed::new(&read(file).unwrap(), map).map(|renamed| renamed.names())),
    );
}

#[test]
fn asking_for_what_is_not_there_costs_no_look_at_every_name() {
    let tensor =
        |index: usize| format!("\"{index:x}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    check(
        "hints",
        |bytes| repeated(bytes, "{", tensor, "}"),
        |file| {
            let questions = file.len() / 64;
            let checkpoint = read(file).unwrap();
            for question in 0..questions {
                assert!(checkpoint.tensor(&format!("no {question}"), &[1]).is_err());
            }
        },
    );
}
