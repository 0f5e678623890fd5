//! How values are shown: from what a file's values mean to sRGB, by one table.
//!
//! A row is a curve (encoded values to linear light, relative to the exposure) and the primaries it is in. Values become linear light in
//! the primaries of Rec. 709 (chromatic adaptation by Bradford's matrix where the white differs), and these sRGB, as IEC 61966-2-1 has
//! it: what is below 0 is black, what is over 1 white. No tone mapping: a pixel looks the same whatever is around it, in every frame.

use std::fmt;
use std::str::FromStr;

use crate::error::Result;
use crate::room::{collected, room};

/// What the values of a picture mean, and so how they are shown as sRGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the table has the words")]
pub enum ColourSpace {
    Srgb,
    Linear,
    AcesCg,
    Aces2065,
    AcesCct,
    LogC3,
    LogC4,
    SLog3,
    SLog3Cine,
    VLog,
    Cineon,
}

/// A row of the table.
struct Row {
    space: ColourSpace,
    name: &'static str,
    help: &'static str,
    /// Linear light of an encoded value, where that is another.
    curve: Option<fn(f64) -> f64>,
    primaries: Primaries,
}

/// In the order of [`ColourSpace`].
const TABLE: [Row; 11] = [
    row(ColourSpace::Srgb, "srgb", "Values for a screen, as they are (IEC 61966-2-1)", Some(srgb), REC_709),
    row(ColourSpace::Linear, "linear", "Linear light, primaries of Rec. 709 and sRGB", None, REC_709),
    row(ColourSpace::AcesCg, "acescg", "ACEScg (S-2014-004): linear light, primaries AP1", None, AP1),
    row(
        ColourSpace::Aces2065,
        "aces2065-1",
        "ACES2065-1 (SMPTE ST 2065-1): linear light, primaries AP0",
        None,
        AP0,
    ),
    row(
        ColourSpace::AcesCct,
        "acescct",
        "ACEScct (S-2016-001): logarithmic, primaries AP1",
        Some(acescct),
        AP1,
    ),
    row(
        ColourSpace::LogC3,
        "logc3",
        "ARRI LogC3 at EI 800 (ALEXA Log C Curve, 2017), ARRI Wide Gamut 3",
        Some(logc3),
        ARRI_WIDE_3,
    ),
    row(
        ColourSpace::LogC4,
        "logc4",
        "ARRI LogC4 (Logarithmic Color Space specification, 2022), ARRI Wide Gamut 4",
        Some(logc4),
        ARRI_WIDE_4,
    ),
    row(
        ColourSpace::SLog3,
        "slog3",
        "Sony S-Log3 (technical summary, 2014), S-Gamut3",
        Some(slog3),
        S_GAMUT_3,
    ),
    row(ColourSpace::SLog3Cine, "slog3-cine", "Sony S-Log3, S-Gamut3.Cine", Some(slog3), S_GAMUT_3_CINE),
    row(ColourSpace::VLog, "vlog", "Panasonic V-Log (reference manual, 2014), V-Gamut", Some(vlog), V_GAMUT),
    row(
        ColourSpace::Cineon,
        "cineon",
        "Kodak Cineon: density, black 95 and white 685 of 1023, film's gamma 0.6; primaries of Rec. 709",
        Some(cineon),
        REC_709,
    ),
];

const fn row(
    space: ColourSpace,
    name: &'static str,
    help: &'static str,
    curve: Option<fn(f64) -> f64>,
    primaries: Primaries,
) -> Row {
    Row { space, name, help, curve, primaries }
}

impl ColourSpace {
    /// All of them, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.space)
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its name, as `logc3`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What it is, and where it is published.
    pub fn help(self) -> &'static str {
        self.row().help
    }

    /// What is done with values that mean it, in words.
    pub(crate) fn note(self) -> String {
        match self {
            Self::Srgb => "frames are taken as sRGB".to_owned(),
            _ => format!("frames are {} ({}), shown as sRGB", self.name(), self.help()),
        }
    }

    /// Linear light of an encoded value; 0.18 is a grey card.
    pub fn to_linear(self, encoded: f64) -> f64 {
        self.row().curve.map_or(encoded, |curve| curve(encoded))
    }

    /// From linear light in its primaries to that in those of Rec. 709.
    pub fn to_rec_709(self) -> [[f64; 3]; 3] {
        self.row().primaries.to(&REC_709)
    }
}

