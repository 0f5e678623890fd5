//! What frames are shown, against upstream's rules, and that what is let go of is not missed.

use super::*;

const RULE: TrackingRule = TrackingRule {
    recent: 6,
    pointers: 16,
    conditioning_at_most: None,
    input_side: 1,
    memory_tokens: 1,
    memory_channels: 1,
    pointer_channels: 1,
};

fn kept() -> Kept {
    Kept { memory: Some(Tensor::from_values([1, 1], &[0.0])), pointer: vec![0.0], found: None }
}

fn bank(conditioning: impl IntoIterator<Item = i64>, others: impl IntoIterator<Item = i64>) -> Bank {
    let of = |places: &mut dyn Iterator<Item = i64>| places.map(|place| (place, kept())).collect();
    Bank { conditioning: of(&mut conditioning.into_iter()), others: of(&mut others.into_iter()) }
}

fn look(direction: Direction, conditioning_at_most: Option<usize>) -> Look {
    Look { direction, conditioning_at_most, pointers_at_most: 16 }
}

#[test]
fn the_nearest_frames_with_prompts_are_those_of_upstream() {
    // What select_closest_cond_frames of sam2/modeling/sam2_utils.py gives, in ascending order.
    let prompted = bank([0, 3, 4, 15, 30, 31], []).conditioning;
    for (place, most, expected) in [
        (0, 2, &[0, 3][..]),
        (1, 3, &[0, 3, 4]),
        (5, 2, &[4, 15]),
        (5, 3, &[3, 4, 15]),
        (5, 4, &[0, 3, 4, 15]),
        (15, 2, &[4, 15]),
        (15, 3, &[3, 4, 15]),
        (20, 3, &[15, 30, 31]),
        (20, 4, &[4, 15, 30, 31]),
        (29, 4, &[4, 15, 30, 31]),
        (29, 9, &[0, 3, 4, 15, 30, 31]),
        (40, 2, &[30, 31]),
    ] {
        let found = nearest(&prompted, place, Some(most));
        assert_eq!(found, expected, "{most} of them at {place}");
    }
}

#[test]
fn a_frame_is_shown_the_last_six_and_pointers_of_the_last_fifteen() {
    let bank = bank([0], 1..40);
    let Chosen { memories, pointers } = bank.choose(40, &RULE, look(Direction::Forward, None));
    let recent = (1..=6).map(|frames| (40 - frames as i64, MemoryPlace::Recent(frames)));
    let expected: Vec<_> = [(0, MemoryPlace::Conditioning)].into_iter().chain(recent).collect();
    assert_eq!(memories, expected);
    let expected: Vec<_> =
        [(0, 40)].into_iter().chain((1..=15).map(|frames| (40 - frames, frames))).collect();
    assert_eq!(pointers, expected);
}

#[test]
fn backward_the_past_is_behind() {
    let bank = bank([10, 30], [21, 22, 5]);
    let Chosen { memories, pointers } = bank.choose(20, &RULE, look(Direction::Backward, None));
    let conditioning = [10, 30].map(|place| (place, MemoryPlace::Conditioning));
    let recent = [(21, MemoryPlace::Recent(1)), (22, MemoryPlace::Recent(2))];
    assert_eq!(memories, [conditioning, recent].concat());
    // The prompt that is still to come has no pointer.
    assert_eq!(pointers, [(30, 10), (21, 1), (22, 2)]);
}

#[test]
fn prompted_frames_beyond_the_limit_count_as_recent_ones() {
    let bank = bank([0, 17, 18, 19], []);
    let Chosen { memories, pointers } = bank.choose(20, &RULE, look(Direction::Forward, Some(2)));
    let of = |place, frames| (place, MemoryPlace::Recent(frames));
    assert_eq!(memories, [(18, MemoryPlace::Conditioning), (19, MemoryPlace::Conditioning), of(17, 3)]);
    assert_eq!(pointers, [(18, 2), (19, 1), (17, 3)]);
}

/// A walk in which every so many frames have prompts: with what is let go of on the way, every frame is shown what it is shown of a
/// bank that keeps all.
#[test]
fn what_is_let_go_of_is_not_missed() {
    for direction in [Direction::Forward, Direction::Backward] {
        for every in [1, 2, 3, 7, 19] {
            for most in [Some(2), Some(8), None] {
                let look = look(direction, most);
                let (mut all, mut some) = (Bank::default(), Bank::default());
                for step in 0..120 {
                    let place = if direction == Direction::Forward { step } else { 500 - step };
                    let case = format!("{direction}, every {every}, {most:?}: {place}");
                    assert_eq!(some.choose(place, &RULE, look), all.choose(place, &RULE, look), "{case}");
                    for bank in [&mut all, &mut some] {
                        let of = if step % every == 0 { &mut bank.conditioning } else { &mut bank.others };
                        of.insert(place, kept());
                    }
                    some.keep_near(&[look.next(place)], &RULE);
                    some.keep_conditioning(look.next(place), &RULE, look);
                    let conditioning = most.map_or(step + 1, |most| most as i64 + 17);
                    assert!(some.conditioning.len() as i64 <= conditioning, "{case}");
                    assert!(some.others.len() <= 15, "{case}");
                    let maps = some.others.values().filter(|kept| kept.memory.is_some()).count();
                    assert!(maps <= 6, "{case}: {maps} maps");
                }
            }
        }
    }
}
