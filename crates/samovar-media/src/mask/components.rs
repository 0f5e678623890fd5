//! Connected components, found run by run, and upstream's removal of small holes and islands.

use samovar_geometry::{Image, Size};

use super::bits::BitMask;
use crate::error::Result;
use crate::room::{collected, one_more};

/// Which neighbours a pixel is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Connectivity {
    /// Left, right, above, below.
    Four,
    /// Those and the four diagonal ones.
    Eight,
}

/// One connected component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Component {
    /// Number of pixels.
    pub area: u64,
    /// First and one past last column and row: `[x0, y0, x1, y1]`, half-open.
    pub bounds: [u32; 4],
    /// First 2 x 2 block with a pixel of it, (row, column) in blocks: OpenCV numbers components in this order.
    first_block: (u32, u32),
}

#[derive(Debug, Clone, Copy)]
struct Run {
    y: u32,
    x0: u32,
    x1: u32,
    component: u32,
}

/// All connected components of a mask, in the order in which a row-by-row scan meets them.
#[derive(Debug, Clone)]
pub struct Components {
    size: Size<Image>,
    components: Vec<Component>,
    runs: Vec<Run>,
}

impl Components {
    /// The components.
    pub fn all(&self) -> &[Component] {
        &self.components
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.components.len()
    }

    /// Whether the mask was empty.
    pub fn is_empty(&self) -> bool {
        self.components.is_empty()
    }

    /// Clears the components (by their index in [`Components::all`]) for which `keep` does not hold in the mask they were found in.
    pub fn retain(&self, mask: &mut BitMask, keep: impl Fn(usize) -> bool) {
        for run in self.runs.iter().filter(|run| !keep(run.component as usize)) {
            mask.clear_run(run.y, run.x0, run.x1);
        }
    }

    /// The mask of the components for which `keep` holds.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
    pub fn mask_of(&self, keep: impl Fn(usize) -> bool) -> Result<BitMask> {
        let mut mask = BitMask::try_new(self.size)?;
        for run in self.runs.iter().filter(|run| keep(run.component as usize)) {
            mask.set_run(run.y, run.x0, run.x1);
        }
        Ok(mask)
    }

    /// Calls `f(component, y, x0, x1)` for every run of pixels, rows from top to bottom.
    pub fn for_each_run(&self, mut f: impl FnMut(usize, u32, u32, u32)) {
        for run in &self.runs {
            f(run.component as usize, run.y, run.x0, run.x1);
        }
    }
}

/// The connected components of a mask.
///
/// # Errors
/// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory): a mask of noise has a run for every other pixel.
pub fn connected_components(mask: &BitMask, connectivity: Connectivity) -> Result<Components> {
    // Runs of adjacent rows that touch belong together: union-find over runs, each root the earliest run of its set.
    let reach = if connectivity == Connectivity::Eight { 1 } else { 0 };
    let mut runs: Vec<Run> = Vec::new();
    let mut parent: Vec<u32> = Vec::new();
    let mut above = 0..0; // the previous row's runs
    for y in 0..mask.height() {
        let row_start = runs.len();
        let mut candidate = above.start;
        for (x0, x1) in mask.runs(y) {
            let index = runs.len();
            one_more(&mut runs, Run { y, x0, x1, component: 0 })?;
            one_more(&mut parent, index as u32)?;
            while candidate < above.end && runs[candidate].x1 + reach <= x0 {
                candidate += 1; // ends before this run begins, so it cannot touch any later one either
            }
            let mut touching = candidate;
            while touching < above.end && runs[touching].x0 < x1 + reach {
                union(&mut parent, touching as u32, index as u32);
                touching += 1;
            }
        }
        above = row_start..runs.len();
    }
    let mut components: Vec<Component> = Vec::new();
    let mut number_of_root = collected(runs.len(), std::iter::repeat(u32::MAX))?;
    for index in 0..runs.len() {
        let root = find(&mut parent, index as u32) as usize;
        if number_of_root[root] == u32::MAX {
            number_of_root[root] = components.len() as u32;
            let bounds = [u32::MAX, u32::MAX, 0, 0];
            one_more(&mut components, Component { area: 0, bounds, first_block: (u32::MAX, u32::MAX) })?;
        }
        let run = &mut runs[index];
        run.component = number_of_root[root];
        let component = &mut components[run.component as usize];
        component.area += u64::from(run.x1 - run.x0);
        let [x0, y0, x1, y1] = component.bounds;
        component.bounds = [x0.min(run.x0), y0.min(run.y), x1.max(run.x1), y1.max(run.y + 1)];
        component.first_block = component.first_block.min((run.y / 2, run.x0 / 2));
    }
    Ok(Components { size: mask.size(), components, runs })
}

fn find(parent: &mut [u32], mut index: u32) -> u32 {
    while parent[index as usize] != index {
        let grandparent = parent[parent[index as usize] as usize];
        parent[index as usize] = grandparent; // halves the path for the next one
        index = grandparent;
    }
    index
}

fn union(parent: &mut [u32], a: u32, b: u32) {
    let (a, b) = (find(parent, a), find(parent, b));
    parent[a.max(b) as usize] = a.min(b);
}

/// What [`remove_small_regions`] removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SmallRegions {
    /// Connected pieces of background inside or at the border: they are filled.
    Holes,
    /// Connected pieces of the mask: they are cleared, but the largest stays if all are too small.
    Islands,
}

/// Removes 8-connected regions of fewer than `area_threshold` pixels, exactly as upstream's function of this name
/// (`segment_anything/utils/amg.py`), in place. Returns whether the mask changed.
///
/// # Errors
/// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
pub fn remove_small_regions(mask: &mut BitMask, area_threshold: f64, what: SmallRegions) -> Result<bool> {
    let regions = match what {
        SmallRegions::Holes => components_outside(mask, Connectivity::Eight)?,
        SmallRegions::Islands => connected_components(mask, Connectivity::Eight)?,
    };
    let is_small = |index: usize| (regions.components[index].area as f64) < area_threshold;
    if !(0..regions.len()).any(is_small) {
        return Ok(false);
    }
    match what {
        SmallRegions::Holes => regions.for_each_run(|index, y, x0, x1| {
            if is_small(index) {
                mask.set_run(y, x0, x1);
            }
        }),
        SmallRegions::Islands if (0..regions.len()).all(is_small) => {
            // The first of the largest, counted in OpenCV's order of labels, which goes by 2 x 2 blocks.
            let rank = |index: &usize| {
                let component = &regions.components[*index];
                (std::cmp::Reverse(component.area), component.first_block)
            };
            let largest = (0..regions.len()).min_by_key(rank);
            regions.retain(mask, |index| Some(index) == largest);
        }
        SmallRegions::Islands => regions.retain(mask, |index| !is_small(index)),
    }
    Ok(true)
}

/// The connected components of what is not in the mask, which is turned over for it and back again.
///
/// # Errors
/// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory); the mask is as it was.
pub fn components_outside(mask: &mut BitMask, connectivity: Connectivity) -> Result<Components> {
    mask.invert();
    let outside = connected_components(mask, connectivity);
    mask.invert();
    outside
}

#[cfg(test)]
mod tests;
