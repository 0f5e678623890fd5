//! Stray parts and pinholes that small models leave in their masks, taken out by what the prompt says.

use samovar_geometry::{Image, Point};
use samovar_media::{AlphaMask, BitMask, Connectivity, components_outside, connected_components};

use crate::error::{Error, Result};
use crate::prompt::Prompt;

/// Parts smaller than this share of the largest one are strays, unless they were clicked.
const STRAY_SHARE: f64 = 0.1;

/// Holes smaller than this share of the mask are pinholes, unless they were clicked away.
const PINHOLE_SHARE: f64 = 0.02;

/// What a prompt says about the parts of its mask.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Cleanup {
    positive: Vec<Point<Image>>,
    negative: Vec<Point<Image>>,
    one_click: bool,
}

impl Cleanup {
    pub(crate) fn of(prompt: &Prompt) -> Self {
        let those = |positive: bool| {
            prompt.points.iter().filter(|point| point.positive == positive).map(|point| point.at).collect()
        };
        Self { positive: those(true), negative: those(false), one_click: prompt.is_one_click() }
    }

    /// One click: the part that was clicked, if the click is in the mask. Otherwise without parts that are small beside
    /// the largest and were not clicked. Either way without small holes, unless clicked away.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn apply(&self, mut mask: BitMask) -> Result<BitMask> {
        self.drop_strays(&mut mask)?;
        self.fill_pinholes(&mut mask)?;
        Ok(mask)
    }

    fn drop_strays(&self, mask: &mut BitMask) -> Result<()> {
        let parts = connected_components(mask, Connectivity::Eight)?;
        if parts.len() < 2 {
            return Ok(());
        }
        let clicked = touched(&parts, &self.positive);
        if self.one_click && clicked.contains(&true) {
            parts.retain(mask, |part| clicked[part]);
            return Ok(());
        }
        let largest = parts.all().iter().map(|part| part.area).max().unwrap_or(0);
        let least = STRAY_SHARE * largest as f64;
        parts.retain(mask, |part| clicked[part] || parts.all()[part].area as f64 >= least);
        Ok(())
    }

    fn fill_pinholes(&self, mask: &mut BitMask) -> Result<()> {
        let (width, height) = (mask.width(), mask.height());
        let most = PINHOLE_SHARE * mask.area() as f64;
        let gaps = components_outside(mask, Connectivity::Four)?;
        let clicked = touched(&gaps, &self.negative);
        gaps.for_each_run(|gap, y, x0, x1| {
            let of = &gaps.all()[gap];
            let [left, top, right, bottom] = of.bounds;
            let at_border = left == 0 || top == 0 || right == width || bottom == height;
            if !at_border && !clicked[gap] && (of.area as f64) < most {
                mask.set_run(y, x0, x1);
            }
        });
        Ok(())
    }
}

/// Soft edges of a mask that was cleaned up, from those of the mask as it was drawn: what was taken out becomes
/// transparent with its own soft edge, what was filled opaque. It is over 127 exactly where the mask is set, also along a cut through
/// the mask. Nothing changes where nothing was cleaned up.
///
/// # Errors
/// [`Error::Usage`] when the two are not of one size.
pub(crate) fn alpha_of_cleaned(drawn: AlphaMask, cleaned: &BitMask) -> Result<AlphaMask> {
    let size = drawn.size();
    if size != cleaned.size() {
        return Err(Error::usage(format!("a mask of {} has no soft edges of {size}", cleaned.size())));
    }
    if is_drawn(&drawn, cleaned) {
        return Ok(drawn);
    }
    let near_mask = grown(cleaned)?;
    let near_gap = {
        let mut gap = cleaned.try_clone()?;
        gap.invert();
        grown(&gap)?
    };
    let mut values = drawn.into_values();
    for (y, row) in values.chunks_exact_mut(size.width.max(1) as usize).enumerate() {
        for (x, value) in row.iter_mut().enumerate() {
            let (x, y) = (x as u32, y as u32);
            if !near_mask.get(x, y) {
                *value = 0;
            } else if !near_gap.get(x, y) {
                *value = 255;
            } else {
                // A cut goes through what was opaque; the first step beside it is on its own side of the half.
                *value = if cleaned.get(x, y) { (*value).max(128) } else { (*value).min(127) };
            }
        }
    }
    Ok(AlphaMask::from_raw(size, values)?)
}

/// Whether alpha is that of this very mask: over 127 exactly where it is set.
fn is_drawn(alpha: &AlphaMask, mask: &BitMask) -> bool {
    // Least and most of whole runs, which compilers make vectors of; they leave early from no loop.
    let clear = |values: &[u8]| values.iter().fold(0, |most, &value| value.max(most)) <= 127;
    let set = |values: &[u8]| values.iter().fold(255, |least, &value| value.min(least)) > 127;
    let rows = alpha.values().chunks_exact(alpha.size().width.max(1) as usize);
    (0..).zip(rows).all(|(y, row)| {
        let mut end = 0;
        let is_run_drawn = |(x0, x1): (u32, u32)| {
            let (start, before) = (x0 as usize, end);
            end = x1 as usize;
            clear(&row[before..start]) && set(&row[start..end])
        };
        mask.runs(y).all(is_run_drawn) && clear(&row[end..])
    })
}

/// Which components have one of the points in them.
fn touched(components: &samovar_media::mask::Components, points: &[Point<Image>]) -> Vec<bool> {
    let mut touched = vec![false; components.len()];
    if points.is_empty() {
        return touched;
    }
    components.for_each_run(|component, y, x0, x1| {
        let inside = |point: &Point<Image>| {
            point.y.floor() as u32 == y && (x0..x1).contains(&(point.x.floor() as u32))
        };
        touched[component] |= points.iter().any(inside);
    });
    touched
}

