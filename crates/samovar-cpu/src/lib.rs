//! The operator set of samovar-tensor, fast on CPUs: SIMD chosen at run time, threads, no global state.
