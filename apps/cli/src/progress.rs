//! Progress bars on stderr; nothing is drawn where stderr is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `count` items.
pub fn items(count: u64, unit: &str) -> ProgressBar {
    let template = format!(
        "{{bar:30}} {{pos}}/{{len}} {unit}  {{per_sec}}  {{elapsed}} passed, {{eta}} left  {{wide_msg}}"
    );
    ProgressBar::new(count).with_style(style(&template))
}

/// A bar over bytes.
pub fn bytes() -> ProgressBar {
    ProgressBar::new(0).with_style(style(
        "{bar:30} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left  {wide_msg}",
    ))
}

/// A turning mark, for work whose length is not known.
pub fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are sound")
}
