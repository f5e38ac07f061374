//! Looking into images through a real mount: what it shows is what the kernel shows of
//! the same file systems, and damage stays where it is.

#[path = "../filesystem_btrfs/sets.rs"]
#[allow(dead_code, reason = "only the list is used here")]
mod btrfs_sets;
#[path = "../filesystem/nasty.rs"]
#[allow(
    unsafe_code,
    dead_code,
    reason = "attributes and devices need system calls"
)]
mod ext_nasty;
#[path = "../filesystem/sets.rs"]
mod ext_sets;
#[path = "../oracle/mod.rs"]
mod oracle;
#[path = "../support/mod.rs"]
mod support;
#[path = "../filesystem_xfs/sets.rs"]
#[allow(dead_code, reason = "only the list is used here")]
mod xfs_sets;

mod command_line;
mod copies;
mod damage;
mod feature_sets;
mod leftovers;
mod machine;
mod machine_image;
mod other;
mod passed_over;
mod small_files;
mod subvolumes;
mod users;