/// The mask and the pixels beside and above and below it.
fn grown(mask: &BitMask) -> Result<BitMask> {
    let (width, height) = (mask.width(), mask.height());
    let mut grown = BitMask::try_new(mask.size())?;
    for y in 0..height {
        for (x0, x1) in mask.runs(y) {
            grown.set_run(y, x0.saturating_sub(1), (x1 + 1).min(width));
            if y > 0 {
                grown.set_run(y - 1, x0, x1);
            }
            if y + 1 < height {
                grown.set_run(y + 1, x0, x1);
            }
        }
    }
    Ok(grown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use samovar_geometry::Size;

    /// A block of 20 x 20 with a pinhole at (8, 8) and a hole of 6 x 6 around (15, 15), a block of 3 x 3 and one of 10 x 10.
    fn parts() -> BitMask {
        let within =
            |x: u32, y: u32, [x0, y0, x1, y1]: [u32; 4]| (x0..x1).contains(&x) && (y0..y1).contains(&y);
        BitMask::from_fn(Size::new(70, 40), |x, y| {
            let large = within(x, y, [2, 2, 22, 22]) && (x, y) != (8, 8) && !within(x, y, [12, 12, 18, 18]);
            large || within(x, y, [30, 2, 33, 5]) || within(x, y, [40, 20, 50, 30])
        })
    }

    #[test]
    fn one_click_keeps_what_was_clicked() {
        let kept = Cleanup::of(&Prompt::default().point(31.5, 3.5)).apply(parts()).unwrap();
        assert_eq!((kept.area(), kept.get(31, 3)), (9, true));
        let kept = Cleanup::of(&Prompt::default().point(5.5, 5.5)).apply(parts()).unwrap();
        assert_eq!(kept.pixel_bounds(), Some([2, 2, 22, 22]));
        assert!(kept.get(8, 8), "the pinhole is filled");
        assert!(!kept.get(15, 15), "the hole is too large for one");
        // A click beside every part tells nothing about them; the small one is a stray.
        let kept = Cleanup::of(&Prompt::default().point(60.0, 38.0)).apply(parts()).unwrap();
        assert_eq!((kept.get(5, 5), kept.get(45, 25), kept.get(31, 3)), (true, true, false));
    }

    #[test]
    fn clicks_save_strays_and_holes() {
        let prompt = Prompt::default().within(0.0, 0.0, 60.0, 40.0);
        assert!(!Cleanup::of(&prompt).apply(parts()).unwrap().get(31, 3));
        assert!(Cleanup::of(&prompt.clone().point(31.5, 3.5)).apply(parts()).unwrap().get(31, 3));
        assert!(Cleanup::of(&prompt).apply(parts()).unwrap().get(8, 8));
        assert!(!Cleanup::of(&prompt.without(8.5, 8.5)).apply(parts()).unwrap().get(8, 8));
    }

    #[test]
    fn alpha_follows() {
        let (mask, prompt) = (parts(), Prompt::default().point(5.5, 5.5));
        let soft = AlphaMask::from_raw(mask.size(), mask.to_bytes(200)).unwrap();
        let cleaned = alpha_of_cleaned(soft, &Cleanup::of(&prompt).apply(mask.clone()).unwrap()).unwrap();
        let at = |x: u32, y: u32| cleaned.values()[(y * 70 + x) as usize];
        assert_eq!((at(31, 3), at(45, 25), at(8, 8), at(8, 9)), (0, 0, 255, 255));
        assert_eq!(at(2, 2), 200, "edges stay soft");
    }

    #[test]
    fn alpha_follows_a_cut_through_the_mask() {
        let mask = parts();
        let opaque = AlphaMask::from_raw(mask.size(), mask.to_bytes(255)).unwrap();
        let cut = BitMask::from_fn(mask.size(), |x, y| mask.get(x, y) && x < 10 || (x, y) == (60, 35));
        let alpha = alpha_of_cleaned(opaque, &cut).unwrap();
        assert!(is_drawn(&alpha, &cut));
        let at = |x: u32, y: u32| alpha.values()[(y * 70 + x) as usize];
        assert_eq!([at(9, 5), at(10, 5), at(11, 5), at(60, 35)], [255, 127, 0, 128]);
    }

    #[test]
    fn alpha_stays_as_it_is_where_nothing_was_cleaned_up() {
        let mask = parts();
        let soft = AlphaMask::from_raw(mask.size(), mask.to_bytes(130)).unwrap();
        assert_eq!(alpha_of_cleaned(soft.clone(), &mask).unwrap(), soft);
        for (x, y) in [(8, 8), (0, 0), (69, 39), (5, 5), (21, 21)] {
            let mut other = mask.clone();
            other.set(x, y, !mask.get(x, y));
            assert!(is_drawn(&soft, &mask) && !is_drawn(&soft, &other), "({x}, {y})");
        }
    }

    #[test]
    fn alpha_of_another_size_is_refused() {
        let soft = AlphaMask::from_raw(Size::new(3, 2), vec![0; 6]).unwrap();
        assert!(alpha_of_cleaned(soft, &parts()).is_err());
    }

    #[test]
    fn nothing_comes_of_nothing() {
        let empty = BitMask::new(Size::new(7, 5));
        assert_eq!(Cleanup::default().apply(empty.clone()).unwrap(), empty);
        let full = BitMask::full(Size::new(7, 5));
        assert_eq!(Cleanup::default().apply(full.clone()).unwrap(), full);
    }
}
