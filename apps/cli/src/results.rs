//! What masks are written as, whatever command has found them: one table of formats, one writer.
//!
//! | module | what |
//! |---|---|
//! | [`format`](mod@format) | the table: names, endings, help, what one file of each holds |
//! | [`sheet`] | what one file is made of, mask by mask |
//! | [`writer`] | the files of one image and their names, put in place together |
//! | [`merge`](mod@merge) | COCO documents of many images in one |

mod format;
mod merge;
mod sheet;
mod writer;

pub use format::{Format, FormatArgs, ending_of};
pub use merge::merge;
pub use sheet::{Categories, Found, SheetStyle, encode, join, json_line, overlay_style};
pub use writer::{Layout, Writer, Writing};

#[cfg(test)]
mod tests;