impl fmt::Display for ColourSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ColourSpace {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = TABLE.iter().find(|row| row.name == text).map(|row| row.space);
        found.ok_or_else(|| {
            let names = TABLE.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
            format!("no colour space is called `{text}`; there are {names}")
        })
    }
}

fn srgb(value: f64) -> f64 {
    if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

fn to_srgb(linear: f64) -> f64 {
    if linear <= 0.003_130_8 { linear * 12.92 } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 }
}

fn acescct(value: f64) -> f64 {
    match value <= 0.155_251_141_552_511 {
        true => (value - 0.072_905_534_195_835_5) / 10.540_237_741_654_5,
        false => (value * 17.52 - 9.72).exp2(),
    }
}

fn logc3(value: f64) -> f64 {
    let [cut, a, b, c, d, e, f] = [0.010591, 5.555556, 0.052272, 0.247190, 0.385537, 5.367655, 0.092809];
    if value > e * cut + f { (10f64.powf((value - d) / c) - b) / a } else { (value - f) / e }
}

fn logc4(value: f64) -> f64 {
    let (a, b, c): (f64, f64, f64) =
        ((2f64.powi(18) - 16.0) / 117.45, (1023.0 - 95.0) / 1023.0, 95.0 / 1023.0);
    let s = 7.0 * 2f64.ln() * (7.0 - 14.0 * c / b).exp2() / (a * b);
    let t = ((14.0 * -c / b + 6.0).exp2() - 64.0) / a;
    if value >= 0.0 { ((14.0 * (value - c) / b + 6.0).exp2() - 64.0) / a } else { value * s + t }
}

fn slog3(value: f64) -> f64 {
    const CUT: f64 = 171.210_294_692_9;
    let code = value * 1023.0;
    match code >= CUT {
        true => 10f64.powf((code - 420.0) / 261.5) * (0.18 + 0.01) - 0.01,
        false => (code - 95.0) * 0.011_250_00 / (CUT - 95.0),
    }
}

fn vlog(value: f64) -> f64 {
    match value < 0.181 {
        true => (value - 0.125) / 5.6,
        false => 10f64.powf((value - 0.598206) / 0.241514) - 0.00873,
    }
}

fn cineon(value: f64) -> f64 {
    // 0.002 of density a code, by the film's gamma.
    let light = |code: f64| 10f64.powf((code - 685.0) * 0.002 / 0.6);
    let black = light(95.0);
    (light(value * 1023.0) - black) / (1.0 - black)
}

/// Colours of the three lights that values mean, and their white: CIE 1931 x and y.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Primaries {
    /// Red, green, blue.
    pub(super) lights: [[f64; 2]; 3],
    pub(super) white: [f64; 2],
}

const D65: [f64; 2] = [0.3127, 0.3290];
const ACES_WHITE: [f64; 2] = [0.32168, 0.33767];
pub(super) const REC_709: Primaries = primaries([[0.64, 0.33], [0.30, 0.60], [0.15, 0.06]], D65);
const AP0: Primaries = primaries([[0.7347, 0.2653], [0.0, 1.0], [0.0001, -0.0770]], ACES_WHITE);
const AP1: Primaries = primaries([[0.713, 0.293], [0.165, 0.830], [0.128, 0.044]], ACES_WHITE);
const ARRI_WIDE_3: Primaries = primaries([[0.6840, 0.3130], [0.2210, 0.8480], [0.0861, -0.1020]], D65);
const ARRI_WIDE_4: Primaries = primaries([[0.7347, 0.2653], [0.1424, 0.8576], [0.0991, -0.0308]], D65);
const S_GAMUT_3: Primaries = primaries([[0.730, 0.280], [0.140, 0.855], [0.100, -0.050]], D65);
const S_GAMUT_3_CINE: Primaries = primaries([[0.766, 0.275], [0.225, 0.800], [0.089, -0.087]], D65);
const V_GAMUT: Primaries = primaries([[0.730, 0.280], [0.165, 0.840], [0.100, -0.030]], D65);

const fn primaries(lights: [[f64; 2]; 3], white: [f64; 2]) -> Primaries {
    Primaries { lights, white }
}

type Matrix = [[f64; 3]; 3];

