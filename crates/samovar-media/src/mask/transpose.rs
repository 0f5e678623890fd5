//! Rows to columns, 64 x 64 bits at a time: COCO counts run down the columns, our rows run across.

use samovar_geometry::Size;

use super::bits::BitMask;
use crate::error::Result;

/// The mask with x and y exchanged.
pub(super) fn transposed(mask: &BitMask) -> Result<BitMask> {
    let size = mask.size();
    let mut turned = BitMask::try_new(Size::new(size.height, size.width))?;
    let (from_stride, to_stride) = (mask.words_per_row(), turned.words_per_row());
    let mut block = [0u64; 64];
    for y0 in (0..size.height as usize).step_by(64) {
        let rows = (size.height as usize - y0).min(64);
        for column in 0..from_stride {
            let mut any = 0;
            for (row, word) in block.iter_mut().enumerate() {
                *word = if row < rows { mask.words()[(y0 + row) * from_stride + column] } else { 0 };
                any |= *word;
            }
            if any == 0 {
                continue; // most of a mask is nothing
            }
            transpose_block(&mut block);
            let x0 = column * 64;
            let columns = (size.width as usize - x0).min(64);
            for (x, &word) in block[..columns].iter().enumerate() {
                turned.words_mut()[(x0 + x) * to_stride + y0 / 64] = word;
            }
        }
    }
    Ok(turned)
}

/// Bit `x` of word `y` becomes bit `y` of word `x` (Hacker's Delight 7-3, lowest bit first).
fn transpose_block(block: &mut [u64; 64]) {
    let mut half = 32;
    let mut low = 0x0000_0000_ffff_ffffu64;
    while half != 0 {
        let mut row = 0;
        while row < 64 {
            let exchanged = (block[row] >> half ^ block[row + half]) & low;
            block[row] ^= exchanged << half;
            block[row + half] ^= exchanged;
            row = (row + half + 1) & !half;
        }
        half >>= 1;
        low ^= low << half;
    }
}
