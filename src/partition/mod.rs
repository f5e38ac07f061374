//! Partition tables and logical volumes: ranges inside an image. Sees one
//! [`crate::base::ReadAt`] and nothing else.
