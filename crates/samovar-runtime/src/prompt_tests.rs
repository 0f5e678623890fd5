use super::*;

fn image() -> Size<Image> {
    Size::new(100, 60)
}

#[test]
fn prompts_outside_the_image_are_refused() {
    let grid = Size::square(256);
    let refused = |prompt: Prompt| prompt.check(image(), grid).unwrap_err().to_string();
    assert!(refused(Prompt::default()).contains("empty prompt"));
    assert!(refused(Prompt::default().point(101.0, 5.0)).contains("100x60"));
    assert!(refused(Prompt::default().point(-0.1, 5.0)).contains("outside"));
    assert!(refused(Prompt::default().point(f64::NAN, 5.0)).contains("outside"));
    assert!(refused(Prompt::default().within(110.0, 0.0, 120.0, 9.0)).contains("no area"));
    assert!(refused(Prompt::default().within(5.0, 5.0, 5.0, 9.0)).contains("no area"));
    assert!(refused(Prompt::default().refine(BitMask::full(Size::new(60, 100)))).contains("same size"));
    assert!(refused(Prompt::default().refine(BitMask::new(image()))).contains("empty"));
    let logits = Prompt { mask: Some(MaskPrompt::Logits(vec![0.0; 7])), ..Prompt::default() };
    assert!(refused(logits).contains("7 logits"));
    for sound in [
        Prompt::default().point(100.0, 60.0).without(0.0, 0.0),
        Prompt::default().within(90.0, 50.0, 120.0, 90.0),
        Prompt::default().refine(BitMask::full(image())),
    ] {
        sound.check(image(), grid).unwrap();
    }
}

#[test]
fn only_a_single_positive_click_is_ambiguous() {
    assert!(Prompt::default().point(1.0, 1.0).is_one_click());
    assert!(!Prompt::default().without(1.0, 1.0).is_one_click());
    assert!(!Prompt::default().point(1.0, 1.0).point(2.0, 2.0).is_one_click());
    assert!(!Prompt::default().point(1.0, 1.0).within(0.0, 0.0, 9.0, 9.0).is_one_click());
}

/// The average over each cell, computed pixel by pixel where cells are whole numbers of pixels.
#[test]
fn masks_become_logits_by_coverage() {
    // 100 x 60 into a canvas of 200: two input pixels per image pixel; cells of 4 input pixels are 2 x 2 image pixels.
    let rule = ResizeRule::LongestSide { target: 200 };
    let grid = Size::square(50);
    let mask = BitMask::from_fn(image(), |x, y| (x / 3 + y / 5) % 2 == 0);
    let logits = logits_of_mask(&mask, rule, grid);
    for row in 0..50u32 {
        for column in 0..50u32 {
            let inside = (0..4).filter(|i| {
                let (x, y) = (2 * column + i % 2, 2 * row + i / 2);
                y < 60 && mask.get(x, y)
            });
            let expected = 10.0 * (2.0 * inside.count() as f32 / 4.0 - 1.0);
            let found = logits[(row * 50 + column) as usize];
            assert!((found - expected).abs() < 1e-4, "cell {column},{row}: {found}, expected {expected}");
        }
    }
}

/// The documentation spoke of 16 when it had long been 8.
#[test]
fn the_documentation_says_how_many_prompts_are_decoded_together() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/performance.md");
    let words = format!("**Many prompts: {} at a time.**", crate::planning::PROMPTS_AT_ONCE);
    assert!(std::fs::read_to_string(file).unwrap().contains(&words), "{file} does not say: {words}");
}
