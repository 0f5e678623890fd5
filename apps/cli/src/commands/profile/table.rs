//! What was measured, as a table for people.

use std::io::{self, Write};

use samovar::memory::bytes;

use super::measured::Measured;
use super::report;

/// All of it.
pub fn write(mut out: impl Write, measured: &Measured) -> io::Result<()> {
    let ceilings = &measured.roofline.ceilings;
    writeln!(
        out,
        "{}, {}, {} threads, {}",
        measured.model, measured.dtype, measured.threads, measured.instructions
    )?;
    let bf16 =
        ceilings.bf16_per_s.map_or(String::new(), |peak| format!(", {:.0} GFLOP/s in bf16", peak / 1e9));
    writeln!(
        out,
        "ceilings: {:.0} GFLOP/s in f32{bf16}, {:.0} GOP/s in int8, memory {:.1} GB/s, {:.2} us a call, {:.1} us a hand-over to threads",
        ceilings.f32_per_s / 1e9,
        ceilings.int8_per_s / 1e9,
        ceilings.bytes_per_s / 1e9,
        measured.roofline.call_s * 1e6,
        ceilings.hand_over_s * 1e6
    )?;
    measured.doubts.iter().try_for_each(|words| writeln!(out, "note: {words}"))?;
    writeln!(out)?;
    writeln!(out, "{:12} {:>10} {:>8} {:>10} {:>12}", "stage", "ms", "share", "roof ms", "peak memory")?;
    for stage in &measured.stages {
        writeln!(
            out,
            "{:12} {:>10.2} {:>6.1} % {:>10.2} {:>12}",
            stage.name,
            stage.seconds * 1e3,
            100.0 * measured.share(stage.seconds),
            stage.roof_s * 1e3,
            bytes(stage.peak_bytes).to_string()
        )?;
    }
    let between = measured.between_s();
    writeln!(out, "{:12} {:>10.2} {:>6.1} %", "between", between * 1e3, 100.0 * measured.share(between))?;
    writeln!(out, "{:12} {:>10.2}", "a round", measured.seconds * 1e3)?;
    writeln!(out, "\n{}\n", measured.copies)?;
    writeln!(
        out,
        "{:12} {:18} {:>6} {:>10} {:>7} {:>9} {:>9} {:>8}  {:8} {:>10} {:>8}",
        "stage",
        "operator",
        "calls",
        "ms",
        "share",
        "GFLOP",
        "GFLOP/s",
        "GB/s",
        "bound",
        "roof ms",
        "of roof"
    )?;
    for row in &measured.rows {
        writeln!(
            out,
            "{:12} {:18} {:>6} {:>10.3} {:>5.1} % {:>9.3} {:>9.1} {:>8.1}  {:8} {:>10.3} {:>6.1} %",
            row.stage,
            row.op,
            row.calls,
            row.seconds * 1e3,
            100.0 * measured.share(row.seconds),
            row.operations / 1e9,
            row.rate() / 1e9,
            row.bytes / row.seconds.max(1e-12) / 1e9,
            row.roof.bound,
            row.roof.seconds * 1e3,
            100.0 * row.share_of_roof()
        )?;
    }
    writeln!(out, "\nmemory, as planned")?;
    let memory = &measured.memory;
    let weights = memory.weights.iter().map(|(dtype, count)| (format!("weights in {dtype}"), *count));
    let activations = memory.activations.iter().map(|(work, count)| (format!("{work}, f32"), *count));
    let others = [
        ("one encoded image".to_owned(), memory.embedding_bytes),
        ("scratch".to_owned(), memory.scratch_bytes),
    ];
    for (what, count) in weights.chain(activations).chain(others) {
        writeln!(out, "{what:24} {:>10}", bytes(count).to_string())?;
    }
    writeln!(out)?;
    report::words(measured).iter().try_for_each(|words| writeln!(out, "- {words}"))
}
