//! Seeded mutations: the same seed makes the same inputs on every machine.

/// Numbers that parsers trip over: limits of their types, and sizes that overflow when multiplied.
const INTERESTING: &[u64] = &[
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

/// Pieces that change the meaning of text formats.
const WORDS: &[&str] = &[
    "-1",
    "1e999",
    "4294967296",
    "18446744073709551616",
    "null",
    "[]",
    "{}",
    "[[[[[[[[",
    "\"",
    "NaN",
    "\u{0}",
    "\\u0000",
];

/// Most bytes of an input; larger ones are slow and rarely find more.
const MAX_BYTES: usize = 64 << 10;

/// Makes inputs out of seeds.
#[derive(Debug, Clone)]
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// A mutator whose inputs follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// One of the seeds, changed in a few places.
    pub fn next_input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.pick(seeds).cloned().unwrap_or_default();
        for _ in 0..1 + self.below(6) {
            self.mutate(&mut input, seeds);
        }
        input.truncate(MAX_BYTES);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        match self.below(11) {
            0 => self.change_byte(input, |byte, random| byte ^ (1 << (random % 8))),
            1 => self.change_byte(input, |_, random| random as u8),
            2 => self
                .change_byte(input, |byte, random| byte.wrapping_add((random % 35) as u8).wrapping_sub(17)),
            3 => input.truncate(at),
            4 => {
                let end = (at + 1 + self.below(16)).min(input.len());
                input.drain(at.min(end)..end);
            }
            5 => {
                let bytes = [self.next() as u8; 1];
                let count = 1 + self.below(32);
                input.splice(at..at, bytes.repeat(count));
            }
            6 => {
                let width = [1, 2, 4, 8][self.below(4)];
                let value = INTERESTING[self.below(INTERESTING.len())];
                let bytes = if self.below(2) == 0 {
                    value.to_le_bytes()
                } else {
                    value.rotate_right(8 * width).to_be_bytes()
                };
                overwrite(input, at, &bytes[..width as usize]);
            }
            7 => {
                let word = WORDS[self.below(WORDS.len())].as_bytes();
                let end = (at + self.below(word.len() + 1)).min(input.len());
                input.splice(at..end, word.iter().copied());
            }
            8 => {
                let from = self.below(input.len() + 1);
                let end = (from + 1 + self.below(64)).min(input.len());
                let piece = input[from.min(end)..end].to_vec();
                input.splice(at..at, piece);
            }
            9 => {
                if let Some(other) = self.pick(seeds) {
                    let from = self.below(other.len() + 1);
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
            }
            _ => self.change_digits(input),
        }
    }

    fn change_byte(&mut self, input: &mut [u8], change: impl Fn(u8, u64) -> u8) {
        if input.is_empty() {
            return;
        }
        let at = self.below(input.len());
        input[at] = change(input[at], self.next());
    }

    /// Replaces a number in text by an interesting one.
    fn change_digits(&mut self, input: &mut Vec<u8>) {
        let numbers: Vec<usize> = (0..input.len())
            .filter(|&at| input[at].is_ascii_digit() && (at == 0 || !input[at - 1].is_ascii_digit()))
            .collect();
        let Some(&start) = self.pick(&numbers) else { return };
        let end = start + input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let value = INTERESTING[self.below(INTERESTING.len())];
        input.splice(start..end, value.to_string().into_bytes());
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.next() % limit as u64) as usize }
    }

    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (target, byte) in input.iter_mut().skip(at).zip(bytes) {
        *target = *byte;
    }
}
