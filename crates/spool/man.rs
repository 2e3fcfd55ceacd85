//! `spool man`: the pages of the manual, made from the same tables as the help.
//!
//! The language is man(7) in its simplest form, which groff and mandoc both take without a word. What it keeps true: text
//! is text (a backslash, a dot or a quote at the start of a line is escaped), and an option's dashes can be copied.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use spool_pages::{Example, Page, Row, put, run};
use spooldir::exit;

use crate::args::Args;
use crate::suggest::closest;
use crate::verbs::{OPTIONS, VERBS, Verb};
use crate::{Failure, help, words};

/// When what the pages say was last changed.
const DATE: &str = "2026-11-23";

/// Prints a page, or writes all of them.
///
/// # Errors
/// [`exit::USAGE`] when there is no such page; those of writing.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    if let Some(dir) = &args.dir {
        return write_all(dir, out);
    }
    let name = args.ids.first().map_or("spool", String::as_str);
    let text = page(name).ok_or_else(|| {
        let close = closest(name, topics());
        Failure::new(exit::USAGE, format!("there is no page {name:?}{close}; spool man lists them all"))
    })?;
    out.write_all(text.as_bytes())?;
    Ok(exit::OK)
}

/// What there is a page of, in short.
pub fn topics() -> Vec<&'static str> {
    VERBS.iter().map(|verb| verb.name).chain(["spool-put", "spool-run"]).collect()
}

/// The names of all pages.
fn names() -> Vec<String> {
    let own = VERBS.iter().map(|verb| verb.name).filter(|name| !is_program(name));
    let verbs = own.map(|name| format!("spool-{name}"));
    ["spool".to_owned(), "spool-put".to_owned(), "spool-run".to_owned()].into_iter().chain(verbs).collect()
}

fn is_program(verb: &str) -> bool {
    matches!(verb, "put" | "run")
}

