//! Tables of text with aligned columns.

use super::output::printable;
use std::io::{self, Write};

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells under a header.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Returns an empty table.
    pub fn new(columns: &[(&'static str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: vec![],
        }
    }

    /// Adds a row; control characters in its cells are escaped.
    pub fn push(&mut self, cells: Vec<String>) {
        self.rows
            .push(cells.iter().map(|cell| printable(cell)).collect());
    }

    /// Writes header and rows.
    pub fn write(&self, target: &mut dyn Write) -> io::Result<()> {
        let header: Vec<_> = self
            .columns
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let widths: Vec<usize> = (0..header.len())
            .map(|column| {
                let cells = std::iter::once(&header).chain(&self.rows);
                let widths =
                    cells.map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
                widths.max().unwrap_or(0)
            })
            .collect();
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, (_, align)), width) in row.iter().zip(&self.columns).zip(&widths) {
                let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
                match align {
                    Align::Left => line.extend([cell.as_str(), &gap, "  "]),
                    Align::Right => line.extend([&gap, cell.as_str(), "  "]),
                }
            }
            writeln!(target, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Writes lines of names and values, the values aligned.
pub fn write_fields(target: &mut dyn Write, fields: &[(&str, String)]) -> io::Result<()> {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in fields {
        writeln!(target, "{name:width$}  {}", printable(value))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let mut table = Table::new(&[
            ("NAME", Align::Left),
            ("SIZE", Align::Right),
            ("T", Align::Left),
        ]);
        table.push(vec!["a".to_owned(), "10".to_owned(), String::new()]);
        table.push(vec![
            "long\tname".to_owned(),
            "1".to_owned(),
            "x".to_owned(),
        ]);
        let mut text = vec![];
        table.write(&mut text).unwrap();
        let expected = "NAME        SIZE  T\na             10\nlong\\tname     1  x\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
