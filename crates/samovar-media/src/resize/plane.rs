//! Planes of numbers at another size, with the filter of pictures and no rounding: how masks become prompts.

use samovar_geometry::{Image, Size};

use crate::error::{MediaError, MediaErrorKind, Result};
use crate::room::zeros;

/// A plane at another size, row by row, by the triangle filter that [`super::resize_bilinear`] has, in f32: PyTorch's
/// `interpolate(mode="bilinear", antialias=True)`. `fill_row` writes row `y` of the plane.
///
/// # Errors
/// [`MediaErrorKind::Empty`] for a side of 0, and where memory does not suffice.
pub fn resize_plane(
    from: Size<Image>,
    to: Size<Image>,
    mut fill_row: impl FnMut(u32, &mut [f32]),
) -> Result<Vec<f32>> {
    if [from.width, from.height, to.width, to.height].contains(&0) {
        return Err(MediaError::new(MediaErrorKind::Empty, format!("{from} cannot be resized to {to}")));
    }
    let (across, down) = (taps(from.width, to.width), taps(from.height, to.height));
    let width = to.width as usize;
    let mut resized: Vec<f32> = zeros(width * to.height as usize)?;
    let mut row: Vec<f32> = zeros(from.width as usize)?;
    let mut resized_row: Vec<f32> = zeros(width)?;
    // Output rows that a row of the input has a part in follow each other, and none begins before the one above it.
    let mut first = 0;
    for y in 0..from.height {
        fill_row(y, &mut row);
        for (to, (start, weights)) in resized_row.iter_mut().zip(&across) {
            *to = weights.iter().zip(&row[*start as usize..]).map(|(weight, value)| weight * value).sum();
        }
        while down.get(first).is_some_and(|(start, weights)| start + weights.len() as u32 <= y) {
            first += 1;
        }
        for (index, (start, weights)) in down.iter().enumerate().skip(first) {
            if *start > y {
                break;
            }
            let Some(&weight) = weights.get((y - start) as usize) else { continue };
            let to = &mut resized[index * width..][..width];
            to.iter_mut().zip(&resized_row).for_each(|(sum, value)| *sum += weight * value);
        }
    }
    Ok(resized)
}

/// For every output position the first input position and the weights from there on.
fn taps(input: u32, output: u32) -> Vec<(u32, Vec<f32>)> {
    let scale = f64::from(input) / f64::from(output);
    let support = scale.max(1.0);
    let of_position = |position: u32| {
        let centre = (f64::from(position) + 0.5) * scale;
        let start = (centre - support + 0.5) as u32;
        let end = ((centre + support + 0.5) as u32).min(input);
        let weight = |tap: u32| (1.0 - ((f64::from(tap) + 0.5 - centre) / support).abs()).max(0.0);
        let sum: f64 = (start..end).map(weight).sum();
        (start, (start..end).map(|tap| (weight(tap) / sum) as f32).collect())
    };
    (0..output).map(of_position).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_those_of_pytorch() {
        let values: Vec<f32> = (0..35).map(|i| ((i * i * 7 + i * 3) % 23) as f32).collect();
        for (to, expected) in [(Size::new(4, 3), &SMALLER[..]), (Size::new(9, 4), &WIDER[..])] {
            let found = resize_plane(Size::new(7, 5), to, |y, row| {
                row.copy_from_slice(&values[7 * y as usize..][..7]);
            });
            let found = found.unwrap();
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{found} instead of {expected}");
            }
        }
    }

    #[test]
    fn a_plane_of_its_own_size_is_what_it_was() {
        let same = resize_plane(Size::new(3, 2), Size::new(3, 2), |y, row| row.fill(y as f32)).unwrap();
        assert_eq!(same, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert!(resize_plane(Size::new(3, 0), Size::new(3, 2), |_, _| {}).is_err());
    }

    // torch 2.15: interpolate(x[1, 1, 5, 7], (3, 4) and (4, 9), mode="bilinear", antialias=True).
    const SMALLER: [f32; 12] = [
        9.60544, 12.19429, 7.98857, 9.2517, 12.07936, 6.32, 12.04444, 7.53439, 12.14966, 11.05143, 13.41714,
        9.27211,
    ];
    const WIDER: [f32; 36] = [
        4.75, 8.58333, 11.61111, 11.55555, 6.5, 7.86111, 7.41667, 9.0, 13.5, 15.66667, 12.66667, 11.12963,
        11.19444, 11.58333, 12.42593, 10.39815, 7.41667, 5.08333, 17.41667, 10.13889, 3.61111, 1.66667, 7.5,
        13.78704, 9.75, 6.25, 8.58333, 10.0, 12.5, 13.97222, 13.63889, 11.5, 15.77778, 15.05555, 11.25, 6.75,
    ];
}
