//! SKELETON
#[derive(Debug)]
pub struct MemoryBackend;
