//! The calbridge program.
fn main() {}
