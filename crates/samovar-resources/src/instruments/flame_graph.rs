//! A trace as a flame graph in SVG: what lies in what, as wide as it took long.
//!
//! Written here because the crate for it, `inferno`, is under the CDDL, which is not among our licences, and reads profiles of
//! programs, where we have some dozens of boxes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::trace::{Trace, TraceSpan};

const WIDTH: f64 = 1200.0;
const ROW: f64 = 22.0;
const MARGIN: f64 = 10.0;
const HEAD: f64 = 34.0;
/// Of a letter, about.
const LETTER: f64 = 6.6;
/// Boxes narrower than this are left out.
const LEAST_WIDTH: f64 = 0.2;

/// Spans of one name below one parent, added up.
#[derive(Default)]
struct Node {
    duration: Duration,
    calls: u64,
    children: BTreeMap<String, Node>,
}

impl Trace {
    /// All spans of one name at one place as one box, the longest first, as wide as their time is of the whole.
    pub fn flame_graph(&self, title: &str) -> String {
        let root = self.tree();
        let height = HEAD + ROW * (depth(&root) as f64) + 2.0 * MARGIN;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fffdf7\"/>\n\
             <text x=\"{MARGIN}\" y=\"22\" font-size=\"14\">{}</text>\n",
            escaped(title)
        );
        let unit = (WIDTH - 2.0 * MARGIN) / root.duration.as_secs_f64().max(f64::MIN_POSITIVE);
        boxes(&mut svg, &root, MARGIN, HEAD, unit, root.duration.as_secs_f64());
        svg.push_str("</svg>\n");
        svg
    }

    fn tree(&self) -> Node {
        let mut root = Node::default();
        // Those that hold the one at hand, with the end of each.
        let mut holders: Vec<&TraceSpan> = Vec::new();
        for span in self.ordered() {
            holders.retain(|holder| holder.thread == span.thread && holder.end() >= span.end());
            if holders.is_empty() {
                root.duration += span.duration;
            }
            let mut node = &mut root;
            for holder in holders.iter().chain([&span]) {
                node = node.children.entry(holder.name.to_string()).or_default();
            }
            node.duration += span.duration;
            node.calls += 1;
            holders.push(span);
        }
        root
    }
}

fn depth(node: &Node) -> usize {
    node.children.values().map(|child| 1 + depth(child)).max().unwrap_or(0)
}

fn boxes(svg: &mut String, node: &Node, left: f64, top: f64, unit: f64, whole: f64) {
    let mut children: Vec<_> = node.children.iter().collect();
    children.sort_by_key(|(_, child)| std::cmp::Reverse(child.duration));
    let mut x = left;
    for (name, child) in children {
        let seconds = child.duration.as_secs_f64();
        let width = seconds * unit;
        if width < LEAST_WIDTH {
            continue;
        }
        let name = escaped(name);
        let share = 100.0 * seconds / whole.max(f64::MIN_POSITIVE);
        let calls = if child.calls == 1 { String::new() } else { format!(", {} calls", child.calls) };
        let fits = (width - 6.0) / LETTER;
        let label = if (name.chars().count() as f64) <= fits { name.as_str() } else { "" };
        let _ = writeln!(
            svg,
            "<g><title>{name}: {:.3} ms, {share:.1} %{calls}</title>\
             <rect x=\"{x:.2}\" y=\"{top:.0}\" width=\"{width:.2}\" height=\"{:.0}\" fill=\"{}\" stroke=\"#fffdf7\"/>\
             <text x=\"{:.2}\" y=\"{:.0}\">{label}</text></g>",
            seconds * 1e3,
            ROW - 1.0,
            colour(&name),
            x + 3.0,
            top + 15.0,
        );
        boxes(svg, child, x, top + ROW, unit, whole);
        x += width;
    }
}

/// The same name has the same colour, in every graph.
fn colour(name: &str) -> String {
    let hash = crc32fast::hash(name.as_bytes());
    format!("hsl({}, 85%, {}%)", 15 + hash % 45, 62 + (hash >> 8) % 14)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_lie_in_their_holders_and_are_as_wide_as_they_took_long() {
        let span = |name: &'static str, start, milliseconds| TraceSpan {
            name: name.into(),
            category: "test",
            start: Duration::from_millis(start),
            duration: Duration::from_millis(milliseconds),
            thread: 1,
            arguments: Vec::new(),
        };
        let spans = vec![
            span("round", 0, 100),
            span("encoder", 0, 75),
            span("a<b", 0, 25),
            span("linear", 25, 50),
            span("round", 100, 100),
        ];
        let trace = Trace { spans, ..Trace::default() };
        let root = trace.tree();
        let round = &root.children["round"];
        assert_eq!((root.duration, round.calls, round.children.len()), (Duration::from_millis(200), 2, 1));
        assert_eq!(round.children["encoder"].children["linear"].duration, Duration::from_millis(50));
        let svg = trace.flame_graph("nano & co");
        let width = |name: &str| -> f64 {
            let line = svg.lines().find(|line| line.contains(&format!("<title>{name}:"))).unwrap();
            line.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        };
        assert!((width("encoder") / width("round") - 75.0 / 200.0).abs() < 1e-3);
        assert!((width("linear") / width("a&lt;b") - 2.0).abs() < 1e-3);
        assert!(svg.contains("nano &amp; co") && svg.contains("2 calls") && svg.ends_with("</svg>\n"));
    }
}
