//! safetensors files.
