//! A store of its own for each test, and the program run on it.

use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder with a store that is made on first use.
pub struct Fixture {
    folder: tempfile::TempDir,
}

/// What the program did.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Answer {
    /// Standard output as text, of a program that succeeded.
    pub fn text(&self) -> String {
        assert_eq!(self.code, 0, "{}", self.err);
        String::from_utf8(self.out.clone()).unwrap()
    }

    /// Standard output as JSON, of a program that succeeded.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// Fails unless the program ended with `code` and said `words`.
    pub fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {:?}", self.err);
        }
    }
}

impl Fixture {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The same with a store in it.
    pub fn with_store() -> Self {
        let fixture = Self::new();
        fixture.run(&["init"]).text();
        fixture
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    pub fn command(&self, words: &[&str]) -> Command {
        self.prepare(Command::new(env!("CARGO_BIN_EXE_tintype")), words)
    }

    /// Returns a command for a test that sends signals: a background job of a shell has
    /// SIGINT ignored, and the program would honour that.
    pub fn signalled(&self, words: &[&str]) -> Command {
        let mut command = Command::new("env");
        command.args([
            "--default-signal=INT,TERM,HUP",
            env!("CARGO_BIN_EXE_tintype"),
        ]);
        self.prepare(command, words)
    }

    fn prepare(&self, mut command: Command, words: &[&str]) -> Command {
        command
            .args(words)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("TINTYPE_STORE", self.store())
            .env("XDG_STATE_HOME", self.path("state"))
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, words: &[&str]) -> Answer {
        answer(&mut self.command(words))
    }

    /// Runs the program with the words of a line.
    pub fn run_line(&self, line: &str) -> Answer {
        self.run(&line.split(' ').collect::<Vec<_>>())
    }

    /// Runs the program with a standard output that nobody reads.
    pub fn run_unread(&self, words: &[&str]) -> Answer {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        from_output(
            self.command(words)
                .stdout(writer)
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
                .wait_with_output()
                .unwrap(),
        )
    }

    /// Runs the program with standard input.
    pub fn run_with(&self, words: &[&str], input: &[u8]) -> Answer {
        let mut command = self.command(words);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        from_output(output)
    }

    /// Writes a sparse image and returns its content.
    pub fn image(&self, name: &str, len: usize, data: &[(usize, usize)], seed: u64) -> Vec<u8> {
        let mut content = vec![0; len];
        let file = File::create(self.path(name)).unwrap();
        file.set_len(len as u64).unwrap();
        let mut random = seed.wrapping_mul(2).wrapping_add(1);
        for (offset, count) in data {
            for byte in &mut content[*offset..offset + count] {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695);
                *byte = (random >> 56) as u8;
            }
            file.write_all_at(&content[*offset..offset + count], *offset as u64)
                .unwrap();
        }
        content
    }

    /// Makes a snapshot of a small image, and returns what `create --json` says.
    pub fn snapshot(&self, resource: &str, name: &str, seed: u64) -> Value {
        let file = format!("image-{seed}.img");
        self.image(&file, 1 << 20, &[(8192, 20_000)], seed);
        self.run(&[
            "--json",
            "create",
            "--resource",
            resource,
            "--name",
            name,
            &file,
        ])
        .json()
    }

    /// Names of the leases.
    pub fn leases(&self) -> Vec<String> {
        names(&self.store().join("leases"))
    }
}

pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return vec![];
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

pub fn answer(command: &mut Command) -> Answer {
    from_output(command.output().unwrap())
}

fn from_output(output: std::process::Output) -> Answer {
    Answer {
        code: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Tells whether this test may use loop devices; says so loudly if not.
pub fn can_use_loop_devices(test: &str) -> bool {
    let is_root = fs::metadata("/proc/self").is_ok_and(|metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.uid() == 0
    });
    let loops = Command::new("losetup").arg("-f").output();
    let can = is_root && loops.is_ok_and(|output| output.status.success());
    if !can {
        super::saying::say_skipped(&format!("cli: {test}"), "no root or no loop devices");
    }
    can
}
