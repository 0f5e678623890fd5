//! Which kernel runs for which shape: one table, and the one place that looks into it.
//!
//! | file | what |
//! |---|---|
//! | `choice` | the ways an operator may be computed |
//! | `call` | what a choice depends on: the machine, and the shape of a call |
//! | `table` | the routes, each with its condition in words and in code; [`table::Entry::pick`] |
//! | `record` | which routes were taken, for `samovar profile --routes` |

pub(crate) mod call;
pub(crate) mod choice;
pub(crate) mod record;
pub(crate) mod table;

#[cfg(test)]
mod tests;
