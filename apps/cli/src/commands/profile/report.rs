//! The bottleneck in words: where the time is, what holds it up, and where most could be gained.

use super::measured::{Measured, Row, reason};

/// Rows that take less of a round than this are not worth a word.
const WORTH_A_WORD: f64 = 0.03;

/// Below this share of its roof, something else than the roof is in the way.
const NEAR_ITS_ROOF: f64 = 0.6;

/// Operators that are named as worth a look.
const NAMED: usize = 3;

/// Sentences, the most important first.
pub fn words(measured: &Measured) -> Vec<String> {
    let mut words = Vec::new();
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let slowest = measured.stages.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds));
    if let Some(stage) = slowest {
        words.push(format!(
            "{} takes {} of a round's {:.1} ms; its operators would take {:.1} ms at their roofs, {} of that",
            stage.name,
            percent(measured.share(stage.seconds)),
            measured.seconds * 1e3,
            stage.roof_s * 1e3,
            percent(stage.roof_s / stage.seconds.max(1e-12)),
        ));
    }
    if let Some(row) = measured.rows.first() {
        words.push(format!(
            "the longest operator is {} of {}: {} of the round, bound by {}, at {} of its roof",
            row.op,
            row.stage,
            percent(measured.share(row.seconds)),
            reason(row.roof.bound),
            percent(row.share_of_roof()),
        ));
    }
    let lost = |row: &Row| row.seconds - row.roof.seconds;
    let mut far: Vec<&Row> = measured
        .rows
        .iter()
        .filter(|row| measured.share(row.seconds) >= WORTH_A_WORD && row.share_of_roof() < NEAR_ITS_ROOF)
        .collect();
    far.sort_by(|a, b| lost(b).total_cmp(&lost(a)));
    for row in far.into_iter().take(NAMED) {
        words.push(format!(
            "most to gain: {} of {}, {:.1} ms above its roof of {:.1} ms ({})",
            row.op,
            row.stage,
            lost(row) * 1e3,
            row.roof.seconds * 1e3,
            reason(row.roof.bound),
        ));
    }
    let between = measured.share(measured.between_s());
    if between >= WORTH_A_WORD {
        words.push(format!("{} of the round is between the stages, in no operator", percent(between)));
    }
    words
}
