//! What the values of pictures and frames mean.

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use samovar::media::image::ColourSpace;
use serde_json::Value;

/// What values mean.
#[derive(Args, Debug, Clone)]
pub struct ColourArgs {
    /// What the values of pictures and frames mean; they are shown as sRGB, without tone mapping, the same in every frame
    #[arg(long, value_name = "SPACE", default_value = AUTO, value_parser = parser())]
    colorspace: Choice,
}

/// A space, or that of the format.
#[derive(Debug, Clone, Copy)]
struct Choice(Option<ColourSpace>);

const AUTO: &str = "auto";

fn parser() -> impl TypedValueParser<Value = Choice> {
    let auto = PossibleValue::new(AUTO).help(
        "linear for OpenEXR, in the primaries that the file states, and for sequences of floating-point TIFF; else srgb",
    );
    let named = ColourSpace::all().map(|space| PossibleValue::new(space.name()).help(space.help()));
    PossibleValuesParser::new(std::iter::once(auto).chain(named)).map(|name| Choice(name.parse().ok()))
}

impl ColourArgs {
    /// The space that was named, if one was.
    pub fn space(&self) -> Option<ColourSpace> {
        self.colorspace.0
    }

    /// Adds it to what makes results, if it was named: without it they are as they were before there was a choice.
    pub fn add_to(&self, parameters: &mut Value) {
        if let Some(space) = self.space() {
            parameters["colorspace"] = space.name().into();
        }
    }
}
