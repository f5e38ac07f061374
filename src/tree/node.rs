//! What a place in the mounted tree is, and its number. A number is made from the
//! names of things, so it is the same at every mount.

use crate::base::SnapshotId;
use crate::tree::draft::Draft;
use crate::tree::open_contents::Part;
use crate::tree::record::DraftId;
use crate::tree::space::Space;
use std::sync::Arc;

/// Number of the root, as the kernel wants it.
pub const ROOT: u64 = 1;
/// Numbers below this one are given by hand.
pub(super) const FIRST_HASHED: u64 = 1 << 10;

/// A symbolic link that is not inside an image. Where it leads is part of what it is:
/// the kernel keeps the target of an inode for good, so another target is another inode.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) place: LinkPlace,
    pub(super) target: String,
}

/// Where a symbolic link is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LinkPlace {
    /// `snapshots/<resource>/latest`, by the resource.
    Latest(Arc<str>),
    /// `by-id/<id>`.
    Id(SnapshotId),
    /// `by-tag/<tag>/<resource>@<snapshot>`, by the display name of the tag.
    Tag(Arc<str>, SnapshotId),
}

impl Link {
    fn number(&self) -> u64 {
        let target = self.target.as_bytes();
        match &self.place {
            LinkPlace::Latest(name) => hash("latest", &[name.as_bytes(), target]),
            LinkPlace::Id(id) => hash("by-id", &[&id.0, target]),
            LinkPlace::Tag(tag, id) => hash("by-tag", &[tag.as_bytes(), &id.0, target]),
        }
    }
}

/// A place in the tree. At most 24 bytes: the kernel may hold millions.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Root,
    Snapshots,
    ById,
    ByTag,
    Create,
    /// `snapshots/<resource>`, by its path name.
    Resource(Arc<str>),
    /// `snapshots/<resource>/<snapshot>`.
    Snapshot(SnapshotId),
    /// `disk.img` of a snapshot.
    DiskImage(SnapshotId),
    /// `snapshot.json` of a snapshot.
    Information(SnapshotId),
    /// `files/` of a snapshot or of one of its partitions.
    Files(SnapshotId, Part),
    /// Anything below `files/`, by its inode.
    File(Arc<Space>, u64),
    /// `partitions/` of a snapshot.
    Partitions(SnapshotId),
    /// `partitions/<n>[-<label>]` of a snapshot, by its index.
    Partition(SnapshotId, u16),
    /// `disk.img` of a partition.
    PartitionImage(SnapshotId, u16),
    /// `by-tag/<tag>`, by the display name.
    Tag(Arc<str>),
    /// A symbolic link that is not inside an image.
    Link(Arc<Link>),
    /// `create/<name>`.
    Draft(Arc<Draft>),
}

const _: () = assert!(size_of::<Node>() <= 24);

impl Node {
    /// Returns the number that the node gets if it is free.
    pub(super) fn number(&self) -> u64 {
        match self {
            Self::Root => ROOT,
            Self::Snapshots => 2,
            Self::ById => 3,
            Self::ByTag => 4,
            Self::Create => 5,
            Self::Resource(name) => hash("resource", &[name.as_bytes()]),
            Self::Snapshot(id) => hash("snapshot", &[&id.0]),
            Self::DiskImage(id) => hash("disk.img", &[&id.0]),
            Self::Information(id) => hash("snapshot.json", &[&id.0]),
            Self::Files(id, part) => hash("files", &[&id.0, &part.0.to_le_bytes()]),
            Self::File(space, inode) => space.number(*inode),
            Self::Partitions(id) => hash("partitions", &[&id.0]),
            Self::Partition(id, index) => hash("partition", &[&id.0, &index.to_le_bytes()]),
            Self::PartitionImage(id, index) => {
                hash("partition image", &[&id.0, &index.to_le_bytes()])
            }
            Self::Tag(tag) => hash("tag", &[tag.as_bytes()]),
            Self::Link(link) => link.number(),
            Self::Draft(draft) => draft.inode(),
        }
    }

    /// Tells whether both are the same place.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Resource(one), Self::Resource(other)) | (Self::Tag(one), Self::Tag(other)) => {
                one == other
            }
            (Self::Snapshot(one), Self::Snapshot(other))
            | (Self::DiskImage(one), Self::DiskImage(other))
            | (Self::Information(one), Self::Information(other))
            | (Self::Partitions(one), Self::Partitions(other)) => one == other,
            (Self::Partition(one, index), Self::Partition(other, other_index))
            | (Self::PartitionImage(one, index), Self::PartitionImage(other, other_index)) => {
                (one, index) == (other, other_index)
            }
            (Self::Files(one, part), Self::Files(other, other_part)) => {
                (one, part) == (other, other_part)
            }
            (Self::File(one, inode), Self::File(other, other_inode)) => {
                inode == other_inode && one.key == other.key
            }
            (Self::Link(one), Self::Link(other)) => one == other,
            (Self::Draft(one), Self::Draft(other)) => Arc::ptr_eq(one, other),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other) && self.is_fixed(),
        }
    }

    fn is_fixed(&self) -> bool {
        matches!(
            self,
            Self::Root | Self::Snapshots | Self::ById | Self::ByTag | Self::Create
        )
    }

    /// Tells whether a look at the node shows what was published: it waits for
    /// publications that are queued.
    pub(super) fn shows_publications(&self) -> bool {
        matches!(
            self,
            Self::Snapshots | Self::ById | Self::ByTag | Self::Resource(_) | Self::Tag(_)
        )
    }
}

/// Returns the number of the node of a draft.
pub(super) fn number_of_draft(id: &DraftId) -> u64 {
    hash("draft", &[id.as_bytes()])
}

/// Returns a number made from what things are called.
pub(super) fn hash(role: &str, parts: &[&[u8]]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(role.as_bytes());
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut number = [0; 8];
    hasher.finalize_xof().fill(&mut number);
    u64::from_le_bytes(number).max(FIRST_HASHED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_never_change_and_differ_by_role() {
        let id = SnapshotId([1; 16]);
        assert_eq!(Node::DiskImage(id).number(), Node::DiskImage(id).number());
        assert_ne!(Node::DiskImage(id).number(), Node::Information(id).number());
        assert_ne!(
            Node::Tag("a".into()).number(),
            Node::Resource("a".into()).number()
        );
        assert!(Node::Snapshots.is_same(&Node::Snapshots));
        assert!(!Node::Snapshots.is_same(&Node::ById));
        assert!(!Node::Snapshot(id).is_same(&Node::DiskImage(id)));
    }
}