impl Primaries {
    /// Whether they mean colours at all: of a file's word they may not.
    pub(super) fn are_sound(&self) -> bool {
        let numbers = self.to(&REC_709);
        numbers.iter().flatten().all(|value| value.is_finite() && value.abs() < 1e3)
    }

    /// To XYZ, where white has a Y of 1.
    fn to_xyz(self) -> Matrix {
        let lights = self.lights.map(xyz);
        let columns = transposed(lights);
        let white = xyz(self.white);
        let shares = apply(&inverse(&columns), white);
        let scaled = [0, 1, 2].map(|light| lights[light].map(|value| value * shares[light]));
        transposed(scaled)
    }

    /// Linear light in these primaries to that in others.
    fn to(&self, other: &Self) -> Matrix {
        if self == other {
            return [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        }
        product(&inverse(&other.to_xyz()), &product(&adaptation(self.white, other.white), &self.to_xyz()))
    }
}

/// From x and y to XYZ with a Y of 1.
fn xyz([x, y]: [f64; 2]) -> [f64; 3] {
    [x / y, 1.0, (1.0 - x - y) / y]
}

/// XYZ under one white to XYZ under another, by Bradford's matrix.
fn adaptation(from: [f64; 2], to: [f64; 2]) -> Matrix {
    const BRADFORD: Matrix =
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]];
    let [from, to] = [from, to].map(|white| apply(&BRADFORD, xyz(white)));
    let scaled = [0, 1, 2].map(|row| BRADFORD[row].map(|value| value * to[row] / from[row]));
    product(&inverse(&BRADFORD), &scaled)
}

fn transposed(matrix: Matrix) -> Matrix {
    [0, 1, 2].map(|row| [0, 1, 2].map(|column| matrix[column][row]))
}

fn apply(matrix: &Matrix, vector: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row[0] * vector[0] + row[1] * vector[1] + row[2] * vector[2])
}

fn product(left: &Matrix, right: &Matrix) -> Matrix {
    transposed(transposed(*right).map(|column| apply(left, column)))
}

fn inverse(matrix: &Matrix) -> Matrix {
    let [a, b, c] = *matrix;
    let cross = |u: [f64; 3], v: [f64; 3]| {
        [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
    };
    let columns = [cross(b, c), cross(c, a), cross(a, b)];
    let determinant = a[0] * columns[0][0] + a[1] * columns[0][1] + a[2] * columns[0][2];
    transposed(columns.map(|column| column.map(|value| value / determinant)))
}

/// Values to sRGB.
pub(crate) struct View {
    curve: Option<fn(f64) -> f64>,
    /// `None` where the primaries are those of the screen.
    matrix: Option<[[f32; 3]; 3]>,
    /// Least linear light of each value of 8 bits but 0.
    thresholds: Vec<f32>,
    /// The value of 8 bits at the lower end of each of [`Self::STEPS`] parts of 0 to 1.
    guesses: Vec<u8>,
}

/// What was cut off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Clipped {
    /// Values over 1, shown as 1, infinite ones too.
    pub(super) over: bool,
    /// Values below 0, shown as 0.
    pub(super) below: bool,
    /// Values that are no numbers, shown as 0.
    pub(super) no_numbers: bool,
}

impl Clipped {
    /// With what was cut off elsewhere.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            over: self.over | other.over,
            below: self.below | other.below,
            no_numbers: self.no_numbers | other.no_numbers,
        }
    }

    /// In words, each thing that was.
    pub(crate) fn words(self) -> Vec<String> {
        let parts = [
            (self.over, "values over 1 are shown white"),
            (self.below, "values below 0 are shown black"),
            (self.no_numbers, "values that are no numbers are shown black"),
        ];
        parts.into_iter().filter(|(is_so, _)| *is_so).map(|(_, words)| words.to_owned()).collect()
    }
}

impl View {
    const STEPS: usize = 4096;

    /// Of values in this space; linear ones may have primaries of their own.
    pub(crate) fn new(space: ColourSpace, own: Option<Primaries>) -> Self {
        let primaries = own.filter(Primaries::are_sound).unwrap_or(space.row().primaries);
        let matrix =
            (primaries != REC_709).then(|| primaries.to(&REC_709).map(|row| row.map(|value| value as f32)));
        let thresholds: Vec<f32> =
            (1..=255).map(|byte| srgb((f64::from(byte) - 0.5) / 255.0) as f32).collect();
        let guess = |step: usize| (to_srgb(step as f64 / Self::STEPS as f64) * 255.0 + 0.5) as u8;
        let guesses = (0..=Self::STEPS).map(guess).collect();
        Self { curve: space.row().curve, matrix, thresholds, guesses }
    }

