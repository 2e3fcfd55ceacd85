//! `spool list`: one line for each entry, or a JSON array of [`View`]s.
//!
//! Entries come in the order of the states and, within one, of their ids, which for ids of our own tools is the order
//! in which they were made. Only names are held in memory; each file is opened when its turn comes. `--sort` gives that
//! up.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::io::Write;

use spooldir::time::now_ms;
use spooldir::{Dir, Entry, Spool, exit};

use crate::Failure;
use crate::args::{Args, Sort};
use crate::filter::Filter;
use crate::find::{self, Inbox};
use crate::history;
use crate::runs;
use crate::view::{self, View, brief};
use crate::when;

/// Lists entries.
///
/// # Errors
/// What the spool says when it cannot be read; those of writing.
pub fn run(spool: &Spool, args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    if args.state == Some(Dir::Runs) {
        return runs::list(spool, args, out);
    }
    let (entries, inbox) = collect(spool, args.state)?;
    let histories = history::read(spool, entries.iter().map(|e| e.id.to_string()));
    let mut printer = Printer { out, json: args.json, ids_only: args.ids_only, printed: 0, now_ms: now_ms() };
    let filter = Filter::of(args);
    // What is sorted by its content is held in memory; without that only names are.
    let mut sorted = Vec::new();
    let mut see = |view: View, printer: &mut Printer<'_>| match args.sort {
        Sort::State => printer.print(&view),
        _ => {
            sorted.push(view);
            Ok(())
        }
    };
    printer.begin()?;
    for entry in entries {
        let history = histories.get(entry.id.as_str()).cloned().unwrap_or_default();
        if let Some(seen) = view::look(spool, entry)? {
            let view = seen.view(&history);
            // It may have moved on to a state that was not asked for.
            let is_there = args.state.is_none_or(|dir| dir.state_word() == view.state);
            if is_there && filter.wants(&view, &seen.document) {
                see(view, &mut printer)?;
            }
        }
    }
    for name in inbox.nameless {
        if let Some(document) = view::open(spool, &spool.dir(Dir::New).join(&name)) {
            let view = view::nameless(&document);
            if filter.wants(&view, &document) {
                see(view, &mut printer)?;
            }
        }
    }
    // Stable: within the same value the order of the states stays.
    match args.sort {
        Sort::State => {}
        Sort::Age => sorted.sort_by_key(|view| view.created_at.unwrap_or(u64::MAX)),
        Sort::Session => sorted.sort_by(|a, b| a.session_key.cmp(&b.session_key)),
        Sort::Status => sorted.sort_by_key(|view| view.status),
        Sort::Attempts => sorted.sort_by_key(|view| Reverse(view.attempts)),
    }
    for view in &sorted {
        printer.print(view)?;
    }
    printer.end()?;
    if args.ids_only {
        return Ok(exit::OK);
    }
    if args.state.is_none() && !args.json {
        let runs = runs::count(spool)?;
        if runs.running + runs.over > 0 {
            let n = runs.running + runs.over;
            crate::complain(&format!("jobs in progress: {n}; spool list --state running shows them"));
        }
    }
    let n = inbox.foreign.len();
    if n > 0 {
        let path = spool.dir(Dir::New);
        crate::complain(&format!(
            "{n} foreign files in {} are left alone; spool status names them",
            path.display()
        ));
    }
    Ok(exit::OK)
}

/// All entries, in order, without those that were met twice because they moved meanwhile.
///
/// # Errors
/// When a directory cannot be listed.
pub fn collect(spool: &Spool, only: Option<Dir>) -> Result<(Vec<Entry>, Inbox), Failure> {
    let mut states: Vec<Vec<Entry>> = Vec::new();
    let mut inbox = Inbox::default();
    for dir in Dir::STATES.into_iter().filter(|dir| only.is_none_or(|o| o == *dir)) {
        let mut entries = Vec::new();
        if dir == Dir::New {
            inbox = find::inbox(spool)?;
            entries.append(&mut inbox.entries);
        } else {
            spool.each_entry(dir, |entry, _| entries.push(entry))?;
        }
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        states.push(entries);
    }
    let mut met = HashSet::new();
    for entries in states.iter_mut().rev() {
        entries.retain(|entry| met.insert(entry.id.clone()));
    }
    Ok((states.into_iter().flatten().collect(), inbox))
}

struct Printer<'a> {
    out: &'a mut dyn Write,
    json: bool,
    ids_only: bool,
    printed: usize,
    now_ms: u64,
}

impl Printer<'_> {
    fn begin(&mut self) -> Result<(), Failure> {
        if self.json {
            write!(self.out, "[")?;
        }
        Ok(())
    }

    fn print(&mut self, view: &View) -> Result<(), Failure> {
        if self.json {
            write!(self.out, "{}\n  ", if self.printed == 0 { "" } else { "," })?;
            serde_json::to_writer(&mut self.out, view).map_err(std::io::Error::from)?;
        } else if self.ids_only {
            // A dropped file that has no id yet cannot be named.
            if let Some(id) = &view.id {
                writeln!(self.out, "{id}")?;
            }
        } else {
            if self.printed == 0 {
                writeln!(
                    self.out,
                    "{:<9}  {:<36}  {:<9}  {:>7}  SESSION  LABEL",
                    "STATE", "ID", "STATUS", "AGE"
                )?;
            }
            self.print_line(view)?;
        }
        self.printed += 1;
        Ok(())
    }

    fn print_line(&mut self, view: &View) -> Result<(), Failure> {
        let age = view.created_at.map_or_else(|| "-".to_owned(), |then| when::age(then, self.now_ms));
        write!(
            self.out,
            "{:<9}  {:<36}  {:<9}  {age:>7}  {}",
            view.state,
            view.id.as_deref().unwrap_or("(no id yet)"),
            view.status.unwrap_or("-"),
            brief(view.session_key.as_deref().unwrap_or("-"), 60),
        )?;
        if let Some(label) = &view.label {
            write!(self.out, "  {}", brief(label, 40))?;
        }
        if view.attempts > 0 {
            write!(self.out, "  [{} attempts]", view.attempts)?;
        }
        if let Some(why) = &view.last_error {
            write!(self.out, "  ({})", brief(why, 100))?;
        }
        Ok(writeln!(self.out)?)
    }

    fn end(&mut self) -> Result<(), Failure> {
        if self.json {
            writeln!(self.out, "{}]", if self.printed == 0 { "" } else { "\n" })?;
        } else if self.printed == 0 && !self.ids_only {
            crate::complain("no such entries");
        }
        Ok(())
    }
}
