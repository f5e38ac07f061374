//! The text form of LVM2 metadata: sections, numbers, strings and lists, flattened
//! to paths. Nesting is bounded and needs no recursion.
//!
//! Source: lvm2, `man 5 lvm.conf` (the syntax is that of the configuration file) and
//! the metadata that `vgcfgbackup` writes.

use super::error::{Error, Result};
use std::collections::BTreeMap;

/// Sections inside sections: LVM writes four.
const DEPTH_MAX: usize = 8;

/// Bytes of a name or of a value without quotes: LVM takes 128.
const WORD_LEN_MAX: usize = 256;

/// What a setting or a value costs beside its text.
const VALUE_COST: usize = 96;

/// What may be spent on the metadata of all volumes of an image: bytes of text that are
/// read, and of memory that holds the settings in it.
pub(super) struct Budget {
    bytes_left: usize,
}

impl Budget {
    pub(super) const fn new(bytes: usize) -> Self {
        Self { bytes_left: bytes }
    }

    /// Spends `bytes`.
    ///
    /// # Errors
    ///
    /// Unsupported if there are not so many left.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<()> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or_else(|| Error::Unsupported {
            feature: "LVM metadata above 64 MiB".to_owned(),
        })?;
        Ok(())
    }
}

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A number.
    Number(u64),
    /// A string without its quotes.
    Text(String),
    /// Numbers and strings in square brackets.
    List(Vec<Value>),
}

impl Value {
    pub(super) fn number(&self) -> Option<u64> {
        if let Self::Number(number) = self {
            Some(*number)
        } else {
            None
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    pub(super) fn list(&self) -> &[Self] {
        if let Self::List(list) = self {
            list
        } else {
            &[]
        }
    }
}

/// All settings by path (`vg/physical_volumes/pv0/id`).
#[derive(Clone, Debug, Default)]
pub(super) struct Metadata {
    settings: BTreeMap<String, Value>,
}

impl Metadata {
    /// Reads the text.
    ///
    /// # Errors
    ///
    /// Corrupt if it does not have the syntax; Unsupported if it takes more than there
    /// is left of the budget.
    pub(super) fn parse(text: &str, budget: &mut Budget) -> Result<Self> {
        budget.spend(text.len())?;
        Parser {
            rest: text,
            sections: vec![],
            metadata: Self::default(),
            budget,
        }
        .parse()
    }

    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        self.settings.get(path)
    }

    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.get(path)?.number()
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.get(path)?.text()
    }

    /// Returns the name of the first section.
    pub(super) fn first_section(&self) -> Option<String> {
        let mut names = self.settings.keys().filter_map(|path| path.split_once('/'));
        names.next().map(|(name, _)| name.to_owned())
    }

    /// Returns the names of the sections right below `path`.
    pub(super) fn children(&self, path: &str) -> Vec<String> {
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let mut names: Vec<String> = self
            .settings
            .range(prefix.clone()..)
            .map_while(|(key, _)| key.strip_prefix(&prefix))
            .filter_map(|rest| rest.split_once('/').map(|(name, _)| name.to_owned()))
            .collect();
        names.dedup();
        names
    }
}

struct Parser<'a> {
    rest: &'a str,
    sections: Vec<&'a str>,
    metadata: Metadata,
    budget: &'a mut Budget,
}

impl<'a> Parser<'a> {
    fn parse(mut self) -> Result<Metadata> {
        loop {
            self.skip_space();
            if self.rest.is_empty() && self.sections.is_empty() {
                return Ok(self.metadata);
            }
            if self.take('}') {
                self.sections
                    .pop()
                    .ok_or_else(|| self.error("an open section"))?;
                continue;
            }
            let word = self.word()?;
            self.skip_space();
            if self.take('{') {
                self.sections.push(word);
                if self.sections.len() > DEPTH_MAX {
                    return Err(self.error("sections at most 8 deep"));
                }
            } else if self.take('=') {
                let value = self.value()?;
                self.add(word, value)?;
            } else {
                return Err(self.error("= or {"));
            }
        }
    }

