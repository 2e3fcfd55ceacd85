//! What a chapter found: sentences, tables, plots and checks, as text, as markdown and as JSON.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::bench::{Bench, Outcome};
use crate::checks::Check;
use crate::plot::Plot;

/// Something that is measured.
#[derive(Debug)]
pub struct Chapter {
    /// On the command line.
    pub name: &'static str,
    /// What it measures, in a line.
    pub about: &'static str,
    /// Measures it.
    pub run: fn(&Bench) -> Outcome<Findings>,
}

/// What a chapter found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// Sentences: what could not be had, figures that are no row of a table.
    pub words: Vec<String>,
    /// Tables.
    pub tables: Vec<Table>,
    /// Plots.
    pub plots: Vec<Plot>,
    /// Targets.
    pub checks: Vec<Check>,
}

impl Findings {
    /// Adds a sentence.
    pub fn say(&mut self, sentence: impl Into<String>) {
        self.words.push(sentence.into());
    }

    /// Adds a table.
    pub fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Adds a plot.
    pub fn plot(&mut self, plot: impl Into<Plot>) {
        self.plots.push(plot.into());
    }

    /// Adds a target.
    pub fn check(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// The targets as a table.
    pub fn targets(&self) -> Table {
        let mut table =
            Table::new("targets", "Targets", &["target", "aimed at", "reached", "limit in CI", ""]);
        for check in &self.checks {
            let limit = check.limit.map_or("–".to_owned(), |limit| limit.to_string());
            let verdict = match check.because.as_str() {
                "" => check.verdict().to_owned(),
                because => format!("{}: {because}", check.verdict()),
            };
            table.row(vec![
                check.name.clone(),
                check.aimed.to_string(),
                number(check.reached),
                limit,
                verdict,
            ]);
        }
        table
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let words: String = self.words.iter().map(|word| format!("{word}\n")).collect();
        let tables: Vec<String> = self.tables.iter().map(Table::text).collect();
        let checks = if self.checks.is_empty() { String::new() } else { self.targets().text() };
        format!("{words}{}\n{checks}", tables.join("\n"))
    }
}

/// A table: a head and rows of the same length; the first column is text, the others are figures.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Table {
    /// For reference.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The heads of the columns.
    pub head: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
    /// What is to be known to read it.
    #[serde(default)]
    pub note: String,
}

impl Table {
    /// Without rows so far.
    pub fn new(name: &str, title: &str, head: &[&str]) -> Table {
        let head = head.iter().map(|&head| head.to_owned()).collect();
        Table { name: name.to_owned(), title: title.to_owned(), head, ..Table::default() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// As markdown.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule = "|---|".to_owned() + &"---:|".repeat(self.head.len().saturating_sub(1)) + "\n";
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        let note = if self.note.is_empty() { String::new() } else { format!("\n{}\n", self.note) };
        format!("**{}**\n\n{}{rule}{rows}{note}", self.title, line(&self.head))
    }

    /// In columns.
    pub fn text(&self) -> String {
        let mut widths = vec![0; self.head.len()];
        for row in self.rows.iter().chain([&self.head]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = format!("{}\n", self.title);
        for row in [&self.head].into_iter().chain(&self.rows) {
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let pad = " ".repeat(width - cell.chars().count());
                let cell = if at == 0 { format!("  {cell}{pad}") } else { format!("  {pad}{cell}") };
                text.push_str(&cell);
            }
            text = text.trim_end().to_owned() + "\n";
        }
        if !self.note.is_empty() {
            // Into a String: nothing can fail.
            let _written = writeln!(text, "  {}", self.note).is_ok();
        }
        text
    }
}

/// A figure, with as many digits as it deserves.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size.fract() == 0.0 && size < 1e4 => format!("{value}"),
        size if size >= 1e4 => grouped(value.round()),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        size if size >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.6}"),
    }
}

/// Microseconds, as many digits as they deserve.
pub fn micros(value: f64) -> String {
    if value >= 100.0 { grouped(value.round()) } else { number(value) }
}

/// A whole number with its thousands apart.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_digits_they_deserve() {
        let all = [2.0, 1.104, 0.0456, 12.34, 1234.5, 1_234_567.0, 0.000_012].map(number);
        assert_eq!(all, ["2", "1.10", "0.0456", "12.3", "1234", "1,234,567", "0.000012"]);
        assert_eq!(micros(1234.0), "1,234");
    }

    #[test]
    fn a_table_is_columns_on_a_terminal_and_pipes_in_a_document() {
        let mut table = Table::new("t", "Title", &["", "µs"]);
        table.row(vec!["a|b".into(), "1".into()]);
        table.row(vec!["longer".into(), "1,234".into()]);
        assert_eq!(table.text(), "Title\n             µs\n  a|b         1\n  longer  1,234\n");
        assert!(table.markdown().contains("|  | µs |\n|---|---:|\n| a\\|b | 1 |\n| longer | 1,234 |\n"));
    }
}
