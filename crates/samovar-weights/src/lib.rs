//! Untrusted bytes to named tensors: safetensors, PyTorch zip files, name maps.
