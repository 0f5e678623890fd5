//! Test kit: goldens, tolerances, generated cases; used by tests only.
