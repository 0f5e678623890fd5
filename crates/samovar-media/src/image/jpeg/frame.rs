//! A JPEG's headers, as far as they say how many blocks there are and how they are coded.

/// Huffman tables and the restart interval that are in force.
#[derive(Debug, Default)]
pub(super) struct Tables {
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    /// Units between restart markers; 0 for none.
    restart_interval: usize,
}

impl Tables {
    /// Takes over a segment that defines Huffman tables; tables that make no sense are left out.
    pub(super) fn define(&mut self, mut payload: &[u8]) {
        while let Some((&[kind, ref counts @ ..], rest)) = payload.split_first_chunk::<17>() {
            let symbols: usize = counts.iter().map(|&count| usize::from(count)).sum();
            let Some(of_table) = rest.get(..symbols) else { return };
            payload = &rest[symbols..];
            let slots = if kind >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            if let Some(slot) = slots.get_mut(usize::from(kind & 15)) {
                *slot = Huffman::new(counts, of_table);
            }
        }
    }

    /// Takes over a segment that sets the restart interval.
    pub(super) fn set_restart_interval(&mut self, payload: &[u8]) {
        if let Some(&[high, low]) = payload.first_chunk() {
            self.restart_interval = usize::from(u16::from_be_bytes([high, low]));
        }
    }
}

/// Codes of up to this many bits are looked up at once.
const FAST_BITS: u32 = 9;

/// A Huffman table.
#[derive(Debug)]
pub(super) struct Huffman {
    /// By the next [`FAST_BITS`] bits: length (0 for longer codes) and symbol.
    fast: Vec<(u8, u8)>,
    /// By length: the first code, and where its symbol is. Codes of a length are consecutive.
    first: [(u32, u32); 17],
    counts: [u8; 16],
    symbols: Vec<u8>,
}

impl Huffman {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut fast = vec![(0, 0); 1 << FAST_BITS];
        let mut first = [(0, 0); 17];
        let (mut code, mut index) = (0u32, 0u32);
        for length in 1..=16u32 {
            first[length as usize] = (code, index);
            for _ in 0..counts[length as usize - 1] {
                if code >> length != 0 {
                    return None; // more codes than bits
                }
                if length <= FAST_BITS {
                    let spare = FAST_BITS - length;
                    let at = (code << spare) as usize;
                    fast[at..at + (1 << spare)].fill((length as u8, symbols[index as usize]));
                }
                code += 1;
                index += 1;
            }
            code <<= 1;
        }
        Some(Self { fast, first, counts: *counts, symbols: symbols.to_vec() })
    }

    /// Length and symbol of the code that the 16 bits begin with.
    pub(super) fn symbol(&self, next16: u32) -> Option<(u32, u8)> {
        let (length, symbol) = self.fast[(next16 >> (16 - FAST_BITS)) as usize];
        if length > 0 {
            return Some((u32::from(length), symbol));
        }
        (FAST_BITS + 1..=16).find_map(|length| {
            let (first, index) = self.first[length as usize];
            let offset = (next16 >> (16 - length)).checked_sub(first)?;
            let is_code = offset < u32::from(self.counts[length as usize - 1]);
            is_code.then(|| (length, self.symbols[(index + offset) as usize]))
        })
    }
}

/// A colour component of the picture.
#[derive(Debug)]
pub(super) struct Component {
    id: u8,
    /// Blocks of a unit, across and down.
    pub(super) sampling: [usize; 2],
    /// Blocks that hold pixels, across and down; scans of this component alone have no others.
    pub(super) blocks: [usize; 2],
    /// Blocks in a row, those that fill up units included.
    pub(super) stride: usize,
    has_data: bool,
    /// Progressive: by block, which coefficients are not zero so far. Refinements cannot be followed without.
    pub(super) nonzero: Vec<u64>,
}

/// The picture that a header promises.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) is_progressive: bool,
    /// Units of all components, across and down.
    pub(super) units: [usize; 2],
    pub(super) components: Vec<Component>,
}

