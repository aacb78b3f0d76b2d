//! The output files: one process' own, and shards of several processes.

mod files;
mod older_checkpoint;
mod shards;
