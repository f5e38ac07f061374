//! Looking into images through a real mount: what it shows is what the kernel shows of
//! the same file systems, and damage stays where it is.

#[path = "../support/mod.rs"]
mod support;

mod command_line;
mod copies;
mod damage;
mod machine;
mod machine_image;
mod other;
mod subvolumes;
mod users;
