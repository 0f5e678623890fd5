//! Repository chores: the tidy check of the architecture.