    /// Linear light of a value.
    fn linear(&self, value: f32) -> f32 {
        self.curve.map_or(value, |curve| curve(f64::from(value)) as f32)
    }

    /// What is shown of samples of up to 16 bits, `white` being 1; `colours` of them (1 or 3) are a pixel.
    pub(crate) fn of_integers<T: Copy + Into<u16>>(
        &self,
        values: &[T],
        white: u16,
        colours: usize,
    ) -> Result<(Vec<u8>, Clipped)> {
        let mut shown = room(values.len())?;
        let clipped = self.show_codes(values, &self.linear_of_codes(white)?, colours, &mut shown);
        Ok((shown, clipped))
    }

    /// Linear light of every code from 0 to `white`, which is 1.
    pub(crate) fn linear_of_codes(&self, white: u16) -> Result<Vec<f32>> {
        let codes = usize::from(white) + 1;
        collected(codes, (0..codes).map(|code| self.linear(code as f32 / f32::from(white))))
    }

    /// Adds what is shown of some samples, by the linear light of their codes; those beyond the last are as the last.
    pub(crate) fn show_codes<T: Copy + Into<u16>>(
        &self,
        values: &[T],
        linear_of_codes: &[f32],
        colours: usize,
        shown: &mut Vec<u8>,
    ) -> Clipped {
        let last = linear_of_codes.len() - 1;
        self.show(
            values.len(),
            colours,
            |at| linear_of_codes[usize::from(values[at].into()).min(last)],
            shown,
        )
    }

    /// What is shown of floating point; `alpha`, one a pixel, was multiplied into the values, which is undone.
    pub(super) fn of_floats(
        &self,
        values: &[f32],
        colours: usize,
        alpha: Option<&[f32]>,
    ) -> Result<(Vec<u8>, Clipped)> {
        /// Beyond all light; what is infinite is as bright.
        const MOST: f32 = 1e9;
        let mut has_no_numbers = false;
        let value = |at: usize| {
            let mut value = values[at];
            if let Some(&alpha) = alpha.map(|alpha| &alpha[at / colours])
                && alpha > 0.0
                && alpha < 1.0
            {
                value /= alpha;
            }
            has_no_numbers |= value.is_nan();
            if value.is_nan() { 0.0 } else { self.linear(value).clamp(-MOST, MOST) }
        };
        let mut shown = room(values.len())?;
        let clipped = self.show(values.len(), colours, value, &mut shown);
        Ok((shown, Clipped { no_numbers: has_no_numbers, ..clipped }))
    }

    /// Adds what is shown of `len` samples.
    fn show(
        &self,
        len: usize,
        colours: usize,
        mut linear: impl FnMut(usize) -> f32,
        shown: &mut Vec<u8>,
    ) -> Clipped {
        /// Less than this is noise, or an error of rounding.
        const LEAST: f32 = 1e-3;
        let mut clipped = Clipped::default();
        let mut show = |light: f32| {
            clipped.over |= light > 1.0 + LEAST;
            clipped.below |= light < -LEAST;
            shown.push(self.encoded(light));
        };
        match self.matrix.filter(|_| colours == 3) {
            None => (0..len).for_each(|at| show(linear(at))),
            Some(matrix) => {
                for at in (0..len / 3 * 3).step_by(3) {
                    let light = [linear(at), linear(at + 1), linear(at + 2)];
                    for row in matrix {
                        show(row[0] * light[0] + row[1] * light[1] + row[2] * light[2]);
                    }
                }
            }
        }
        clipped
    }

    /// 8 bits of linear light, to the nearest.
    fn encoded(&self, linear: f32) -> u8 {
        if linear.is_nan() || linear <= 0.0 {
            return 0;
        }
        if linear >= 1.0 {
            return 255;
        }
        let mut byte = usize::from(self.guesses[(linear * Self::STEPS as f32) as usize]);
        // A part of 0 to 1 has few values of 8 bits in it.
        while byte > 0 && linear < self.thresholds[byte - 1] {
            byte -= 1;
        }
        while byte < 255 && linear >= self.thresholds[byte] {
            byte += 1;
        }
        byte as u8
    }
}

#[cfg(test)]
mod tests;
