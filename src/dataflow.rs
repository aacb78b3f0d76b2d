//! The only place where topics meet stages.
