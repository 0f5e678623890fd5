//! Points, boxes and sizes, each typed by the frame it lives in, and the transforms between frames.
