//! The example of `docs/executors.md`, as it stands there.
