//! The facade of samovar: cut objects out of images with Segment Anything models.