    fn add(&mut self, word: &str, value: Value) -> Result<()> {
        let mut path = self.sections.join("/");
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(word);
        self.budget.spend(path.len())?;
        self.metadata.settings.insert(path, value);
        Ok(())
    }

    fn error(&self, expected: &'static str) -> Error {
        let left = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        Error::corrupt("LVM metadata text (bytes left)", expected, left)
    }

    fn skip_space(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return;
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }

    fn take(&mut self, character: char) -> bool {
        match self.rest.strip_prefix(character) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> Result<&'a str> {
        let is_end = |c: char| {
            c.is_whitespace() || matches!(c, '=' | '{' | '}' | '[' | ']' | '"' | ',' | '/')
        };
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        if word.is_empty() || word.len() > WORD_LEN_MAX {
            return Err(self.error("a name of at most 256 bytes"));
        }
        self.rest = rest;
        Ok(word)
    }

    fn value(&mut self) -> Result<Value> {
        self.skip_space();
        self.budget.spend(VALUE_COST)?;
        if !self.take('[') {
            return self.scalar();
        }
        let mut list = vec![];
        loop {
            self.skip_space();
            if self.take(']') {
                return Ok(Value::List(list));
            }
            self.budget.spend(VALUE_COST)?;
            list.push(self.scalar()?);
            self.skip_space();
            self.take(',');
        }
    }

    fn scalar(&mut self) -> Result<Value> {
        if self.take('"') {
            return self.string();
        }
        let word = self.word()?;
        Ok(word
            .parse()
            .map_or_else(|_| Value::Text(word.to_owned()), Value::Number))
    }

    fn string(&mut self) -> Result<Value> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((place, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = self.rest.get(place.saturating_add(1)..).unwrap_or("");
                    return Ok(Value::Text(text));
                }
                '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                _ => text.push(character),
            }
        }
        Err(self.error("the end of a string"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Metadata> {
        Metadata::parse(text, &mut Budget::new(32 << 20))
    }

    #[test]
    fn settings_are_found_by_path() {
        let text = "vg {\n# a comment\nid = \"a-\\\"b\"\nextent_size = 8192\n\
                    status = [\"READ\", \"WRITE\"]\npv { pv0 { n = 1 } pv1 { n = 2 } } }\nv = 1\n";
        let metadata = parse(text).unwrap();
        assert_eq!(metadata.text("vg/id"), Some("a-\"b"));
        assert_eq!(metadata.number("vg/extent_size"), Some(8192));
        assert_eq!(metadata.get("vg/status").unwrap().list().len(), 2);
        assert_eq!(metadata.children("vg/pv"), ["pv0", "pv1"]);
        assert_eq!(metadata.children(""), ["vg"]);
        assert_eq!(metadata.number("v"), Some(1));
    }

    #[test]
    fn damaged_text_is_refused() {
        for bad in [
            "vg {",
            "}",
            "a = \"",
            "a = [1",
            "= 1",
            "a b",
            &"a {".repeat(100),
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    /// Each setting holds the names of all sections that it is in: 8 MiB of text with a
    /// name of 4 MiB were 4 GiB for each thousand settings.
    #[test]
    fn settings_take_memory_in_proportion_to_the_text() {
        let long = format!("{} {{ a = 1 }}", "n".repeat(WORD_LEN_MAX + 1));
        assert!(matches!(parse(&long), Err(Error::Corrupt { .. })));
        let name = "n".repeat(WORD_LEN_MAX);
        let deep = format!("{name} {{ ").repeat(DEPTH_MAX);
        let settings: String = (0..20_000).map(|number| format!("a{number}=1 ")).collect();
        let text = format!("{deep}{settings}{}", "} ".repeat(DEPTH_MAX));
        assert!(matches!(parse(&text), Err(Error::Unsupported { .. })));
        let list = format!("a = [{}]", "1,".repeat(500_000));
        assert!(matches!(parse(&list), Err(Error::Unsupported { .. })));
    }
}
