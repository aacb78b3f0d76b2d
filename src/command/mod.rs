//! Commands beside `avr run`, each with its arguments and what it does.

mod dead_letters;
mod letter_text;

pub use dead_letters::{
    Answer, DeadLettersArgs, DeadLettersCommand, DeadLettersError, LogArgs, dead_letters,
};
