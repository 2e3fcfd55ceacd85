//! What the programs say of themselves, as data: options, examples, exit numbers.
//!
//! The help of `spool-put` and `spool-run`, their pages of the manual, what a shell completes and what their command
//! lines know are all made from one table each ([`put`], [`run`]), so that they cannot disagree. (The verbs of `spool`
//! have theirs in the program; it needs many more words, which the small programs need not carry.) No dependencies:
//! what is here is in every program.

pub mod put;
pub mod run;
pub mod suggest;

/// How wide help is laid out, in characters.
const WIDTH: usize = 118;
/// A longer command has what it does right behind it, not below that of the others.
const WIDEST_LINE: usize = 60;
/// What is left of it for words when the other column is as wide as it gets.
const WIDEST_HEAD: usize = 22;

/// All that a program says of itself.
#[derive(Debug)]
pub struct Page {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in one line.
    pub about: &'static str,
    /// How it is used most.
    pub examples: &'static [Example],
    /// The forms of its command line.
    pub usage: &'static [Row],
    /// Its options, by what they are about.
    pub options: &'static [Section],
    /// What more there is to know, in paragraphs.
    pub notes: &'static [&'static str],
    /// What its exit numbers mean.
    pub exits: &'static [Row],
}

/// A command, and what it does.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// To be typed as it stands.
    pub line: &'static str,
    /// What it does; nothing where the command says it.
    pub what: &'static str,
}

/// Options that belong together.
#[derive(Debug)]
pub struct Section {
    /// What they are about.
    pub title: &'static str,
    /// They themselves.
    pub rows: &'static [Row],
}

/// Something and what it means.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// E.g. `--session KEY`.
    pub head: &'static str,
    /// What it means.
    pub about: &'static str,
    /// What can stand for the value, where that is known.
    pub words: &'static [&'static str],
}

impl Row {
    /// The long name of the option that the row is about, without the dashes.
    pub fn option(&self) -> Option<&'static str> {
        let long = self.head.split(", ").last()?.strip_prefix("--")?;
        long.split([' ', '[', '=']).next()
    }

    /// What the option takes, e.g. `KEY`; nothing for one that takes nothing.
    pub fn value(&self) -> &'static str {
        let long = self.head.split(", ").last().unwrap_or_default();
        long.split_once(' ').map_or("", |(_, value)| value)
    }
}

const fn example(line: &'static str, what: &'static str) -> Example {
    Example { line, what }
}

const fn row(head: &'static str, about: &'static str) -> Row {
    Row { head, about, words: &[] }
}

const fn one_of(head: &'static str, about: &'static str, words: &'static [&'static str]) -> Row {
    Row { head, about, words }
}

const fn section(title: &'static str, rows: &'static [Row]) -> Section {
    Section { title, rows }
}

/// The last two options of every program.
const HELP: Row = row("-h, --help", "this text");
const VERSION: Row = row("-V, --version", "the version");

impl Page {
    /// All its options.
    pub fn rows(&self) -> impl Iterator<Item = &'static Row> {
        self.options.iter().flat_map(|section| section.rows)
    }

    /// Whether there is an option of this long name.
    pub fn has(&self, name: &str) -> bool {
        self.rows().any(|row| row.option() == Some(name))
    }

    /// `; is it --NAME?` for the nearest of its options to one that is none, if one is near.
    pub fn closest(&self, name: &str) -> String {
        suggest::closest(name, self.rows().filter_map(Row::option)).replace("is it ", "is it --")
    }

    /// What `--help` prints.
    pub fn help(&self) -> String {
        let mut help = format!("{}: {}\n\nExamples:\n", self.name, self.about);
        examples(self.examples, &mut help);
        help.push_str("\nUsage:\n");
        rows(self.usage.iter().map(|row| (row.head, row.about)), &mut help);
        for section in self.options {
            help.push_str(&format!("\n{}:\n", section.title));
            rows(section.rows.iter().map(|row| (row.head, row.about)), &mut help);
        }
        for note in self.notes {
            help.push('\n');
            for line in wrap(note, WIDTH) {
                help.push_str(&line);
                help.push('\n');
            }
        }
        help.push_str("\nExit:\n");
        rows(self.exits.iter().map(|row| (row.head, row.about)), &mut help);
        help
    }
}

