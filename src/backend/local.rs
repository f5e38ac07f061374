//! SKELETON
#[derive(Debug)]
pub struct LocalBackend;
