//! Composition root: config, wiring, drivers, shutdown.
