//! What `samovar profile --routes` prints: the table of routes, and those that a model took.

use std::collections::BTreeMap;
use std::io::Write;

use samovar::profile::{Route, RouteUse};
use serde_json::{Value, json};

/// Both as one document.
pub fn document(table: &[&Route], taken: &[RouteUse]) -> Value {
    let table: Vec<Value> = table
        .iter()
        .map(|route| {
            json!({
                "name": route.name, "operators": route.operators, "when": route.when, "file": route.file,
                "cases": route.cases,
            })
        })
        .collect();
    let taken: Vec<Value> = taken
        .iter()
        .map(|taken| {
            json!({
                "operator": taken.operator, "route": taken.route, "shape": taken.shape, "calls": taken.calls,
            })
        })
        .collect();
    json!({ "table": table, "taken": taken })
}

/// Both in words: every route with its condition and its file; then, per route, the shapes that took it.
pub fn write(mut out: impl Write, table: &[&Route], taken: &[RouteUse]) -> std::io::Result<()> {
    writeln!(out, "Routes of this machine, with their files below crates/samovar-cpu/src:\n")?;
    for route in table {
        writeln!(out, "{:22} {:30} {}", route.name, route.file, route.operators.join(", "))?;
        writeln!(out, "{:22} {}", "", route.when)?;
    }
    writeln!(out, "\nTaken:\n\n{:22} {:18} {:>6}  shape", "route", "operator", "calls")?;
    let mut by_route: BTreeMap<&str, Vec<&RouteUse>> = BTreeMap::new();
    for taken in taken {
        by_route.entry(taken.route).or_default().push(taken);
    }
    for route in table {
        let mut shapes = by_route.remove(route.name).unwrap_or_default();
        shapes.sort_by_key(|taken| std::cmp::Reverse(taken.calls));
        for RouteUse { route, operator, calls, shape, .. } in shapes {
            writeln!(out, "{route:22} {operator:18} {calls:>6}  {shape}")?;
        }
    }
    Ok(())
}
