//! What else the machine does, which whoever measures on it should know.

/// The share of the processors that others may use before it is said.
const BUSY: f64 = 0.3;

/// What is said of a machine whose processors are busy with something else, where the system tells.
pub fn busy_words() -> Option<String> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let processors = std::thread::available_parallelism().ok()?.get();
    words_of(&text, processors)
}

fn words_of(loads: &str, processors: usize) -> Option<String> {
    let busy: f64 = loads.split_whitespace().next()?.parse().ok()?;
    (busy > BUSY * processors as f64).then(|| {
        format!(
            "other work keeps {busy:.1} of {processors} processors busy; figures will be worse and noisier than on a quiet machine"
        )
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_busy_machine_is_told_of_and_a_quiet_one_is_not() {
        assert_eq!(super::words_of("0.40 3.00 3.00 1/1 1", 2), None);
        assert!(super::words_of("1.25 0.00 0.00 1/1 1", 2).unwrap().starts_with("other work keeps 1.2 of 2"));
        assert_eq!(super::words_of("", 2), None);
    }
}
