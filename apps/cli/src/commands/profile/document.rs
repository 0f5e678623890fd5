//! What was measured, as a JSON document.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::measured::Measured;
use super::report;

/// All of it.
pub fn document(measured: &Measured) -> Value {
    let ceilings = &measured.roofline.ceilings;
    let rows = measured.rows.iter().map(|row| {
        json!({
            "stage": row.stage, "operator": row.op, "calls": row.calls, "seconds": row.seconds,
            "share": measured.share(row.seconds), "gflop": row.operations / 1e9, "bytes": row.bytes,
            "gflop_per_s": row.rate() / 1e9, "gbyte_per_s": row.bytes / row.seconds.max(1e-12) / 1e9,
            "share_of_peak": row.rate() / ceilings.f32_per_s, "numbers": row.roof.numbers,
            "bound": row.roof.bound.to_string(), "roof_s": row.roof.seconds, "share_of_roof": row.share_of_roof(),
        })
    });
    let stages = measured.stages.iter().map(|stage| {
        json!({
            "stage": stage.name, "seconds": stage.seconds, "share": measured.share(stage.seconds),
            "roof_s": stage.roof_s, "peak_bytes": stage.peak_bytes,
        })
    });
    let object = |list: &[(String, usize)]| list.iter().cloned().collect::<BTreeMap<_, _>>();
    json!({
        "model": measured.model, "dtype": measured.dtype, "threads": measured.threads, "simd": measured.instructions,
        "peak_gflop_per_s": ceilings.f32_per_s / 1e9,
        "ceilings": {
            "f32_gflop_per_s": ceilings.f32_per_s / 1e9, "int8_gop_per_s": ceilings.int8_per_s / 1e9,
            "bf16_gflop_per_s": ceilings.bf16_per_s.map(|peak| peak / 1e9),
            "memory_gbyte_per_s": ceilings.bytes_per_s / 1e9, "call_s": measured.roofline.call_s,
            "hand_over_s": ceilings.hand_over_s, "differ_by": measured.ceilings_differ_by,
        },
        "doubts": measured.doubts,
        "seconds": measured.seconds, "between_stages_s": measured.between_s(),
        "stages": stages.collect::<Vec<_>>(), "copies": measured.copies.json(),
        "operators": rows.collect::<Vec<_>>(),
        "memory": {
            "weight_bytes": object(&measured.memory.weights), "activation_bytes": object(&measured.memory.activations),
            "activation_dtype": "f32", "embedding_bytes": measured.memory.embedding_bytes,
            "scratch_bytes": measured.memory.scratch_bytes,
        },
        "report": report::words(measured),
    })
}
