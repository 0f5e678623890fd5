//! Packets and frames as ffprobe lists them, of made videos.

use super::*;

/// What of a video is listed: `K` or `P` with the time that a packet's frame is shown at and is decoded at, `f` with the time of a frame, `!` with
/// that of one that comes with a complaint.
fn verdicts(beforehand: Beforehand, listed: &[(char, i64, i64)]) -> Verdicts {
    let mut verdicts = Verdicts::new(beforehand);
    let mut keys = Vec::new();
    for &(what, time, decoded) in listed {
        let time_stamp = (time >= 0).then_some(time);
        match what {
            'K' | 'P' => {
                keys.extend((what == 'K').then_some(time));
                verdicts.packet(Packet {
                    time_stamp,
                    decoding_time: Some(decoded),
                    is_key: what == 'K',
                    is_corrupt: false,
                });
            }
            _ => verdicts.frame(Shown {
                time_stamp,
                shown_at: time_stamp,
                is_key: keys.contains(&time),
                complaint: (what == '!').then(|| "lost".to_owned()),
            }),
        }
    }
    verdicts.end();
    verdicts
}

/// Times of all frames, those that are not good negative.
fn times(verdicts: &Verdicts) -> Vec<i64> {
    let time = |slot: &Slot| {
        slot.time_stamp.map_or(i64::MIN, |time| if slot.damage.is_some() { -time } else { time })
    };
    verdicts.slots().iter().map(time).collect()
}

const CLEAN: Beforehand = Beforehand { begins_damaged: false, misses_packets: false, is_cut: false };

#[test]
fn from_a_damaged_packet_on_nothing_is_good_until_the_next_key_frame() {
    // Shown in the order 1 2 3 4 | 5 6 7 8, decoded in the order 1 3 2 4 | 5 7 6 8, one frame late; 3 is damaged, so 2 and 4 are made of it.
    let listed = [
        ('K', 1, 0),
        ('P', 3, 1),
        ('!', 1, 0),
        ('P', 2, 2),
        ('f', 2, 0),
        ('P', 4, 3),
        ('f', 3, 0),
        ('K', 5, 4),
        ('f', 4, 0),
        ('P', 7, 5),
        ('f', 5, 0),
        ('P', 6, 6),
        ('f', 6, 0),
        ('P', 8, 7),
        ('f', 7, 0),
        ('f', 8, 0),
    ];
    let verdicts = verdicts(CLEAN, &listed);
    assert_eq!(times(&verdicts), [1, -2, -3, -4, 5, 6, 7, 8]);
    let slots: Vec<Option<usize>> = verdicts.came().iter().map(|came| came.slot).collect();
    assert_eq!(slots, [Some(0), None, None, None, Some(4), Some(5), Some(6), Some(7)]);
    assert!(verdicts.slots()[1].damage.as_ref().unwrap().contains("made of others"));
    assert_eq!(verdicts.slots()[2].damage.as_deref(), Some("lost"));
}

#[test]
fn a_damaged_key_frame_takes_what_is_made_of_it_and_what_is_shown_before_it() {
    // 6 and 5 are decoded behind the key frame 7 and need what is before it as well.
    let listed = [
        ('K', 1, 0),
        ('P', 2, 1),
        ('f', 1, 0),
        ('P', 3, 2),
        ('f', 2, 0),
        ('P', 4, 3),
        ('!', 3, 0),
        ('K', 7, 4),
        ('f', 4, 0),
        ('P', 5, 5),
        ('f', 5, 0),
        ('P', 6, 6),
        ('f', 6, 0),
        ('P', 8, 7),
        ('f', 7, 0),
        ('f', 8, 0),
    ];
    assert_eq!(times(&verdicts(CLEAN, &listed)), [1, 2, 3, -4, -5, -6, 7, 8]);
}

#[test]
fn a_packet_without_a_frame_keeps_its_number() {
    // What is before it may be damaged at its end.
    let listed = [
        ('K', 10, 10),
        ('f', 10, 0),
        ('P', 20, 20),
        ('f', 20, 0),
        ('P', 30, 30),
        ('P', 40, 40),
        ('f', 40, 0),
        ('K', 50, 50),
        ('f', 50, 0),
        ('K', 60, 60),
    ];
    assert_eq!(times(&verdicts(CLEAN, &listed)), [10, -20, -30, -40, -50, -60]);
}

#[test]
fn packets_that_are_never_shown_are_no_frames() {
    // As of VP8: data that others are made of, just before the next frame.
    let listed = [
        ('K', 0, 0),
        ('f', 0, 0),
        ('K', 10, 10),
        ('f', 10, 0),
        ('P', 20, 20),
        ('f', 20, 0),
        ('P', 29, 29),
        ('P', 30, 30),
        ('f', 30, 0),
        ('P', 40, 40),
        ('f', 40, 0),
    ];
    assert_eq!(times(&verdicts(CLEAN, &listed)), [0, 10, 20, 30, 40]);
}

