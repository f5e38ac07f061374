//! `/etc/fstab`: which file system is mounted where.
//!
//! Source: fstab(5) of util-linux: six fields apart by blanks or tabs, `#` begins a
//! comment line, `\040` and the like are octal escapes, the source may be quoted.

/// Bytes of a file that are looked at.
pub(super) const FSTAB_LEN_MAX: usize = 1 << 20;

/// Lines that are looked at.
const LINE_COUNT_MAX: usize = 4096;

/// Types of file systems that hold nothing of a disk.
const VIRTUAL: [&[u8]; 26] = [
    b"autofs",
    b"bpf",
    b"binfmt_misc",
    b"cgroup",
    b"cgroup2",
    b"configfs",
    b"debugfs",
    b"devfs",
    b"devpts",
    b"devtmpfs",
    b"efivarfs",
    b"fusectl",
    b"hugetlbfs",
    b"mqueue",
    b"none",
    b"nsfs",
    b"proc",
    b"pstore",
    b"ramfs",
    b"rootfs",
    b"securityfs",
    b"selinuxfs",
    b"swap",
    b"sysfs",
    b"tmpfs",
    b"usbfs",
];

/// Types whose content is on another machine.
const REMOTE: [&[u8]; 9] = [
    b"nfs",
    b"nfs4",
    b"cifs",
    b"smb3",
    b"ceph",
    b"glusterfs",
    b"afs",
    b"fuse.sshfs",
    b"9p",
];

/// One line of the table, unescaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// What is mounted: a device, `UUID=...` and so on.
    pub(super) source: Vec<u8>,
    /// Where.
    pub(super) place: Vec<u8>,
    /// The type of the file system.
    pub(super) format: Vec<u8>,
    /// The options, in one piece: there may be half a million.
    pub(super) options: Vec<u8>,
}

impl Line {
    /// Tells whether nothing of a disk is mounted: swap, `proc` and the like.
    pub(super) fn is_virtual(&self) -> bool {
        VIRTUAL.contains(&self.format.as_slice()) || !self.place.starts_with(b"/")
    }

    /// Tells whether the content is on another machine.
    pub(super) fn is_remote(&self) -> bool {
        REMOTE.contains(&self.format.as_slice())
            || self.source.starts_with(b"//")
            || self.has(b"_netdev") && !self.source.starts_with(b"/dev/")
    }

    /// Returns the options one after the other.
    pub(super) fn options(&self) -> impl Iterator<Item = &[u8]> {
        let options = self.options.split(|byte| *byte == b',');
        options.filter(|option| !option.is_empty())
    }

    /// Tells whether an option is there.
    pub(super) fn has(&self, option: &[u8]) -> bool {
        self.options().any(|found| found == option)
    }

    /// Returns the value of the last `name=value` among the options.
    pub(super) fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.options()
            .filter_map(|option| option.strip_prefix(name)?.strip_prefix(b"="))
            .last()
    }

    /// Returns how deep the place is, to mount what lies above first.
    pub(super) fn depth(&self) -> usize {
        self.place
            .split(|byte| *byte == b'/')
            .filter(|component| !component.is_empty())
            .count()
    }
}

/// Returns the lines of a table; what is none is passed over.
pub(super) fn parse(bytes: &[u8]) -> Vec<Line> {
    bytes
        .split(|byte| *byte == b'\n')
        .take(LINE_COUNT_MAX)
        .filter_map(line)
        .collect()
}

fn line(text: &[u8]) -> Option<Line> {
    let text = text.trim_ascii();
    if text.is_empty() || text.starts_with(b"#") {
        return None;
    }
    let mut fields = fields(text).into_iter();
    let (source, place, format) = (fields.next()?, fields.next()?, fields.next()?);
    let mut line = Line {
        source,
        place,
        format,
        options: fields.next().unwrap_or_default(),
    };
    line.options.shrink_to_fit();
    Some(line)
}

/// Splits at blanks outside of quotes, and takes quotes and escapes away.
fn fields(text: &[u8]) -> Vec<Vec<u8>> {
    let mut found = vec![];
    let mut field: Option<Vec<u8>> = None;
    let mut is_quoted = false;
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b' ' | b'\t' if !is_quoted => found.extend(field.take()),
            b'"' => {
                is_quoted = !is_quoted;
                field.get_or_insert_default();
            }
            b'\\' => {
                let (byte, after) = octal(behind).unwrap_or((b'\\', behind));
                field.get_or_insert_default().push(byte);
                rest = after;
            }
            byte => field.get_or_insert_default().push(*byte),
        }
    }
    found.extend(field);
    found
}

/// Returns the byte that three octal digits mean, and what follows them.
fn octal(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = text.split_at_checked(3)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let value = u8::from_str_radix(digits, 8).ok()?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_mount_reads_it() {
        let table = b"# comment\n\nUUID=6b-1 / ext4 errors=remount-ro,noatime 0 1\n\
            \tLABEL=\"my disk\"  /srv/a\\040b xfs defaults\n\
            /dev/sda3 none swap sw 0 0\n//nas/x /nas cifs ro\nbroken line\n\
            LABEL=x /v btrfs subvol=@v,subvolid=7\\\n";
        let lines = parse(table);
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0].source, b"UUID=6b-1");
        assert!(lines[0].has(b"noatime") && !lines[0].is_virtual());
        assert_eq!(lines[0].depth(), 0);
        assert_eq!(lines[1].source, b"LABEL=my disk");
        assert_eq!(lines[1].place, b"/srv/a b");
        assert_eq!(lines[1].depth(), 2);
        assert!(lines[2].is_virtual() && lines[3].is_remote());
        assert_eq!(lines[4].value(b"subvol"), Some(&b"@v"[..]));
        assert_eq!(lines[4].value(b"subvolid"), Some(&b"7\\"[..]));
    }

    #[test]
    fn bytes_that_are_no_table_are_passed_over() {
        assert_eq!(parse(b""), vec![]);
        assert_eq!(parse(b"\xff\xfe\0\n\"unclosed quote\\99"), vec![]);
        assert!(parse(&[b"a /b c\n".as_slice(); 10_000].concat()).len() <= LINE_COUNT_MAX);
    }
}
