//! Shapes, tensors, the operator set, its exact scalar reference, the memory pool and the dry run.
