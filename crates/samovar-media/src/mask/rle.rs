//! [`Rle`]: COCO's run lengths, down the columns, as a list of counts or in the compressed string form.

use samovar_geometry::{Image, Size};

use super::bits::{BitMask, runs_of};
use super::transpose::transposed;
use crate::error::{MediaError, Result};
use crate::room::one_more;

/// Most pixels a run-length encoded mask may claim to have: a billion, 128 MiB of bits once decoded. A few bytes of
/// text can claim any size, so there is a limit.
pub const MAX_RLE_PIXELS: u64 = 1 << 30;

/// A mask as COCO stores it: lengths of runs, alternately clear and set, starting with a clear run (which may be 0),
/// through the pixels column by column, top to bottom. The lengths always add up to the number of pixels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rle {
    size: Size<Image>,
    counts: Vec<u32>,
}

impl Rle {
    /// Wraps counts from elsewhere; refuses them if they do not add up to the size, or the size is over
    /// [`MAX_RLE_PIXELS`].
    pub fn from_counts(size: Size<Image>, counts: Vec<u32>) -> Result<Self> {
        if size.area() > MAX_RLE_PIXELS {
            return Err(MediaError::too_large(format!(
                "a run-length encoded mask of {size} is over the limit of {MAX_RLE_PIXELS} pixels"
            )));
        }
        let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        if total != size.area() {
            return Err(MediaError::damaged(format!(
                "the run lengths add up to {total} pixels, a mask of {size} has {}",
                size.area()
            )));
        }
        Ok(Self { size, counts })
    }

    /// Encodes a mask, exactly as upstream's `mask_to_rle_pytorch` and pycocotools do.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
    pub fn from_mask(mask: &BitMask) -> Result<Self> {
        let columns = transposed(mask)?;
        let mut counts = Vec::new();
        // Positions through the columns; an open run waits for the next column, which may continue it.
        let (mut run_start, mut run_end) = (0u64, 0u64);
        for x in 0..mask.width() {
            let top = u64::from(x) * u64::from(mask.height());
            for (start, end) in runs_of(columns.row(x)) {
                let (start, end) = (top + start as u64, top + end as u64);
                if start == run_end && run_end > run_start {
                    run_end = end;
                    continue;
                }
                push_run(&mut counts, run_start, run_end, start)?;
                (run_start, run_end) = (start, end);
            }
        }
        push_run(&mut counts, run_start, run_end, mask.size().area())?;
        // Masks are kept by the thousand, and nobody adds to them.
        counts.shrink_to_fit();
        Ok(Self { size: mask.size(), counts })
    }

    /// Decodes to bits.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
    pub fn to_mask(&self) -> Result<BitMask> {
        let height = self.size.height;
        let mut columns = BitMask::try_new(Size::new(height, self.size.width))?;
        let mut position = 0u64;
        for (index, &count) in self.counts.iter().enumerate() {
            let end = position + u64::from(count);
            if index % 2 == 1 {
                let mut at = position;
                while at < end {
                    let (x, y) = ((at / u64::from(height)) as u32, (at % u64::from(height)) as u32);
                    let run = (end - at).min(u64::from(height - y));
                    columns.set_run(x, y, y + run as u32);
                    at += run;
                }
            }
            position = end;
        }
        transposed(&columns)
    }

    /// Width and height.
    pub fn size(&self) -> Size<Image> {
        self.size
    }

    /// The run lengths, to keep.
    pub fn into_counts(self) -> Vec<u32> {
        self.counts
    }

    /// The run lengths.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Number of set pixels.
    pub fn area(&self) -> u64 {
        self.counts.iter().skip(1).step_by(2).map(|&count| u64::from(count)).sum()
    }

    /// The counts in pycocotools' string form: differences to the count two before, five bits per character.
    pub fn to_coco_string(&self) -> String {
        let mut text = String::with_capacity(self.counts.len() * 2);
        for (index, &count) in self.counts.iter().enumerate() {
            let before = if index > 2 { self.counts[index - 2] } else { 0 };
            let mut rest = i64::from(count) - i64::from(before);
            loop {
                let low = (rest & 0x1f) as u8;
                rest >>= 5;
                // Done when the sign bit of the last group already says what is left.
                let more = if low & 0x10 != 0 { rest != -1 } else { rest != 0 };
                text.push(char::from(low + if more { 0x20 } else { 0 } + 48));
                if !more {
                    break;
                }
            }
        }
        text
    }

    /// Reads pycocotools' string form.
    pub fn from_coco_string(size: Size<Image>, text: &str) -> Result<Self> {
        let mut counts: Vec<u32> = Vec::new();
        let mut characters = text.bytes().enumerate();
        while let Some((at, first)) = characters.next() {
            let mut value = 0i64;
            let mut shift = 0;
            let mut character = first;
            loop {
                let bits = character.wrapping_sub(48);
                // Seven groups hold any difference of two 32-bit counts.
                if bits > 0x3f || shift > 30 {
                    let what = format!("character {at} of the compressed run lengths makes no sense");
                    return Err(MediaError::damaged(what));
                }
                value |= i64::from(bits & 0x1f) << shift;
                shift += 5;
                if bits & 0x20 == 0 {
                    if bits & 0x10 != 0 {
                        value |= -1 << shift;
                    }
                    break;
                }
                character = match characters.next() {
                    Some((_, next)) => next,
                    None => return Err(MediaError::damaged("the compressed run lengths end too early")),
                };
            }
            if counts.len() > 2 {
                value += i64::from(counts[counts.len() - 2]);
            }
            let count = u32::try_from(value)
                .map_err(|_| MediaError::damaged(format!("a run of {value} pixels is not possible")))?;
            counts.push(count);
        }
        Self::from_counts(size, counts)
    }
}

/// Ends the clear run before `run_start..run_end` and that run itself, given where the next one starts.
fn push_run(counts: &mut Vec<u32>, run_start: u64, run_end: u64, next_start: u64) -> Result<()> {
    // Runs are shorter than 2^32 for any mask that fits the limits of decoding; a longer one is cut by empty runs.
    let mut push = |mut length: u64| {
        while length > u64::from(u32::MAX) {
            one_more(counts, u32::MAX)?;
            one_more(counts, 0)?;
            length -= u64::from(u32::MAX);
        }
        one_more(counts, length as u32)
    };
    if run_end > run_start {
        push(run_end - run_start)?;
    }
    if next_start > run_end || run_end == 0 {
        push(next_start - run_end)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
