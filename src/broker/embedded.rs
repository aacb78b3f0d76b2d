//! A log in a folder.
