//! Images taken while they are written, compared with what the kernel recovers.
