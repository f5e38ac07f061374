//! When a draft becomes a snapshot. One rule: at the RELEASE of the last writer,
//! publish if anything but zeros was written since the last publication. The rest is
//! what stands against it: a killed writer, a failed write, a name that is not final.

/// What happened to a draft so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    /// Open descriptors that may write.
    pub(super) writer_count: u32,
    /// Something but zeros was written since the last publication.
    pub(super) has_data: bool,
    /// The last FLUSH came from a process that a signal was ending.
    pub(super) is_killed: bool,
    /// A write or the ingest failed.
    pub(super) is_failed: bool,
    /// The name says that the writer is not done.
    pub(super) is_held: bool,
    /// Somebody asked for the publication by renaming, whatever is in it.
    pub(super) is_asked: bool,
    /// The name was removed.
    pub(super) is_removed: bool,
}

impl History {
    /// Tells whether the draft is to be published once no writer is left.
    pub(super) fn is_wanted(&self) -> bool {
        let is_blocked = self.is_failed || self.is_removed || self.is_held;
        !is_blocked && (self.is_asked || (self.has_data && !self.is_killed))
    }

    /// Tells whether the draft is to be published now.
    pub(super) fn is_due(&self) -> bool {
        self.writer_count == 0 && self.is_wanted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One request of fuse-op-sequences.txt, as far as the rule sees it.
    #[derive(Clone, Copy)]
    enum Step {
        Open,
        Zeros,
        Data,
        Truncate,
        Flush,
        KilledFlush,
        Release,
        RenameToFinal,
        Fail,
        Unlink,
    }
    use Step::*;

    /// Plays the steps and counts the publications.
    fn play(is_held: bool, steps: &[Step]) -> usize {
        let mut history = History {
            is_held,
            ..History::default()
        };
        let mut published = 0;
        for step in steps {
            match step {
                Open => history.writer_count += 1,
                Zeros | Truncate => {}
                Data => history.has_data = true,
                Flush => history.is_killed = false,
                KilledFlush => history.is_killed = true,
                Release => history.writer_count -= 1,
                RenameToFinal => {
                    history.is_held = false;
                    history.is_asked = true;
                }
                Fail => history.is_failed = true,
                Unlink => history.is_removed = true,
            }
            if matches!(step, Release | RenameToFinal) && history.is_due() {
                published += 1;
                history = History {
                    writer_count: 0,
                    ..History::default()
                };
            }
        }
        published
    }

    const CASES: [(&str, &[Step], usize); 16] = [
        ("cp", &[Open, Data, Flush, Release], 1),
        (
            "dd: FLUSH right after open",
            &[Open, Flush, Data, Flush, Release],
            1,
        ),
        (
            "group redirect",
            &[Open, Flush, Data, Flush, Data, Flush, Flush, Release],
            1,
        ),
        (
            "qemu-img convert",
            &[
                Open, Truncate, Zeros, Flush, Release, Open, Data, Flush, Release,
            ],
            1,
        ),
        (
            "qemu-img create",
            &[Open, Truncate, Zeros, Flush, Release],
            0,
        ),
        ("truncate only", &[Open, Truncate, Flush, Release], 0),
        (
            "truncate, then rename",
            &[Open, Truncate, Flush, Release, RenameToFinal],
            1,
        ),
        (
            "losetup: writes before RELEASE",
            &[Open, Flush, Data, Release],
            1,
        ),
        (
            "mmap: pages after FLUSH",
            &[Open, Truncate, Flush, Data, Release],
            1,
        ),
        ("killed cp", &[Open, Data, KilledFlush, Release], 0),
        (
            "killed cp, resumed",
            &[Open, Data, KilledFlush, Release, Open, Data, Flush, Release],
            1,
        ),
        (
            "two writers",
            &[Open, Open, Data, Flush, Release, Data, Flush, Release],
            1,
        ),
        (
            "dd two passes",
            &[Open, Data, Flush, Release, Open, Data, Flush, Release],
            2,
        ),
        (
            "probe of what is published",
            &[Open, Data, Flush, Release, Open, Flush, Release],
            1,
        ),
        ("full disk", &[Open, Data, Fail, Flush, Release], 0),
        (
            "removed while open",
            &[Open, Data, Unlink, Flush, Release],
            0,
        ),
    ];

    #[test]
    fn each_tool_leaves_what_it_should() {
        for (name, steps, expected) in CASES {
            assert_eq!(play(false, steps), expected, "{name}");
        }
    }

    #[test]
    fn a_name_on_its_way_is_published_by_its_rename() {
        assert_eq!(play(true, &[Open, Data, Flush, Release]), 0);
        assert_eq!(play(true, &[Open, Data, Flush, Release, RenameToFinal]), 1);
        assert_eq!(
            play(true, &[Open, Data, RenameToFinal, Data, Flush, Release]),
            1
        );
    }
}