fn write_all(dir: &Path, out: &mut dyn Write) -> Result<u8, Failure> {
    for name in names() {
        let path = dir.join(format!("{name}.1"));
        let text = page(&name).unwrap_or_default();
        std::fs::write(&path, text).map_err(|e| {
            let why =
                format!("cannot write {}: {e}; name a directory that is there with --dir", path.display());
            Failure::new(exit::CANT_CREATE, why)
        })?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(exit::OK)
}

/// The page of this name: `spool`, a verb with or without `spool-` before it, or one of the programs.
pub fn page(name: &str) -> Option<String> {
    let short = name.strip_prefix("spool-").unwrap_or(name);
    match short {
        "spool" => Some(whole()),
        "put" => Some(program(&put::PAGE)),
        "run" => Some(program(&run::PAGE)),
        verb => VERBS.iter().find(|v| v.name == verb).map(one),
    }
}

fn whole() -> String {
    let mut page = Roff::new("spool", "a durable completion outbox");
    page.section("SYNOPSIS").paragraph("spool VERB [OPTIONS]");
    page.section("DESCRIPTION").paragraph(
        "Whatever finishes in the background leaves a record in a directory, the spool, that names the conversation it \
         belongs to; an agent (spool drain) delivers it there through the OpenClaw gateway until there is evidence that \
         it arrived. What cannot be delivered is kept and shown.",
    );
    page.paragraph("All verbs that change something are renames, and work with the agent up or down.");
    page.section("EXAMPLES").examples(words::FIRST);
    page.section("VERBS");
    for verb in VERBS {
        page.item(&format!("{} (see spool-{}(1))", verb.name, verb.name), verb.about);
    }
    page.section("OPTIONS").paragraph("Each verb takes some of these; its own page says which.");
    page.options(OPTIONS.iter().map(|o| o.name));
    page.paragraph(help::IDS);
    page.items("EXIT STATUS", words::EXITS);
    page.items("ENVIRONMENT", words::ENVIRONMENT);
    page.items("FILES", words::FILES);
    page.see_also(&["spool-put", "spool-run", "spool-drain", "spool-status", "spool-doctor"]);
    page.0
}

fn one(verb: &Verb) -> String {
    let name = format!("spool-{}", verb.name);
    let mut page = Roff::new(&name, verb.about);
    page.section("SYNOPSIS").paragraph(&help::usage(verb));
    let examples = words::examples(verb.name);
    if !examples.is_empty() {
        page.section("EXAMPLES").examples(examples);
    }
    if !verb.more.is_empty() {
        page.section("DESCRIPTION").paragraph(&verb.more.replace('\n', " "));
    }
    if !verb.options.is_empty() {
        page.section("OPTIONS").options(verb.options.iter().copied());
    }
    page.items("EXIT STATUS", words::EXITS);
    page.items("ENVIRONMENT", words::ENVIRONMENT);
    page.see_also(&["spool", "spool-put", "spool-run"]);
    page.0
}

fn program(of: &Page) -> String {
    let mut page = Roff::new(of.name, of.about);
    page.section("SYNOPSIS");
    let pairs = |rows: &'static [Row]| rows.iter().map(|row| (row.head, row.about)).collect::<Vec<_>>();
    for (form, about) in pairs(of.usage) {
        page.item(form, about);
    }
    page.section("EXAMPLES").examples(of.examples);
    page.section("OPTIONS");
    for section in of.options {
        page.subsection(section.title);
        for (head, about) in pairs(section.rows) {
            page.item(head, about);
        }
    }
    page.section("NOTES");
    for note in of.notes {
        page.paragraph(note);
    }
    page.items("EXIT STATUS", &pairs(of.exits));
    page.items("ENVIRONMENT", words::ENVIRONMENT.get(..2).unwrap_or_default());
    page.see_also(&["spool", "spool-put", "spool-run", "spool-session"]);
    page.0
}

/// A page in the making.
struct Roff(String);

impl Roff {
    fn new(name: &str, about: &str) -> Roff {
        let title = name.to_uppercase();
        let version = env!("CARGO_PKG_VERSION");
        let mut page = Roff(format!(".TH {title} 1 {DATE} \"spool {version}\" \"User Commands\"\n"));
        page.section("NAME");
        page.line(&format!("{} \\- {}", text(name), text(about)));
        page
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn section(&mut self, title: &str) -> &mut Roff {
        self.line(&format!(".SH {title}"));
        self
    }

    fn subsection(&mut self, title: &str) {
        self.line(&format!(".SS {}", text(title)));
    }

    fn paragraph(&mut self, words: &str) -> &mut Roff {
        // A paragraph right after the head of a section is one already.
        if !self.0.lines().last().is_some_and(|line| line.starts_with(".S")) {
            self.line(".PP");
        }
        self.line(&text(words));
        self
    }

    fn item(&mut self, head: &str, about: &str) {
        self.line(".TP");
        self.line(&format!("\\fB{}\\fR", text(head)));
        if !about.is_empty() {
            self.line(&text(about));
        }
    }

    fn items(&mut self, title: &str, rows: &[(&str, &str)]) {
        self.section(title);
        for (head, about) in rows {
            self.item(head, about);
        }
    }

    fn options(&mut self, names: impl Iterator<Item = &'static str>) {
        for option in names.filter_map(|name| OPTIONS.iter().find(|o| o.name == name)) {
            let mut head = format!("--{}", option.name);
            if !option.value.is_empty() {
                let _written = write!(head, " {}", option.value).is_ok();
            }
            self.item(&head, option.about);
        }
    }

    fn examples(&mut self, examples: &[Example]) {
        for example in examples {
            self.item(example.line, example.what);
        }
    }

    fn see_also(&mut self, names: &[&str]) {
        self.section("SEE ALSO");
        let own = self.0.split_whitespace().nth(1).unwrap_or_default().to_lowercase();
        let others = names.iter().filter(|name| **name != own);
        let others: Vec<String> = others.map(|name| format!("\\fB{}\\fR(1)", text(name))).collect();
        self.line(&others.join(",\n"));
    }
}

/// A text as text: nothing in it is a request, and a dash can be copied.
fn text(words: &str) -> String {
    let escaped = words.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    let escaped = escaped.replace('~', "\\(ti").replace('^', "\\(ha");
    if escaped.starts_with('.') { format!("\\&{escaped}") } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_and_program_has_a_page_with_all_its_options() {
        for name in names() {
            let page = page(&name).unwrap();
            assert!(page.starts_with(&format!(".TH {} 1 ", name.to_uppercase())), "{name}");
            for part in
                [".SH NAME\n", ".SH SYNOPSIS\n", ".SH EXAMPLES\n", ".SH EXIT STATUS\n", ".SH SEE ALSO\n"]
            {
                assert!(page.contains(part), "{name} has no {part}");
            }
            assert!(page.lines().all(|line| !line.is_empty() && !line.starts_with('\'')), "{name}");
        }
        for verb in VERBS.iter().filter(|verb| !is_program(verb.name)) {
            let page = page(verb.name).unwrap();
            for option in verb.options {
                assert!(
                    page.contains(&format!("\\fB{}", text(&format!("--{option}")))),
                    "{} {option}",
                    verb.name
                );
            }
        }
        for row in put::PAGE.rows() {
            assert!(page("spool-put").unwrap().contains(&text(row.head)), "{}", row.head);
        }
        assert!(page("nonsense").is_none());
    }

    #[test]
    fn text_is_text() {
        assert_eq!(text(".TH \\n 'x' --all"), "\\&.TH \\en \\(aqx\\(aq \\-\\-all");
    }
}