/// Lays examples out, each in a line with what it does beside it, or above it where that is too long.
pub fn examples(all: &[Example], help: &mut String) {
    let width = |text: &str| text.chars().count();
    let fits = |e: &&Example| !e.what.is_empty() && width(e.line) + width(e.what) + 6 <= WIDTH;
    let column =
        all.iter().filter(fits).map(|e| width(e.line)).filter(|w| *w <= WIDEST_LINE).max().unwrap_or(0);
    for example in all {
        let Example { line, what } = example;
        if what.is_empty() {
            help.push_str(&format!("  {line}\n"));
        } else if fits(&example) && width(what) + width(line).max(column) + 6 <= WIDTH {
            help.push_str(&format!("  {line:<column$}  # {what}\n"));
        } else {
            help.push_str(&format!("  # {what}\n  {line}\n"));
        }
    }
}

/// Lays rows out in two columns; what is too wide for the first stands in a line of its own.
pub fn rows<'a>(all: impl Iterator<Item = (&'a str, &'a str)>, help: &mut String) {
    let all: Vec<(&str, &str)> = all.collect();
    let width = |head: &str| head.chars().count();
    // Where most do not fit, none needs to.
    let column = all.iter().map(|(head, _)| width(head)).filter(|w| *w <= WIDEST_HEAD).max().unwrap_or(8);
    for (head, about) in all {
        let mut lines = wrap(about, WIDTH - column - 4).into_iter();
        if width(head) > column && !about.is_empty() {
            help.push_str(&format!("  {head}\n"));
        } else {
            let first = lines.next().unwrap_or_default();
            let line = format!("  {head:<column$}  {first}");
            help.push_str(line.trim_end());
            help.push('\n');
        }
        for line in lines {
            help.push_str(&format!("  {:<column$}  {line}\n", ""));
        }
    }
}

/// Breaks a text at blanks so that no line is longer than this, words excepted.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_read_from_its_row() {
        for (head, option, value) in [
            ("--session KEY", Some("session"), "KEY"),
            ("--wait[=EVIDENCE]", Some("wait"), ""),
            ("-h, --help", Some("help"), ""),
            ("--urgent", Some("urgent"), ""),
            ("0", None, ""),
        ] {
            let row = row(head, "");
            assert_eq!((row.option(), row.value()), (option, value), "{head}");
        }
    }

    #[test]
    fn help_fits_and_says_everything() {
        for page in [&put::PAGE, &run::PAGE] {
            let help = page.help();
            for line in help.lines() {
                assert!(line.chars().count() <= WIDTH + 2, "{line}");
                assert_eq!(line.trim_end(), line);
            }
            let first = help.lines().nth(2).unwrap();
            assert_eq!(first, "Examples:", "examples come first");
            for row in page.rows() {
                assert!(help.contains(row.head), "{}", row.head);
                assert!(page.has(row.option().unwrap()));
            }
        }
        assert_eq!(put::PAGE.closest("sesion"), "; is it --session?");
        assert_eq!(run::PAGE.closest("detatch"), "; is it --detach?");
        assert_eq!(run::PAGE.closest("entirely-else"), "");
    }

    #[test]
    fn texts_are_broken_at_blanks() {
        assert_eq!(wrap("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrap("toolong a", 3), ["toolong", "a"]);
        assert!(wrap("", 3).is_empty());
        let mut help = String::new();
        rows([("--a", "one two"), ("--a-name-that-is-much-too-long KEY", "three")].into_iter(), &mut help);
        assert_eq!(help, "  --a  one two\n  --a-name-that-is-much-too-long KEY\n       three\n");
    }
}
