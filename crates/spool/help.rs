//! The help: made from the tables of `verbs`, so that it mentions every verb and every option there is.

use std::io::{self, Write};

use crate::verbs::{OPTIONS, Takes, VERBS, Verb};

/// Prints the help of one verb, or of all.
///
/// # Errors
/// Those of writing.
pub fn print(verb: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    match verb.and_then(|name| VERBS.iter().find(|v| v.name == name)) {
        Some(verb) => one(verb, out),
        None => all(out),
    }
}

fn usage(verb: &Verb) -> String {
    let takes = match verb.takes {
        Takes::Nothing => "",
        Takes::One => " ID",
        Takes::Tool => " [TOOL]",
        Takes::Many => " ID...",
        Takes::ManyOrAll => " (ID... | --all)",
        Takes::File => " FILE",
        Takes::Action => " ACTION",
        Takes::Anything => " ARGS...",
    };
    let options = if verb.options.is_empty() { "" } else { " [OPTIONS]" };
    format!("spool {}{takes}{options}", verb.name)
}

fn all(out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "spool: a durable completion outbox. Records dropped in a directory reach their session.\n"
    )?;
    writeln!(out, "Usage: spool VERB [OPTIONS]\n\nVerbs:")?;
    for verb in VERBS {
        writeln!(out, "  {:<9} {}", verb.name, verb.about)?;
    }
    writeln!(out, "\nOptions (spool VERB --help says which verb takes which):")?;
    options(OPTIONS.iter().map(|o| o.name), out)?;
    writeln!(out, "  {:<22} print this, or the help of a verb", "-h, --help")?;
    writeln!(out, "  {:<22} print the version", "-V, --version")?;
    writeln!(
        out,
        "\nAn ID is the whole id or the first characters of it, at least four, if only one entry has them;\n\
         - stands for the ids on standard input, the first word of each line.\n\
         Exit numbers: 0 done, 64 usage, 65 no such entry or not allowed, 69 another agent is running\n\
         or a ping was stopped, 73 or 74 cannot be written or read, 75 try again later, 77 no permission,\n\
         78 configuration; status, doctor, audit, torture and adapt --check: 1, 3."
    )
}

fn one(verb: &Verb, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "Usage: {}\n\n{}", usage(verb), verb.about)?;
    if !verb.more.is_empty() {
        writeln!(out, "\n{}", verb.more)?;
    }
    if !verb.options.is_empty() {
        writeln!(out, "\nOptions:")?;
        options(verb.options.iter().copied(), out)?;
    }
    Ok(())
}

fn options(names: impl Iterator<Item = &'static str>, out: &mut dyn Write) -> io::Result<()> {
    for name in names {
        if let Some(option) = OPTIONS.iter().find(|o| o.name == name) {
            let head = format!("--{} {}", option.name, option.value);
            writeln!(out, "  {head:<22} {}", option.about)?;
        }
    }
    Ok(())
}
