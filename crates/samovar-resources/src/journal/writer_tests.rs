use super::*;

type Line = (usize, String);

fn line(item: usize) -> Line {
    (item, format!("bilder/ä \"{item}\"\n.png"))
}

fn open(path: &Path) -> (JournalWriter, Vec<Line>, JournalReading) {
    let mut lines = Vec::new();
    let (writer, reading) =
        JournalWriter::open(path, JournalOptions::default(), |line| lines.push(line)).unwrap();
    (writer, lines, reading)
}

fn read(path: &Path) -> (Vec<Line>, usize) {
    let mut lines = Vec::new();
    let reading = read_journal(path, |line| lines.push(line)).unwrap();
    assert_eq!(reading.lines, lines.len());
    (lines, reading.damaged_lines)
}

#[test]
fn what_was_appended_is_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    assert_eq!(read(&path), (vec![], 0));
    let (writer, lines, _) = open(&path);
    assert!(lines.is_empty());
    (0..20).for_each(|item| writer.append(&line(item)).unwrap());
    drop(writer);
    let (writer, lines, _) = open(&path);
    assert_eq!(lines, (0..20).map(line).collect::<Vec<_>>());
    writer.append(&line(20)).unwrap();
    writer.sync().unwrap();
    // Another kind of line is no line for this reader, and does not hide the next.
    writer.append(&"another kind").unwrap();
    writer.append(&line(21)).unwrap();
    assert_eq!(read(&path), ((0..22).map(line).collect(), 1));
}

#[test]
fn a_long_journal_is_read_by_several_threads_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (writer, ..) = open(&path);
    let wide = "x".repeat(1000);
    let lines: Vec<Line> = (0..9000).map(|item| (item, wide[item % 1000..].into())).collect();
    lines.iter().for_each(|line| writer.append(line).unwrap());
    drop(writer);
    let whole = std::fs::read(&path).unwrap();
    assert!(whole.len() > 4 << 20);
    assert_eq!(read(&path), (lines.clone(), 0));
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(read(&path), (lines[..8999].to_vec(), 0));
}

#[test]
fn a_journal_cut_anywhere_keeps_every_whole_line_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (writer, ..) = open(&path);
    (0..3).for_each(|item| writer.append(&line(item)).unwrap());
    drop(writer);
    let whole = std::fs::read(&path).unwrap();
    for length in 0..=whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let count = whole[..length].iter().filter(|&&byte| byte == b'\n').count();
        let (writer, lines, _) = open(&path);
        assert_eq!(lines.len(), count, "cut at {length}");
        writer.append(&line(7)).unwrap();
        drop(writer);
        let (lines, damaged) = read(&path);
        assert_eq!((lines.len(), damaged, &lines[count]), (count + 1, 0, &line(7)));
    }
}

#[test]
fn a_damaged_line_costs_itself_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (writer, ..) = open(&path);
    (0..3).for_each(|item| writer.append(&line(item)).unwrap());
    drop(writer);
    let whole = std::fs::read(&path).unwrap();
    let first_end = whole.iter().position(|&byte| byte == b'\n').unwrap();
    for bit in 8 * (first_end + 1)..8 * (first_end + 30) {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &damaged).unwrap();
        let (lines, count) = read(&path);
        assert_eq!(lines, [line(0), line(2)], "bit {bit}");
        assert!(count > 0);
    }
    let mut damaged = whole.clone();
    damaged[first_end + 20] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let reading = read_journal(&path, |_: Line| {}).unwrap();
    assert_eq!((reading.first_damaged_line, reading.damaged_lines), (Some(2), 1));
    std::fs::write(&path, vec![b'x'; 40 << 20]).unwrap();
    assert!(read(&path).0.is_empty());
}

#[test]
fn two_runs_do_not_write_one_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let busy = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    let (writer, ..) = open(&path);
    busy(JournalWriter::open(&path, JournalOptions::default(), |_: Line| {}).unwrap_err());
    busy(JournalLock::shared(&path).unwrap_err());
    // Looking at it is allowed.
    assert_eq!(read(&path), (vec![], 0));
    assert!(JournalLock::is_held(&path).unwrap());
    drop(writer);
    assert!(!JournalLock::is_held(&path).unwrap());
    let both = [JournalLock::shared(&path).unwrap(), JournalLock::shared(&path).unwrap()];
    busy(JournalWriter::open(&path, JournalOptions::default(), |_: Line| {}).unwrap_err());
    drop(both);
    open(&path);
}

#[test]
fn threads_share_a_sync_and_tear_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (writer, ..) = open(&path);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let writer = &writer;
            scope.spawn(move || {
                for number in 0..25 {
                    writer.append(&line(100 * thread + number)).unwrap();
                    writer.sync().unwrap();
                }
            });
        }
    });
    let (mut lines, damaged) = read(&path);
    lines.sort();
    let all = (0..8).flat_map(|thread| (0..25).map(move |number| line(100 * thread + number)));
    assert_eq!((lines, damaged), (all.collect(), 0));
}
