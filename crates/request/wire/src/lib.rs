//! Types of our own HTTP API, shared with the CLI.
