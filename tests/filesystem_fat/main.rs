//! The FAT and exFAT readers against drivers that others wrote: Linux's vfat in a user
//! mode kernel, mtools, and exfat-fuse; against damage and against time.
//!
//! Without those programs, and without root for loop devices, tests say SKIPPED.

mod boot;
mod build;
mod damage;
mod damage_exfat;
mod driver;
mod elsewhere;
mod exfat;
mod fstab;
mod hand_made;
mod hostile;
mod image;
mod listing;
mod mtools;
mod odd;
#[path = "../support/mod.rs"]
mod support;
mod vfat;
