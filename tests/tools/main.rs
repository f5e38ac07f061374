//! Real tools through a real mount: what they write becomes exactly one right snapshot,
//! what is cut off becomes none, and what they read back is what was written.

#[path = "../support/mod.rs"]
mod support;

mod after_close;
mod crash;
mod damage;
mod full_disk;
mod killed;
mod liveness;
mod loop_device;
mod memory;
mod publishing;
mod readers;
mod scale;
mod terabyte;
mod writers;
