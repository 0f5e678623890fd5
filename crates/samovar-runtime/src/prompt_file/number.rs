//! Numbers of annotation files: identities and extents, which tools write in several ways.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

/// What rows refer to each other by: a whole number, or text as some tools have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Id {
    /// A number, whether it is written as `7` or `7.0`.
    Number(i128),
    /// Text.
    Text(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "\"{text}\""),
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number or a text")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Id, E> {
                Ok(Id::Number(number.into()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Id, E> {
                Ok(Id::Number(number.into()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Id, E> {
                match number.fract() == 0.0 && number.abs() < 2f64.powi(53) {
                    true => Ok(Id::Number(number as i128)),
                    false => Err(E::invalid_value(de::Unexpected::Float(number), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                Ok(Id::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

/// A width or height, if it is one; tools write 0 or nothing where they do not know.
pub fn extent(number: Option<f64>) -> Option<u32> {
    let number =
        number.filter(|number| number.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(number));
    number.map(|number| number as u32)
}

/// The box around points, `[x0, y0, x1, y1]`, if it has an area.
pub fn bounds_of(points: impl Iterator<Item = [f64; 2]>) -> Option<[f64; 4]> {
    let nothing = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    let bounds =
        points.fold(nothing, |[x0, y0, x1, y1], [x, y]| [x0.min(x), y0.min(y), x1.max(x), y1.max(y)]);
    (bounds[0] < bounds[2] && bounds[1] < bounds[3]).then_some(bounds)
}
