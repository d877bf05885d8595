//! The binary: serve and every operator command.

fn main() {}
