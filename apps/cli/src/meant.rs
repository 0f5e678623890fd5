//! Words that were probably meant by others.

/// How alike two words are to be for one to be meant by the other, 0 to 1.
const ALIKE: f64 = 0.6;

/// The word that was probably meant.
pub fn nearest(word: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let word: String = word.chars().take(64).collect();
    let likeness = |other: &str| strsim::normalized_damerau_levenshtein(&word, other);
    let scored = known.map(|other| (likeness(other), other));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, other)| other)
}
