use super::super::{Outcome, Progress};
use super::*;

fn record(item: usize, key: &str) -> Record {
    let outcome = match item % 10 {
        9 => Outcome::Failed(format!("damaged \"{item}\"\nand more")),
        _ => Outcome::Done { results: vec![format!("{item}.json")], ms: item as u64 },
    };
    Record { item: format!("bilder/ä {item}.png"), key: key.into(), outcome }
}

fn open(path: &Path) -> (JournalWriter, Journal) {
    JournalWriter::open(path, JournalOptions::default()).unwrap()
}

#[test]
fn what_was_appended_is_read_and_the_last_word_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (mut writer, journal) = open(&path);
    assert_eq!(journal.progress(), Progress::default());
    (0..20).for_each(|item| writer.append(&record(item, "k")).unwrap());
    drop(writer);
    let (mut writer, journal) = open(&path);
    assert_eq!(journal.progress(), Progress { done: 18, failed: 2 });
    let item = record(9, "k").item;
    assert!(matches!(journal.outcome(&item, "k"), Some(Outcome::Failed(why)) if why.contains("\nand more")));
    assert!(journal.outcome(&item, "another key").is_none());
    let outcome = Outcome::Done { results: vec![], ms: 1 };
    writer.append(&Record { item: item.clone(), key: "k2".into(), outcome }).unwrap();
    drop(writer);
    let journal = read_journal(&path).unwrap();
    assert_eq!(journal.progress(), Progress { done: 19, failed: 1 });
    assert!(journal.outcome(&item, "k").is_none() && journal.outcome(&item, "k2").is_some());
}

#[test]
fn a_journal_cut_anywhere_keeps_every_whole_line_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (mut writer, _) = open(&path);
    (0..3).for_each(|item| writer.append(&record(item, "k")).unwrap());
    drop(writer);
    let whole = std::fs::read(&path).unwrap();
    for length in 0..=whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let lines = whole[..length].iter().filter(|&&byte| byte == b'\n').count();
        let (mut writer, journal) = open(&path);
        assert_eq!(journal.progress().done, lines, "cut at {length}");
        writer.append(&record(7, "k")).unwrap();
        drop(writer);
        let journal = read_journal(&path).unwrap();
        assert_eq!((journal.progress().done, journal.damaged_lines), (lines + 1, 0));
    }
}

#[test]
fn a_damaged_line_costs_its_item_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (mut writer, _) = open(&path);
    (0..3).for_each(|item| writer.append(&record(item, "k")).unwrap());
    drop(writer);
    let whole = std::fs::read(&path).unwrap();
    let first_end = whole.iter().position(|&byte| byte == b'\n').unwrap();
    for bit in 8 * (first_end + 1)..8 * (first_end + 30) {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &damaged).unwrap();
        let journal = read_journal(&path).unwrap();
        assert_eq!(journal.progress().done, 2, "bit {bit}");
        assert!(journal.damaged_lines > 0);
    }
    std::fs::write(&path, vec![b'x'; 3 << 20]).unwrap();
    assert_eq!(read_journal(&path).unwrap().progress(), Progress::default());
}

#[test]
fn two_runs_do_not_write_one_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (writer, _) = open(&path);
    let error = JournalWriter::open(&path, JournalOptions::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    // Looking at it is allowed.
    assert_eq!(read_journal(&path).unwrap().progress().done, 0);
    drop(writer);
    open(&path);
}
