//! A part of the images, for one machine of several.

use std::fmt;
use std::str::FromStr;

use samovar::resources::contents::Key;
use serde::{Deserialize, Serialize};

use crate::inputs::InputImage;

/// Part `number` of `of`, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Which part, from 1.
    pub number: u32,
    /// How many parts there are.
    pub of: u32,
}

impl Shard {
    /// Whether an image belongs to this part: by the way to it in its folder, so that parts never overlap, whatever else is in the
    /// folder and wherever it lies on each machine.
    pub fn has(&self, image: &InputImage) -> bool {
        let key = Key::of_content(image.name_in_folder().as_bytes());
        let bytes = key.as_bytes().first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(bytes) % u64::from(self.of) == u64::from(self.number - 1)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((number, of)) if 1 <= number && number <= of => Ok(Self { number, of }),
            _ => Err("expected a part and the number of parts, as 1/8 to 8/8".to_owned()),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_in_one_part() {
        let images: Vec<InputImage> = (0..1000)
            .map(|number| {
                let name = format!("bilder/ä{number}.png");
                InputImage {
                    path: format!("/data/{name}").into(),
                    in_folder: name.into(),
                    result_name: "".into(),
                    frame: None,
                }
            })
            .collect();
        let parts: Vec<Shard> = (1..=7).map(|number| Shard { number, of: 7 }).collect();
        for image in &images {
            assert_eq!(parts.iter().filter(|part| part.has(image)).count(), 1);
        }
        for part in &parts {
            let count = images.iter().filter(|image| part.has(image)).count();
            assert!((100..190).contains(&count), "{part}: {count}");
        }
        assert_eq!("3/7".parse(), Ok(parts[2]));
        for wrong in ["0/7", "8/7", "7", "a/b", "1/0", "-1/3", ""] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
