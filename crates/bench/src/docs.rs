//! `docs/performance.md`: prose written by hand, with a generated block for each chapter and one for all targets.
//!
//! What a chapter found lies beside its plots, as JSON, so that one chapter can be measured anew without the others. A
//! block stands between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`; one that is not there yet is put at the end.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bench::{Bench, Outcome};
use crate::report::{Findings, Table, number};

/// What a chapter found, and on what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// The chapter.
    pub chapter: String,
    /// The machine, in a sentence.
    pub machine: String,
    /// Repeats the order.
    pub seed: u64,
    /// Seconds it took.
    pub took: f64,
    /// What was found.
    pub findings: Findings,
}

/// The machine, in a sentence: for the reader to know what the figures are of.
pub fn machine(bench: &Bench) -> String {
    let name = rustix::system::uname();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{} {} on {cores} cores, {}, load {} at the end",
        name.sysname().to_string_lossy(),
        name.release().to_string_lossy(),
        bench.place.file_system(),
        load()
    )
}

/// The load average of the last minute.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().map_or("unknown".to_owned(), ToOwned::to_owned)
}

/// Writes what was found into `docs`: JSON and plots of each chapter, and its block.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write(docs: &Path, all: &[Measured]) -> Outcome<()> {
    let plots = docs.join("plots");
    std::fs::create_dir_all(&plots)?;
    for measured in all {
        let chapter = &measured.chapter;
        std::fs::write(plots.join(format!("{chapter}.json")), json(measured)?)?;
        for plot in &measured.findings.plots {
            std::fs::write(plots.join(format!("{chapter}-{}.svg", plot.name())), plot.svg())?;
        }
    }
    render(docs)
}

/// Writes the blocks anew from what lies beside the plots.
///
/// # Errors
/// When a file cannot be read or written.
pub fn render(docs: &Path) -> Outcome<()> {
    let file = docs.join("performance.md");
    let mut text = std::fs::read_to_string(&file).unwrap_or_else(|_| "# Performance\n".to_owned());
    let mut all: Vec<Measured> = Vec::new();
    // In the order of the chapters; one that is no more is not told of any more.
    for chapter in crate::chapters::ALL {
        if let Ok(bytes) = std::fs::read(docs.join(format!("plots/{}.json", chapter.name))) {
            all.push(serde_json::from_slice(&bytes).map_err(|e| format!("{}.json: {e}", chapter.name))?);
        }
    }
    text = put(&text, "targets", &targets(&all).markdown());
    for measured in &all {
        text = put(&text, &measured.chapter, &block(measured));
    }
    Ok(std::fs::write(file, text)?)
}

/// The JSON of a chapter.
///
/// # Errors
/// Never, in practice.
pub fn json(measured: &Measured) -> Outcome<String> {
    Ok(serde_json::to_string_pretty(measured)? + "\n")
}

/// All targets of all chapters.
fn targets(all: &[Measured]) -> Table {
    let mut table =
        Table::new("targets", "Targets", &["target", "aimed at", "reached", "", "chapter", "what bounds it"]);
    for measured in all {
        for check in &measured.findings.checks {
            table.row(vec![
                check.name.clone(),
                check.aimed.to_string(),
                number(check.reached),
                check.verdict().to_owned(),
                measured.chapter.clone(),
                check.because.clone(),
            ]);
        }
    }
    table
}

fn block(measured: &Measured) -> String {
    let findings = &measured.findings;
    let mut parts: Vec<String> = findings.words.clone();
    for plot in &findings.plots {
        parts.push(format!("![{}](plots/{}-{}.svg)", plot.title(), measured.chapter, plot.name()));
    }
    parts.extend(findings.tables.iter().map(Table::markdown));
    if !findings.checks.is_empty() {
        parts.push(findings.targets().markdown());
    }
    parts
        .push(format!("Measured in {:.0} s on {}; seed {}.", measured.took, measured.machine, measured.seed));
    parts.iter().map(|part| part.trim_end().to_owned()).collect::<Vec<_>>().join("\n\n") + "\n"
}

/// Puts a block in place of the old one, or at the end.
fn put(text: &str, name: &str, block: &str) -> String {
    let (begin, end) = (format!("<!-- bench:{name} -->"), format!("<!-- /bench:{name} -->"));
    let block = format!("{begin}\n{}\n{end}", block.trim_end());
    if let (Some(from), Some(to)) = (text.find(&begin), text.find(&end))
        && let (Some(before), Some(after)) = (text.get(..from), text.get(to + end.len()..))
    {
        return format!("{before}{block}{after}");
    }
    format!("{}\n\n## {name}\n\n{block}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_replaced_where_it_stands_and_nothing_else_is_touched() {
        let text = "# P\n\nwords\n\n<!-- bench:put -->\nold\n<!-- /bench:put -->\n\nmore words\n";
        let new = put(text, "put", "new\n");
        assert_eq!(new, text.replace("old", "new"));
        assert_eq!(put(&new, "put", "new"), new);
        let appended = put(&new, "publish", "x");
        assert!(appended.starts_with(new.trim_end()));
        assert!(appended.ends_with("## publish\n\n<!-- bench:publish -->\nx\n<!-- /bench:publish -->\n"));
    }
}
