//! Which entries a person asked for: `--session`, `--status`, `--since` and `--grep`, of which all that are given must
//! hold.

use spooldir::time::now_ms;

use crate::args::Args;
use crate::view::{Document, View};

/// What was asked for.
#[derive(Debug)]
pub struct Filter<'a> {
    args: &'a Args,
    since_ms: Option<u64>,
    /// In lower case.
    grep: Option<String>,
}

impl Filter<'_> {
    /// The filter that the options say.
    pub fn of(args: &Args) -> Filter<'_> {
        let since_ms = args.since.map(|since| since.ms(now_ms()));
        Filter { args, since_ms, grep: args.grep.as_ref().map(|text| text.to_lowercase()) }
    }

    /// Whether it is one of them. A record that cannot be read has no session, no status and no text.
    pub fn wants(&self, view: &View, document: &Document) -> bool {
        let args = self.args;
        (args.session.is_none() || view.session_key == args.session)
            && args.status.is_none_or(|status| view.status == Some(status.as_str()))
            && self.since_ms.is_none_or(|since| view.created_at.is_some_and(|at| at >= since))
            && self.grep.as_ref().is_none_or(|text| holds(view, document, text))
    }
}

fn holds(view: &View, document: &Document, text: &str) -> bool {
    let record = document.record.as_ref().ok();
    let places = [
        view.label.as_deref(),
        view.session_key.as_deref(),
        view.last_error.as_deref(),
        view.id.as_deref(),
        record.and_then(|record| record.text.as_deref()),
    ];
    places.into_iter().flatten().any(|place| place.to_lowercase().contains(text))
}
