//! Commands beside `avr run`: a file each, with its arguments and what it does.

pub mod dead_letters;
pub mod replay;
pub mod run;
pub mod status;
pub mod submit;
pub mod topics;
