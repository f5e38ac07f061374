//! The features of a file system: which are on, by the names that its tools print, and
//! which of them cannot be read here.

use crate::filesystem::{Error, Result};

/// Feature words of the superblock.
///
/// Source: `xfs_format.h`, `XFS_SB_VERSION_*`, `XFS_SB_VERSION2_*`, `XFS_SB_FEAT_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Features {
    version: u16,
    features2: u32,
    ro_compat: u32,
    incompat: u32,
    log_incompat: u32,
}

const VERSION_MASK: u16 = 0x000F;
const VERSION_LOG_V2: u16 = 0x0400;
const VERSION_DIR_V2: u16 = 0x2000;
const VERSION_CASE_INSENSITIVE: u16 = 0x4000;
const VERSION_MORE_BITS: u16 = 0x8000;
const VERSION_SHARED: u16 = 0x0200;

const FEATURES2_ATTR2: u32 = 0x0008;
const FEATURES2_LAZY_COUNT: u32 = 0x0002;
const FEATURES2_PROJECT32: u32 = 0x0080;
const FEATURES2_CRC: u32 = 0x0100;
const FEATURES2_FILE_TYPE: u32 = 0x0200;

const INCOMPAT_FILE_TYPE: u32 = 0x001;
const INCOMPAT_META_UUID: u32 = 0x004;
const INCOMPAT_NEEDS_REPAIR: u32 = 0x010;
const INCOMPAT_ZONED: u32 = 0x200;
const INCOMPAT_ZONE_GAPS: u32 = 0x400;

const RO_COMPAT_RMAPBT: u32 = 0x2;
const RO_COMPAT_REFLINK: u32 = 0x4;

const RO_COMPAT_NAMES: [(u32, &str); 4] = [
    (0x1, "finobt"),
    (RO_COMPAT_RMAPBT, "rmapbt"),
    (RO_COMPAT_REFLINK, "reflink"),
    (0x8, "inobtcount"),
];

const INCOMPAT_NAMES: [(u32, &str); 11] = [
    (INCOMPAT_FILE_TYPE, "ftype"),
    (0x002, "sparse"),
    (INCOMPAT_META_UUID, "metauuid"),
    (0x008, "bigtime"),
    (INCOMPAT_NEEDS_REPAIR, "needsrepair"),
    (0x020, "nrext64"),
    (0x040, "exchange"),
    (0x080, "parent"),
    (0x100, "metadir"),
    (INCOMPAT_ZONED, "zoned"),
    (INCOMPAT_ZONE_GAPS, "zonegaps"),
];

/// Known features of the log: logged attributes.
const LOG_INCOMPAT_KNOWN: u32 = 0x1;

impl Features {
    /// Takes the words of a superblock; `words` are the four masks of version 5.
    ///
    /// # Errors
    ///
    /// Unsupported, naming the first feature that is not known here.
    pub(super) fn new(version: u16, features2: u32, words: [u32; 4]) -> Result<Self> {
        let [_, ro_compat, incompat, log_incompat] = words;
        match version & VERSION_MASK {
            4 if version & VERSION_DIR_V2 == 0 => {
                return Err(Error::unsupported("XFS with directories of version 1"));
            }
            4 if version & VERSION_SHARED != 0 => {
                return Err(Error::unsupported("XFS with the shared superblock bit"));
            }
            4 => {
                return Ok(Self {
                    version,
                    features2: if version & VERSION_MORE_BITS == 0 {
                        0
                    } else {
                        features2
                    },
                    ro_compat: 0,
                    incompat: 0,
                    log_incompat: 0,
                });
            }
            5 => {}
            other => return Err(Error::unsupported(format!("XFS of version {other}"))),
        }
        let known = INCOMPAT_NAMES.iter().fold(0, |all, (bit, _)| all | bit);
        if incompat & !known != 0 {
            let unknown = incompat & !known;
            return Err(Error::unsupported(format!(
                "XFS with unknown incompatible features {unknown:#x}"
            )));
        }
        if incompat & (INCOMPAT_ZONED | INCOMPAT_ZONE_GAPS) != 0 {
            return Err(Error::unsupported("XFS on zones"));
        }
        Ok(Self {
            version,
            features2,
            ro_compat,
            incompat,
            log_incompat,
        })
    }

