//! Names of devices.

use std::fmt;
use std::str::FromStr;

/// What the driver of a card is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Vulkan.
    Vulkan,
    /// Metal.
    Metal,
    /// DirectX 12.
    Dx12,
}

impl Api {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Vulkan, Self::Metal, Self::Dx12];

    /// As it is called in `--device`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Dx12 => "dx12",
        }
    }
}

/// Which device is to compute: `auto`, `cpu`, `vulkan`, `metal`, `dx12`, or one of several as `vulkan:1`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The best card with a good certificate, else the processors.
    #[default]
    Auto,
    /// The processors.
    Cpu,
    /// A card.
    Card {
        /// How it is spoken to.
        api: Api,
        /// Which of those that are listed there, from 0.
        index: usize,
    },
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Cpu => f.pad("cpu"),
            Self::Card { api, index } => f.pad(&format!("{}:{index}", api.name())),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, index.parse().ok()),
            None => (text, Some(0)),
        };
        let api = Api::ALL.into_iter().find(|api| api.name() == name);
        match (text, api, index) {
            ("auto", ..) => Ok(Self::Auto),
            ("cpu", ..) => Ok(Self::Cpu),
            (_, Some(api), Some(index)) => Ok(Self::Card { api, index }),
            _ => Err(format!("no device is called {text:?}; expected {}", Self::EXPECTED)),
        }
    }
}

impl DeviceChoice {
    /// What may be said, in words.
    pub const EXPECTED: &str = "auto, cpu, vulkan, metal or dx12, or one of several as vulkan:1";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_are_read_as_they_are_written() {
        for text in ["auto", "cpu", "vulkan:0", "metal:3", "dx12:1"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        assert_eq!("vulkan".parse(), Ok(DeviceChoice::Card { api: Api::Vulkan, index: 0 }));
        for text in ["", "gpu", "cpu:1", "vulkan:", "vulkan:-1", "vulkan:x", "Vulkan"] {
            let error = text.parse::<DeviceChoice>().unwrap_err();
            assert!(error.contains("vulkan:1"), "{error}");
        }
    }
}