#[test]
fn holes_are_counted_where_the_file_is_known_to_have_some() {
    let listed = [
        ('K', 0, 0),
        ('f', 0, 0),
        ('K', 10, 10),
        ('f', 10, 0),
        ('K', 20, 20),
        ('f', 20, 0),
        ('K', 30, 30),
        ('f', 30, 0),
        ('P', 60, 60),
        ('f', 60, 0),
        ('K', 70, 70),
        ('f', 70, 0),
    ];
    let holed = Beforehand { misses_packets: true, is_cut: true, ..CLEAN };
    assert_eq!(times(&verdicts(holed, &listed)), [0, 10, 20, 30, -40, -50, -60, 70, i64::MIN]);
    assert_eq!(times(&verdicts(CLEAN, &listed)), [0, 10, 20, 30, 60, 70], "a pause of a camera");
    // Decoding times that are those of display, three packets late: the hole before the key frame 70 is seen at 100.
    let late = [
        ('K', 0, -30),
        ('P', 10, -20),
        ('P', 20, -10),
        ('f', 0, 0),
        ('P', 30, 0),
        ('f', 10, 0),
        ('P', 40, 10),
        ('f', 20, 0),
        ('K', 70, 20),
        ('f', 30, 0),
        ('P', 80, 30),
        ('f', 40, 0),
        ('P', 90, 40),
        ('f', 70, 0),
        ('P', 100, 70),
        ('f', 80, 0),
        ('f', 90, 0),
        ('f', 100, 0),
    ];
    let whole = Beforehand { is_cut: false, ..holed };
    assert_eq!(times(&verdicts(whole, &late)), [0, 10, 20, 30, 40, -50, -60, 70, 80, 90, 100]);
    let far = [
        ('K', 0, 0),
        ('f', 0, 0),
        ('K', 10, 10),
        ('f', 10, 0),
        ('K', 20, 20),
        ('f', 20, 0),
        ('K', 30, 30),
        ('f', 30, 0),
        ('K', i64::MAX, 40),
        ('f', i64::MAX, 0),
    ];
    assert_eq!(times(&verdicts(holed, &far)).len(), 6, "nobody says how many are missing");
}

#[test]
fn without_time_stamps_a_key_frame_of_a_later_packet_ends_the_damage() {
    // Shown one late: the key frame that comes next after the complaint is of a packet before the damaged one.
    let mut listed = vec![('K', -1, 1)];
    for decoded in 2..12 {
        listed.push((if decoded % 4 == 1 { 'K' } else { 'P' }, -1, decoded));
        listed.push((if decoded == 6 { '!' } else { 'f' }, -1, 0));
    }
    let mut verdicts = Verdicts::new(CLEAN);
    let mut shown = 0;
    for (what, _, decoded) in listed {
        if what == 'K' || what == 'P' {
            let is_key = what == 'K';
            verdicts.packet(Packet { decoding_time: Some(decoded), is_key, ..Packet::default() });
        } else {
            shown += 1;
            let complaint = (what == '!').then(|| "lost".to_owned());
            verdicts.frame(Shown { is_key: shown % 4 == 1, complaint, ..Shown::default() });
        }
    }
    verdicts.end();
    let damaged: Vec<usize> = verdicts
        .slots()
        .iter()
        .enumerate()
        .filter(|(_, slot)| slot.damage.is_some())
        .map(|(index, _)| index)
        .collect();
    assert_eq!(damaged, [4, 5, 6, 7]);
}

#[test]
fn what_begins_damaged_is_not_good_before_the_second_key_frame() {
    let listed = [
        ('K', 1, 0),
        ('P', 3, 1),
        ('P', 2, 2),
        ('f', 1, 0),
        ('K', 4, 3),
        ('f', 2, 0),
        ('f', 3, 0),
        ('f', 4, 0),
    ];
    let begins = Beforehand { begins_damaged: true, ..CLEAN };
    assert_eq!(times(&verdicts(begins, &listed)), [-1, -2, -3, 4]);
    assert_eq!(times(&verdicts(CLEAN, &listed)), [1, 2, 3, 4]);
    // Recordings of what is broadcast begin anywhere.
    let middle = [('P', 1, 0), ('P', 2, 1), ('K', 4, 2), ('P', 3, 3), ('f', 4, 0), ('P', 5, 4), ('f', 5, 0)];
    let verdicts = verdicts(begins, &middle);
    assert_eq!(times(&verdicts), [4, 5]);
    assert!(verdicts.begins_in_the_middle());
}