impl Frame {
    /// Reads a start-of-frame segment; `None` for what is not followed here, makes no sense or has too many pixels.
    pub(super) fn parse(payload: &[u8], is_progressive: bool, max_pixels: u64) -> Option<Self> {
        let (&[_, h1, h0, w1, w0, count], rest) = payload.split_first_chunk::<6>()?;
        let size = [u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0])].map(usize::from);
        let specified = rest.chunks_exact(3).take(usize::from(count));
        let specified: Vec<(u8, [usize; 2])> =
            specified.map(|c| (c[0], [usize::from(c[1] >> 4), usize::from(c[1] & 15)])).collect();
        let is_sound = |&(_, sampling): &(u8, [usize; 2])| sampling.iter().all(|side| (1..=4).contains(side));
        if size.contains(&0) || !(1..=4).contains(&specified.len()) || !specified.iter().all(is_sound) {
            return None;
        }
        if size[0] as u64 * size[1] as u64 > max_pixels {
            return None;
        }
        let most = [0, 1].map(|axis| specified.iter().map(|(_, sampling)| sampling[axis]).max().unwrap_or(1));
        let units = [0, 1].map(|axis| size[axis].div_ceil(8 * most[axis]));
        let component = |(id, sampling): (u8, [usize; 2])| {
            let blocks = [0, 1].map(|axis| (size[axis] * sampling[axis]).div_ceil(8 * most[axis]));
            let [stride, rows] = [0, 1].map(|axis| units[axis] * sampling[axis]);
            let nonzero = if is_progressive { vec![0; stride * rows] } else { Vec::new() };
            Component { id, sampling, blocks, stride, has_data: false, nonzero }
        };
        Some(Self { is_progressive, units, components: specified.into_iter().map(component).collect() })
    }

    /// Whether every component had a scan.
    pub(super) fn has_all_components(&self) -> bool {
        self.components.iter().all(|component| component.has_data)
    }

    /// Reads a start-of-scan segment and notes that its components have data; `None` for what cannot be followed.
    pub(super) fn scan<'t>(&mut self, payload: &[u8], tables: &'t Tables) -> Option<Scan<'t>> {
        let count = usize::from(*payload.first()?);
        let selected = payload.get(1..1 + count * 2)?;
        let &[first, last, bits] = payload.get(1 + count * 2..)?.first_chunk()?;
        // Whether it can be followed or not: the tables of a JPEG inside a TIFF lie elsewhere.
        for component in &mut self.components {
            component.has_data |= selected.chunks_exact(2).any(|pair| pair[0] == component.id);
        }
        let [first, last] = if self.is_progressive { [first, last] } else { [0, 63] };
        let is_refinement = self.is_progressive && bits >> 4 > 0;
        if last > 63 || first > last || (self.is_progressive && first == 0 && last > 0) {
            return None;
        }
        let mut components = Vec::with_capacity(count);
        for pair in selected.chunks_exact(2) {
            let index = self.components.iter().position(|component| component.id == pair[0])?;
            let dc = tables.dc.get(usize::from(pair[1] >> 4))?.as_ref();
            let ac = tables.ac.get(usize::from(pair[1] & 15))?.as_ref();
            let misses_dc = first == 0 && !is_refinement && dc.is_none();
            if misses_dc || (last > 0 && ac.is_none()) {
                return None;
            }
            components.push(Selected { index, dc, ac });
        }
        if components.is_empty() || components.len() > 4 || (first > 0 && components.len() > 1) {
            return None;
        }
        Some(Scan { components, first, last, is_refinement, restart_interval: tables.restart_interval })
    }
}

/// A component of a scan, with its tables.
#[derive(Debug)]
pub(super) struct Selected<'t> {
    pub(super) index: usize,
    pub(super) dc: Option<&'t Huffman>,
    pub(super) ac: Option<&'t Huffman>,
}

/// What a scan holds.
#[derive(Debug)]
pub(super) struct Scan<'t> {
    pub(super) components: Vec<Selected<'t>>,
    /// The first and the last coefficient, in zigzag order.
    pub(super) first: u8,
    pub(super) last: u8,
    /// Progressive: one more bit of coefficients that are there already.
    pub(super) is_refinement: bool,
    pub(super) restart_interval: usize,
}
