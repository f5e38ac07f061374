//! Was the process that closes a file killed? Told by its line in `/proc`.

/// The process is on its way out.
const PF_EXITING: u64 = 0x4;
/// The bits of an exit code that name a signal.
const SIGNAL_BITS: u64 = 0x7f;
/// Field 9 (flags) and 52 (exit_code) as proc_pid_stat(5) counts them, counted from
/// the first field behind the command, which is field 3.
const FLAGS_INDEX: usize = 9 - 3;
const EXIT_CODE_INDEX: usize = 52 - 3;

/// Tells whether the process is being ended by a signal. A process that is gone or
/// cannot be looked at counts as one that closes its file by itself.
pub fn is_killed(pid: u32) -> bool {
    // Requests of the kernel itself (write-back, RELEASE) have no process.
    pid != 0
        && has_no_memory(pid)
        && std::fs::read(format!("/proc/{pid}/stat"))
            .is_ok_and(|line| parse_is_killed(&line).unwrap_or(false))
}

/// Tells whether a process has given its memory back, as one that exits has by the time
/// it closes its files.
///
/// Asked first because `stat` must not be read of a process that lives: one that starts
/// a program closes its files (a FLUSH to us) while the kernel holds a lock of the
/// `execve`, and a reader of `stat` waits for that lock: neither would ever go on.
/// `status` needs no such lock.
fn has_no_memory(pid: u32) -> bool {
    let is_size = |line: &[u8]| line.starts_with(b"VmSize:");
    std::fs::read(format!("/proc/{pid}/status"))
        .is_ok_and(|status| !status.split(|byte| *byte == b'\n').any(is_size))
}

/// Reads the line of `/proc/PID/stat`. PF_SIGNALED alone is not enough: a program
/// with threads that ends by `exit(0)` shows it too.
fn parse_is_killed(line: &[u8]) -> Option<bool> {
    // The command is in parentheses and may hold spaces and parentheses itself.
    let end = line.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(line.get(end + 1..)?).ok()?;
    let mut fields = fields.split_ascii_whitespace();
    let flags: u64 = fields.nth(FLAGS_INDEX)?.parse().ok()?;
    let exit_code: u64 = fields
        .nth(EXIT_CODE_INDEX - FLAGS_INDEX - 1)?
        .parse()
        .ok()?;
    Some(flags & PF_EXITING != 0 && exit_code & SIGNAL_BITS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(command: &str, flags: u64, exit_code: u64) -> Vec<u8> {
        let mut fields = vec!["0".to_owned(); 50];
        fields[0] = "R".to_owned();
        fields[FLAGS_INDEX] = flags.to_string();
        fields[EXIT_CODE_INDEX] = exit_code.to_string();
        format!("17 ({command}) {}\n", fields.join(" ")).into_bytes()
    }

    #[test]
    fn a_signal_is_told_from_an_exit() {
        let cases = [
            ("cp", 0x40_0000, 0, false),
            ("cp", 0x40_0004, 9, true),
            ("cp", 0x40_0004, 15, true),
            ("cp", 0x40_0004, 0x8b, true),
            ("ends by exit(1)", 0x40_0004, 0x100, false),
            ("threads) exit(0", 0x40_0404, 0, false),
            ("not yet", 0x40_0000, 9, false),
        ];
        for (command, flags, exit_code, expected) in cases {
            let found = parse_is_killed(&line(command, flags, exit_code));
            assert_eq!(found, Some(expected), "{command} {flags:#x} {exit_code}");
        }
        assert_eq!(parse_is_killed(b"17 (cp"), None);
        assert_eq!(parse_is_killed(b"17 (cp) R 1"), None);
    }

    #[test]
    fn the_own_process_lives() {
        assert!(!is_killed(std::process::id()));
        assert!(!is_killed(0));
    }
}
