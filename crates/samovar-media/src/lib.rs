//! Pixels, masks and annotation formats; knows no tensors.
