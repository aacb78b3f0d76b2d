//! The `avr` program: arguments, logging and signals; everything else is in the library.
fn main() {}
