use super::*;

const PICTURE: Size<Motion> = Size::new(400, 300);

fn sight(alike: f64, area: f64, x: f64) -> Sight {
    Sight { alike, area, bounds: Box2::new(x, 100.0, x + 60.0, 140.0) }
}

fn standing() -> Standing {
    Standing::new(&sight(0.8, 1600.0, 20.0)).unwrap()
}

#[test]
fn lost_is_what_looks_half_as_much_like_the_object_as_it_did_or_is_not_there() {
    let mut standing = standing();
    assert!(!standing.is_lost(Some(&sight(0.41, 1600.0, 20.0))));
    assert!(standing.is_lost(Some(&sight(0.39, 1600.0, 20.0))));
    assert!(standing.is_lost(None));
    // Light that changes slowly changes what it is held to.
    for alike in [0.6, 0.5, 0.4, 0.35, 0.3, 0.3, 0.3] {
        assert!(!standing.is_lost(Some(&sight(alike, 1600.0, 20.0))), "{alike}");
        standing.see(&sight(alike, 1600.0, 20.0));
    }
}

#[test]
fn what_looks_like_nothing_of_its_own_has_no_standing() {
    assert_eq!(Standing::new(&sight(0.0, 1600.0, 20.0)), None);
    assert_eq!(Standing::new(&sight(0.5, 0.0, 20.0)), None);
}

#[test]
fn all_of_the_picture_is_searched_the_nearest_first_and_then_again() {
    let mut standing = standing();
    let mut places = Vec::new();
    loop {
        let place = standing.search(PICTURE, 2.0, 96.0);
        assert_eq!((place.x1 - place.x0, place.y1 - place.y0), (120.0, 120.0));
        if places.first() == Some(&place) {
            break;
        }
        places.push(place);
    }
    let holds = |place: &Box2<Motion>, x: f64, y: f64| {
        (place.x0..=place.x1).contains(&x) && (place.y0..=place.y1).contains(&y)
    };
    assert!(holds(&places[0], 50.0, 120.0), "where it was: {:?}", places[0]);
    assert!(places.iter().all(|place| place.x0 >= 0.0 && place.x1 <= 400.0 && place.y1 <= 300.0));
    for (x, y) in (0..=400).step_by(20).flat_map(|x| (0..=300).step_by(20).map(move |y| (x, y))) {
        let (x, y) = (f64::from(x), f64::from(y));
        assert!(places.iter().any(|place| holds(place, x, y)), "nobody looks at {x}, {y}");
    }
    let distance = |place: &Box2<Motion>| (middle(*place).x - 50.0).hypot(middle(*place).y - 120.0);
    assert!(places.windows(2).all(|two| distance(&two[0]) <= distance(&two[1]) + 1e-9));
    standing.see(&sight(0.8, 1600.0, 320.0));
    assert!(holds(&standing.search(PICTURE, 2.0, 96.0), 350.0, 120.0), "the last place comes first");
}

#[test]
fn a_picture_smaller_than_the_crop_is_one_place() {
    let mut standing = standing();
    let small = Size::new(90, 60);
    assert_eq!(standing.search(small, 2.0, 96.0), standing.search(small, 2.0, 96.0));
}

#[test]
fn found_again_is_what_looks_like_it_has_its_size_and_is_no_part_of_the_answer() {
    let standing = standing();
    let (found, answer) = (sight(0.7, 1500.0, 200.0), sight(0.2, 1700.0, 20.0));
    assert!(standing.is_found(&found, Some(&answer), 0.0));
    assert!(standing.is_found(&found, None, 0.0));
    assert!(!standing.is_found(&sight(0.6, 1500.0, 200.0), Some(&answer), 0.0), "too little like it");
    assert!(!standing.is_found(&sight(0.7, 5000.0, 200.0), Some(&answer), 0.0), "too large");
    assert!(!standing.is_found(&sight(0.7, 500.0, 200.0), Some(&answer), 0.0), "too small");
    assert!(!standing.is_found(&found, Some(&answer), 1000.0), "a part of the answer");
    assert!(standing.is_found(&found, Some(&sight(0.2, 4000.0, 20.0)), 1000.0), "the answer has spilt over");
}

#[test]
fn bytes_give_it_back_with_what_follows_and_damaged_ones_nothing() {
    let mut standing = standing();
    standing.search(PICTURE, 2.0, 96.0);
    let mut bytes = standing.to_bytes();
    bytes.push(7);
    assert_eq!(Standing::from_bytes(&bytes), Some((standing, &[7u8][..])));
    assert_eq!(Standing::from_bytes(&bytes[..40]), None);
    bytes[..8].copy_from_slice(&f64::NAN.to_le_bytes());
    assert_eq!(Standing::from_bytes(&bytes), None);
}
