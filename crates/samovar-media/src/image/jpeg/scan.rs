//! One scan of a JPEG, walked block by block without making pixels.

use super::frame::{Frame, Huffman, Scan, Selected};

/// The data ends before the block does, or makes no sense.
struct Cut;

/// Walks all blocks of a scan; `data` begins behind its header. The bytes that were used, or the share of the scan's units
/// that are there, in percent.
pub(super) fn walk(scan: &Scan, frame: &mut Frame, data: &[u8]) -> Result<usize, u8> {
    let is_alone = scan.components.len() == 1;
    let [across, down] = match is_alone {
        true => frame.components[scan.components[0].index].blocks,
        false => frame.units,
    };
    let mut reader = Reader { bits: Bits::new(data), end_of_band_run: 0 };
    let units = across * down;
    for unit in 0..units {
        if scan.restart_interval > 0 && unit > 0 && unit % scan.restart_interval == 0 {
            reader.end_of_band_run = 0;
            reader.bits.restart().map_err(|Cut| percent(unit, units))?;
        }
        let (x, y) = (unit % across, unit / across);
        for selected in &scan.components {
            let component = &mut frame.components[selected.index];
            let [wide, high] = if is_alone { [1, 1] } else { component.sampling };
            for row in 0..high {
                for column in 0..wide {
                    let at = (y * high + row) * component.stride + x * wide + column;
                    let block = match frame.is_progressive {
                        true => reader.progressive(scan, selected, &mut component.nonzero[at]),
                        false => reader.sequential(selected),
                    };
                    block.map_err(|Cut| percent(unit, units))?;
                }
            }
        }
    }
    Ok(reader.bits.at)
}

fn percent(unit: usize, units: usize) -> u8 {
    (unit * 100 / units.max(1)) as u8
}

struct Reader<'a> {
    bits: Bits<'a>,
    /// Progressive: blocks whose band is at its end before it begins.
    end_of_band_run: u32,
}

impl Reader<'_> {
    fn sequential(&mut self, selected: &Selected) -> Result<(), Cut> {
        let dc = self.symbol(selected.dc)?;
        self.bits.skip(u32::from(dc & 15))?;
        let mut at = 1;
        while at < 64 {
            let symbol = self.symbol(selected.ac)?;
            let (run, size) = (symbol >> 4, symbol & 15);
            match (run, size) {
                (15, 0) => at += 16,
                (_, 0) => break,
                _ => {
                    self.bits.skip(u32::from(size))?;
                    at += run + 1;
                }
            }
        }
        Ok(())
    }

    fn progressive(&mut self, scan: &Scan, selected: &Selected, nonzero: &mut u64) -> Result<(), Cut> {
        match (scan.first, scan.is_refinement) {
            (0, false) => {
                let size = self.symbol(selected.dc)?;
                self.bits.skip(u32::from(size & 15))
            }
            (0, true) => self.bits.skip(1),
            (_, false) => self.band(scan, selected, nonzero),
            (_, true) => self.refined_band(scan, selected, nonzero),
        }
    }

    fn band(&mut self, scan: &Scan, selected: &Selected, nonzero: &mut u64) -> Result<(), Cut> {
        if self.end_of_band_run > 0 {
            self.end_of_band_run -= 1;
            return Ok(());
        }
        let mut at = scan.first;
        while at <= scan.last {
            let symbol = self.symbol(selected.ac)?;
            let (run, size) = (symbol >> 4, symbol & 15);
            match (run, size) {
                (15, 0) => at += 16,
                (run, 0) => {
                    self.end_of_band_run = (1 << run) - 1 + self.bits.take(u32::from(run))?;
                    break;
                }
                _ => {
                    self.bits.skip(u32::from(size))?;
                    at += run;
                    if at > scan.last {
                        return Err(Cut);
                    }
                    *nonzero |= 1 << at;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    fn refined_band(&mut self, scan: &Scan, selected: &Selected, nonzero: &mut u64) -> Result<(), Cut> {
        let mut at = scan.first;
        while self.end_of_band_run == 0 && at <= scan.last {
            let symbol = self.symbol(selected.ac)?;
            let (mut run, size) = (symbol >> 4, symbol & 15);
            if size == 0 && run < 15 {
                self.end_of_band_run = (1 << run) + self.bits.take(u32::from(run))?;
                break;
            }
            if size > 0 {
                self.bits.skip(1)?; // the sign
            }
            // Coefficients that are there already have a bit each, between the zeros of the run.
            while at <= scan.last {
                if *nonzero >> at & 1 == 1 {
                    self.bits.skip(1)?;
                } else if run == 0 {
                    *nonzero |= u64::from(size > 0) << at;
                    at += 1;
                    break;
                } else {
                    run -= 1;
                }
                at += 1;
            }
        }
        if self.end_of_band_run > 0 {
            self.end_of_band_run -= 1;
            let in_band = (!0u64 << at) & (!0u64 >> (63 - scan.last));
            // `at` is 64 at most, and then the band is over.
            let left = if at > scan.last { 0 } else { (*nonzero & in_band).count_ones() };
            for _ in 0..left {
                self.bits.skip(1)?;
            }
        }
        Ok(())
    }

    fn symbol(&mut self, table: Option<&Huffman>) -> Result<u8, Cut> {
        let (length, symbol) = table.ok_or(Cut)?.symbol(self.bits.peek16()).ok_or(Cut)?;
        self.bits.skip(length)?;
        Ok(symbol)
    }
}

/// Bits of entropy-coded data up to the next marker.
struct Bits<'a> {
    data: &'a [u8],
    /// The next byte that is not in `buffer`.
    at: usize,
    /// The next bits, the first one highest; below the `count` bits that there are it is zero.
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, buffer: 0, count: 0 }
    }

    fn fill(&mut self) {
        while self.count <= 56 {
            let byte = match self.data.get(self.at..) {
                Some(&[0xff, 0x00, ..]) => {
                    self.at += 2;
                    0xff
                }
                Some(&[0xff, 0xff, ..]) => {
                    self.at += 1; // fill byte
                    continue;
                }
                Some(&[0xff, ..]) | Some(&[]) | None => return,
                Some(&[byte, ..]) => {
                    self.at += 1;
                    byte
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next 16 bits; those beyond the end are zero.
    fn peek16(&mut self) -> u32 {
        if self.count < 16 {
            self.fill();
        }
        (self.buffer >> 48) as u32
    }

    /// Up to 16 bits as a number.
    fn take(&mut self, bits: u32) -> Result<u32, Cut> {
        let value = self.peek16() >> (16 - bits);
        self.skip(bits)?;
        Ok(value)
    }

    fn skip(&mut self, bits: u32) -> Result<(), Cut> {
        if self.count < bits {
            self.fill();
            if self.count < bits {
                return Err(Cut);
            }
        }
        self.buffer <<= bits;
        self.count -= bits;
        Ok(())
    }

    /// Goes behind the next marker, which must be a restart marker.
    fn restart(&mut self) -> Result<(), Cut> {
        (self.buffer, self.count) = (0, 0);
        loop {
            match self.data.get(self.at..) {
                Some(&[0xff, 0xd0..=0xd7, ..]) => {
                    self.at += 2;
                    return Ok(());
                }
                Some(&[0xff, 0x00, ..]) => self.at += 2,
                Some(&[0xff, 0xff, ..]) => self.at += 1,
                Some(&[0xff, ..]) | Some(&[]) | None => return Err(Cut),
                Some(_) => self.at += 1,
            }
        }
    }
}
