//! Everything that is printed: results on standard output, as text or JSON; notes,
//! warnings and errors on standard error.

use super::error::{Error, Result};
use super::exit_code::Code;
use crate::store::chain;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};

/// Where and how to print.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// Returns an output in JSON, or without notes and progress.
    pub const fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Tells whether results are printed as JSON.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Tells whether notes and progress are left out.
    pub const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints a result: `value` as JSON, or what `text` writes.
    pub fn result<T: Serialize + ?Sized>(
        &self,
        value: &T,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        self.stream(|target| {
            if self.json {
                serde_json::to_writer_pretty(&mut *target, value)?;
                writeln!(target)
            } else {
                text(target)
            }
        })
    }

    /// Prints what `write` writes, as it is.
    pub fn stream(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let mut target = BufWriter::new(io::stdout().lock());
        write(&mut target)
            .and_then(|()| target.flush())
            .map_err(Error::output)
    }

    /// Prints a line for people that is not the result.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.remark("note", text, text);
        }
    }

    /// Prints a warning, always.
    pub fn warn(&self, text: &str) {
        self.remark("warning", text, &format!("warning: {text}"));
    }

    /// Prints a line of text, or of JSON: whoever asked for that reads line by line.
    fn remark(&self, kind: &str, text: &str, line: &str) {
        if self.json {
            print_error_line(&serde_json::json!({ kind: text }).to_string());
        } else {
            print_error_line(line);
        }
    }

    /// Prints an error: one line of text, or one line of JSON.
    pub fn error(&self, error: &Error, code: Code) {
        let message = chain(error);
        if self.json {
            let word = code.word();
            let line = serde_json::json!({"error": {
                "kind": word, "exit_code": code.number(), "message": message,
            }});
            print_error_line(&line.to_string());
        } else {
            print_error_line(&format!("tintype: {}", printable(&message)));
        }
    }
}

fn print_error_line(text: &str) {
    // Standard error may be closed; then there is nobody to tell.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Returns `text` with control characters escaped: names come from anywhere, and must
/// not write to the terminal.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            // Marks that turn the direction of text hide what a name says.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => escape(&mut safe, character),
            character if character.is_control() => escape(&mut safe, character),
            character => safe.push(character),
        }
    }
    safe
}

fn escape(target: &mut String, character: char) {
    // Writing to a string cannot fail.
    let _ok = write!(target, "\\u{{{:x}}}", u32::from(character));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
        assert_eq!(printable("gr\u{fc}n \u{202e}x"), "gr\u{fc}n \\u{202e}x");
    }
}
