//! PyTorch zip files.
