//! The table against the numbers that those who made the spaces have published.

use super::*;

#[track_caller]
fn close(found: f64, expected: f64, within: f64) {
    assert!((found - expected).abs() <= within, "{found}, not {expected}");
}

#[test]
fn grey_cards_have_the_published_values() {
    // ARRI, "ALEXA Log C Curve" (2017): 18 % grey at EI 800 is 0.391, black 0.092809 (95/1023).
    close(ColourSpace::LogC3.to_linear(0.391_007), 0.18, 1e-5);
    close(ColourSpace::LogC3.to_linear(0.092_809), 0.0, 1e-9);
    // ARRI, LogC4 specification (2022): 18 % grey is 0.2784, white of 1.0 is code 0 to 469.8 with EI 800.
    close(ColourSpace::LogC4.to_linear(0.278_396), 0.18, 1e-5);
    close(ColourSpace::LogC4.to_linear(1.0), 469.8, 0.01);
    close(ColourSpace::LogC4.to_linear(95.0 / 1023.0), 0.0, 1e-9);
    // Sony, "Technical Summary for S-Gamut3.Cine/S-Log3" (2014): 0, 18 and 90 % are 10-bit codes 95, 420 and 598.
    close(ColourSpace::SLog3.to_linear(95.0 / 1023.0), 0.0, 1e-9);
    close(ColourSpace::SLog3.to_linear(420.0 / 1023.0), 0.18, 1e-9);
    close(ColourSpace::SLog3Cine.to_linear(598.0 / 1023.0), 0.90, 0.005);
    // Panasonic, "V-Log/V-Gamut Reference Manual" (2014): 0, 18 and 90 % are 10-bit codes 128, 433 and 602.
    close(ColourSpace::VLog.to_linear(128.0 / 1023.0), 0.0, 1e-4);
    close(ColourSpace::VLog.to_linear(433.0 / 1023.0), 0.18, 5e-4);
    close(ColourSpace::VLog.to_linear(602.0 / 1023.0), 0.90, 5e-3);
    // Academy, S-2016-001: 18 % grey is 0.4135884, and 0 is 0.0729055.
    close(ColourSpace::AcesCct.to_linear(0.413_588_402), 0.18, 1e-6);
    close(ColourSpace::AcesCct.to_linear(0.072_905_534_2), 0.0, 1e-9);
    // Kodak: reference black and white, and code 470, which is about 18 %.
    close(ColourSpace::Cineon.to_linear(95.0 / 1023.0), 0.0, 1e-12);
    close(ColourSpace::Cineon.to_linear(685.0 / 1023.0), 1.0, 1e-12);
    close(ColourSpace::Cineon.to_linear(470.0 / 1023.0), 0.18, 5e-3);
    // IEC 61966-2-1: code 118 is about 18 %.
    close(ColourSpace::Srgb.to_linear(118.0 / 255.0), 0.18, 2e-3);
}

#[test]
fn curves_have_no_step_where_their_parts_meet() {
    for space in ColourSpace::all() {
        let mut before = space.to_linear(0.0);
        for step in 1..=100_000 {
            let now = space.to_linear(f64::from(step) / 1e5);
            assert!(
                now > before && now < before + 0.02 * (1.0 + now.abs()),
                "{space} at {step}: {before}, {now}"
            );
            before = now;
        }
    }
}

#[test]
fn matrices_are_those_that_are_published() {
    let expected = [
        // "ACEScg to linear sRGB, Bradford", colour-science and OpenColorIO's ACES config.
        (
            ColourSpace::AcesCg,
            [
                [1.705051, -0.621792, -0.083259],
                [-0.130256, 1.140805, -0.010548],
                [-0.024003, -0.128969, 1.152972],
            ],
        ),
        // ARRI, "Wide Gamut RGB to ITU-R BT.709" (without tone mapping).
        (
            ColourSpace::LogC3,
            [
                [1.617523, -0.537287, -0.080237],
                [-0.070573, 1.334613, -0.264040],
                [-0.021102, -0.226954, 1.248056],
            ],
        ),
        // Sony, S-Gamut3.Cine to BT.709.
        (
            ColourSpace::SLog3Cine,
            [
                [1.626947, -0.540139, -0.086809],
                [-0.178516, 1.417941, -0.239425],
                [-0.044436, -0.195920, 1.240356],
            ],
        ),
    ];
    for (space, published) in expected {
        for (row, expected) in space.to_rec_709().into_iter().zip(published) {
            for (found, expected) in row.into_iter().zip(expected) {
                close(found, expected, 5e-5);
            }
        }
    }
    for space in ColourSpace::all() {
        for row in space.to_rec_709() {
            close(row.iter().sum(), 1.0, 1e-9);
        }
    }
}

#[test]
fn eight_bits_are_the_nearest_and_what_is_cut_off_is_said() {
    let view = View::new(ColourSpace::Linear, None);
    let values: Vec<f32> = (0..=20_000).map(|step| step as f32 / 20_000.0).collect();
    let (shown, clipped) = view.of_floats(&values, 1, None).unwrap();
    assert!(clipped.words().is_empty());
    for (&value, &byte) in values.iter().zip(&shown) {
        let exact = to_srgb(f64::from(value)) * 255.0;
        assert!((exact - f64::from(byte)).abs() <= 0.5 + 1e-4, "{value}: {byte}, not {exact}");
    }
    let odd = [-0.5, 0.0, 1.0, 7.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let (shown, clipped) = view.of_floats(&odd, 1, None).unwrap();
    assert_eq!(shown, [0, 0, 255, 255, 0, 255, 0]);
    assert_eq!(clipped, Clipped { over: true, below: true, no_numbers: true });
    // sRGB is itself, and what alpha was multiplied into the values is undone before.
    let codes: Vec<u8> = (0..=255).collect();
    assert_eq!(View::new(ColourSpace::Srgb, None).of_integers(&codes, 255, 1).unwrap().0, codes);
    assert_eq!(view.of_floats(&[0.09, 0.09], 1, Some(&[0.5, 1.0])).unwrap().0[0], 118);
}

#[test]
fn names_are_found_again() {
    for space in ColourSpace::all() {
        assert_eq!(space.name().parse(), Ok(space));
        assert_eq!(TABLE[space as usize].space, space, "the table is in the order of the names");
    }
    assert!("sony".parse::<ColourSpace>().unwrap_err().contains("slog3-cine"));
}

#[test]
fn the_documents_have_the_table() {
    let document = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/colour.md");
    let document = std::fs::read_to_string(document).unwrap();
    for space in ColourSpace::all() {
        let row = format!("| `{space}` | {} |", space.help());
        assert!(document.contains(&row), "docs/colour.md lacks {row}");
    }
}
