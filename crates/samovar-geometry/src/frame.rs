//! The frames a coordinate can live in.

use std::fmt::Debug;
use std::hash::Hash;

/// A coordinate frame. The implementors are empty types: they exist only for the compiler.
pub trait Frame: Copy + Clone + Debug + Default + PartialEq + Eq + Hash + Send + Sync + 'static {
    /// The frame's name as it appears in messages, lower case.
    const NAME: &'static str;
}

macro_rules! frames {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name;

        impl Frame for $name {
            const NAME: &'static str = $text;
        }
    )*};
}

frames! {
    /// The user's pixels, after the EXIF orientation has been applied: x right, y down.
    Image = "image";
    /// The model's input canvas, padding included (1024 x 1024 for SAM).
    Input = "input";
    /// The cells of the mask logits the decoder gives (256 x 256 for SAM).
    Grid = "grid";
    /// The pixels of the reduced picture on which motion between frames is measured.
    Motion = "motion";
    /// A window or canvas on a screen, in its own pixels, with whatever zoom and pan it has.
    Display = "display";
}
