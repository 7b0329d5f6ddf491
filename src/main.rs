//! The `hookswitch` command.

fn main() {}