    pub(super) const fn is_v5(&self) -> bool {
        self.version & VERSION_MASK == 5
    }

    /// Tells whether entries of directories have the type of their inode.
    pub(super) const fn has_file_type(&self) -> bool {
        if self.is_v5() {
            self.incompat & INCOMPAT_FILE_TYPE != 0
        } else {
            self.features2 & FEATURES2_FILE_TYPE != 0
        }
    }

    /// Tells whether groups have trees of reverse mappings.
    pub(super) const fn has_rmapbt(&self) -> bool {
        self.is_v5() && self.ro_compat & RO_COMPAT_RMAPBT != 0
    }

    /// Tells whether files may share blocks.
    pub(super) const fn has_reflink(&self) -> bool {
        self.is_v5() && self.ro_compat & RO_COMPAT_REFLINK != 0
    }

    pub(super) const fn has_meta_uuid(&self) -> bool {
        self.incompat & INCOMPAT_META_UUID != 0
    }

    /// Tells whether names that differ in the case of ASCII letters are the same.
    pub(super) const fn is_case_insensitive(&self) -> bool {
        self.version & VERSION_CASE_INSENSITIVE != 0
    }

    pub(super) const fn has_log_v2(&self) -> bool {
        self.is_v5() || self.version & VERSION_LOG_V2 != 0
    }

    pub(super) const fn needs_repair(&self) -> bool {
        self.incompat & INCOMPAT_NEEDS_REPAIR != 0
    }

    /// Tells whether a feature that only writers need is not known here: free space
    /// may not be what it seems.
    pub(super) fn has_unknown_ro_compat(&self) -> bool {
        let known = RO_COMPAT_NAMES.iter().fold(0, |all, (bit, _)| all | bit);
        self.ro_compat & !known != 0
    }

    pub(super) const fn has_unknown_log_feature(&self) -> bool {
        self.log_incompat & !LOG_INCOMPAT_KNOWN != 0
    }

    /// Returns the names of the features that are on.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = vec![if self.is_v5() { "v5" } else { "v4" }];
        let old = [
            (FEATURES2_LAZY_COUNT, "lazy-count"),
            (FEATURES2_ATTR2, "attr2"),
            (FEATURES2_PROJECT32, "projid32bit"),
            (FEATURES2_CRC, "crc"),
        ];
        let is_on = |word: u32| move |(bit, _): &&(u32, &'static str)| word & bit != 0;
        names.extend(
            old.iter()
                .filter(is_on(self.features2))
                .map(|(_, name)| *name),
        );
        if self.has_file_type() && !self.is_v5() {
            names.push("ftype");
        }
        names.extend(
            RO_COMPAT_NAMES
                .iter()
                .filter(is_on(self.ro_compat))
                .map(|(_, name)| *name),
        );
        names.extend(
            INCOMPAT_NAMES
                .iter()
                .filter(is_on(self.incompat))
                .map(|(_, name)| *name),
        );
        if self.is_case_insensitive() {
            names.push("ascii-ci");
        }
        names.into_iter().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_features_are_refused_by_name() {
        assert!(Features::new(0xB4A5, 0x18A, [0, 5, 0xB, 0]).is_ok());
        let error = Features::new(0xB4A5, 0x18A, [0, 0, 0x8000_0000, 0]).unwrap_err();
        assert!(error.to_string().contains("0x80000000"), "{error}");
        assert!(Features::new(0xB4A5, 0, [0, 0, 0x200, 0]).is_err());
        assert!(Features::new(0xB4A3, 0, [0; 4]).is_err());
        assert!(Features::new(0x0004, 0, [0; 4]).is_err());
        let old = Features::new(0xB4A4, 0x28A, [0; 4]).unwrap();
        assert!(!old.is_v5() && old.has_file_type() && old.has_log_v2());
    }
}
