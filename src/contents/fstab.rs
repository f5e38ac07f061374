//! `/etc/fstab`: which file system is mounted where.
//!
//! Source: fstab(5) of util-linux: six fields apart by blanks or tabs, `#` begins a
//! comment line, `\040` and the like are octal escapes, the source may be quoted.
//! systemd.mount(5): what `x-systemd.automount` is.

use super::device::Device;

/// Bytes of a file that are looked at.
pub(super) const FSTAB_LEN_MAX: usize = 1 << 20;

/// Lines that are looked at, comments not counted.
const LINE_COUNT_MAX: usize = 4096;

/// Fields of a line that are looked at; there are two more.
const FIELD_COUNT_MAX: usize = 4;

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
        let holds_nothing = VIRTUAL.contains(&self.format.as_slice()) && !self.is_bind();
        holds_nothing || !self.place.starts_with(b"/")
    }

    /// Tells whether the source is a folder that is shown at another place too; such lines
    /// have any type.
    pub(super) fn is_bind(&self) -> bool {
        self.has(b"bind") || self.has(b"rbind")
    }

    /// Tells whether it is there only when somebody mounts it: not at the first look.
    pub(super) fn is_manual(&self) -> bool {
        let at_a_look = [&b"x-systemd.automount"[..], b"comment=systemd.automount"];
        self.has(b"noauto") && !at_a_look.iter().any(|option| self.has(option))
    }

    /// Tells whether the content is on another machine.
    pub(super) fn is_remote(&self) -> bool {
        REMOTE.contains(&self.format.as_slice())
            || self.source.starts_with(b"//")
            || self.has(b"_netdev") && !self.is_of_device()
    }

    /// Tells whether a block device is mounted, which may need a network (iSCSI).
    pub(super) fn is_of_device(&self) -> bool {
        self.source.starts_with(b"/dev/") || Device::parse(&self.source) != Device::Unknown
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
        .filter_map(line)
        .take(LINE_COUNT_MAX)
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

/// Splits at blanks outside of quotes, and takes quotes and escapes away. The first fields
/// are all that counts; there may be half a million.
fn fields(text: &[u8]) -> Vec<Vec<u8>> {
    let mut found = vec![];
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() && found.len() < FIELD_COUNT_MAX {
        let (field, behind) = field(rest);
        found.push(field);
        rest = behind.trim_ascii_start();
    }
    found
}

/// Takes the first field away. Quotes stand around a value, at the beginning or behind
/// `=`, and only in pairs; elsewhere they are part of a name.
fn field(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut field = vec![];
    let mut quote = None;
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let mut after = behind;
        match (quote, *first) {
            (None, b' ' | b'\t') => break,
            (Some(open), byte) if byte == open => quote = None,
            (None, byte @ (b'"' | b'\'')) if begins_value(&field) && behind.contains(&byte) => {
                quote = Some(byte);
            }
            (_, b'\\') => {
                let (byte, behind) = octal(behind).unwrap_or((b'\\', behind));
                field.push(byte);
                after = behind;
            }
            (_, byte) => field.push(byte),
        }
        rest = after;
    }
    (field, rest)
}

fn begins_value(field: &[u8]) -> bool {
    field.last().is_none_or(|byte| *byte == b'=')
}

/// Returns the byte that three octal digits mean, and what follows them.
fn octal(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = text.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None; // A sign is none, which `from_str_radix` takes.
    }
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
    fn quotes_stand_where_a_value_begins() {
        for (text, source, place) in [
            ("LABEL=\"my disk\" /a", "LABEL=my disk", "/a"),
            ("LABEL='my disk' /a", "LABEL=my disk", "/a"),
            ("LABEL=\"it's\" /a", "LABEL=it's", "/a"),
            ("LABEL=x /disk-of-5.25\"", "LABEL=x", "/disk-of-5.25\""),
            ("LABEL=x /it's", "LABEL=x", "/it's"),
            ("LABEL=\"x /a", "LABEL=\"x", "/a"),
            ("LABEL=x /a\\040b\\134", "LABEL=x", "/a b\\"),
            ("LABEL=x /a\\+40\\400\\08", "LABEL=x", "/a\\+40\\400\\08"),
        ] {
            let lines = parse(format!("{text} ext4 noauto\n").as_bytes());
            assert_eq!(lines.len(), 1, "{text}");
            assert_eq!(lines[0].source, source.as_bytes(), "{text}");
            assert_eq!(lines[0].place, place.as_bytes(), "{text}");
            assert_eq!(lines[0].format, b"ext4", "{text}");
            assert!(lines[0].has(b"noauto"), "{text}");
        }
    }

    #[test]
    fn comments_are_no_lines() {
        let comments = b"# one of many\n".repeat(LINE_COUNT_MAX + 10);
        let table = [comments.as_slice(), b"LABEL=x / ext4\n"].concat();
        assert_eq!(parse(&table).len(), 1);
    }

    #[test]
    fn bytes_that_are_no_table_are_passed_over() {
        assert_eq!(parse(b""), vec![]);
        assert_eq!(parse(b"\xff\xfe\0\n\"unclosed quote\\99"), vec![]);
        assert!(parse(&[b"a /b c\n".as_slice(); 10_000].concat()).len() <= LINE_COUNT_MAX);
    }
}
