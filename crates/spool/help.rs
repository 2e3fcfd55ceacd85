//! The help: made from the tables of `verbs` and `words`, so that it mentions every verb and every option there is.
//! Examples come first.

use std::io::{self, Write};

use spool_pages as pages;

use crate::verbs::{OPTIONS, Takes, VERBS, Verb};
use crate::words;

/// Prints the help of one verb, or of all.
///
/// # Errors
/// Those of writing.
pub fn print(verb: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    let text = match verb.and_then(|name| VERBS.iter().find(|v| v.name == name)) {
        Some(verb) => one(verb),
        None => all(),
    };
    out.write_all(text.as_bytes())
}

/// The form of a verb's command line.
pub fn usage(verb: &Verb) -> String {
    let takes = match verb.takes {
        Takes::Nothing => "",
        Takes::One => " ID",
        Takes::Sub(words) => return format!("spool {} ({}) [OPTIONS]", verb.name, words.join(" | ")),
        Takes::Tool => " [TOOL]",
        Takes::Many => " ID...",
        Takes::ManyOrAll => " (ID... | --all)",
        Takes::File => " FILE",
        Takes::Action => " ACTION",
        Takes::Shell => " SHELL",
        Takes::Page => " [PAGE]",
        Takes::Anything => " ARGS...",
    };
    let options = if verb.options.is_empty() { "" } else { " [OPTIONS]" };
    format!("spool {}{takes}{options}", verb.name)
}

/// What an id may be.
pub const IDS: &str = "An ID is the whole id or the first characters of it, at least four, if only one entry has them; - stands for the \
     ids on standard input, the first word of each line.";

fn all() -> String {
    let mut text =
        "spool: a durable completion outbox. Records dropped in a directory reach their session.\n\nExamples:\n"
            .to_owned();
    pages::examples(words::FIRST, &mut text);
    text.push_str("\nUsage: spool VERB [OPTIONS]\n\nVerbs:\n");
    pages::rows(VERBS.iter().map(|verb| (verb.name, verb.about)), &mut text);
    text.push_str("\nOptions (spool VERB --help says which verb takes which, and gives examples):\n");
    options(OPTIONS.iter().map(|o| o.name), &mut text);
    text.push('\n');
    for line in pages::wrap(IDS, 118) {
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str("\nExit numbers:\n");
    pages::rows(words::EXITS.iter().copied(), &mut text);
    text
}

fn one(verb: &Verb) -> String {
    let mut text = format!("spool {}: {}\n", verb.name, verb.about);
    let examples = words::examples(verb.name);
    if !examples.is_empty() {
        text.push_str("\nExamples:\n");
        pages::examples(examples, &mut text);
    }
    text.push_str(&format!("\nUsage: {}\n", usage(verb)));
    if !verb.more.is_empty() {
        text.push_str(&format!("\n{}\n", verb.more));
    }
    if !verb.options.is_empty() {
        text.push_str("\nOptions:\n");
        options(verb.options.iter().copied(), &mut text);
    }
    text
}

fn options(names: impl Iterator<Item = &'static str>, text: &mut String) {
    let known = names.filter_map(|name| OPTIONS.iter().find(|o| o.name == name));
    let known = known.map(|o| (format!("--{} {}", o.name, o.value).trim_end().to_owned(), o.about));
    let own = [("-h, --help", "print this, or the help of a verb"), ("-V, --version", "print the version")];
    let all: Vec<(String, &str)> = known.chain(own.map(|(head, about)| (head.to_owned(), about))).collect();
    pages::rows(all.iter().map(|(head, about)| (head.as_str(), *about)), text);
}
