//! Shared blocks, thin model families, one catalogue. Pure: no files, clock, threads, cache or device names.
