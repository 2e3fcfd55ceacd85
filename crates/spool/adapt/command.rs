//! The command that is written into other programs' configuration, and how it is known again there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The name of the program.
const NAME: &str = "spool-put";

/// How `spool-put` is called.
#[derive(Debug, Clone)]
pub struct Program {
    /// `spool-put` where it is in the path, else where it is.
    pub name: String,
    /// The spool, if it is not where every program looks for it.
    pub spool: Option<String>,
}

impl Program {
    /// Finds it: in the path, else beside this program. `None` when it is in neither.
    pub fn find(spool: Option<&Path>) -> Option<Program> {
        let beside =
            std::env::current_exe().map(|me| me.with_file_name(NAME)).ok().filter(|path| path.is_file());
        let name = match (find_in_path(NAME), beside) {
            (Some(_), _) => NAME.to_owned(),
            (None, Some(path)) => path.to_str()?.to_owned(),
            (None, None) => return None,
        };
        let spool = spool.map(|dir| std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()));
        Some(Program { name, spool: spool.map(|dir| dir.to_string_lossy().into_owned()) })
    }

    /// The words after the program's name.
    pub fn args(&self, from: &str) -> Vec<String> {
        let mut args = vec!["--from".to_owned(), from.to_owned()];
        if let Some(spool) = &self.spool {
            args.extend(["--spool".to_owned(), spool.clone()]);
        }
        args
    }

    /// All words.
    pub fn words(&self, from: &str) -> Vec<String> {
        std::iter::once(self.name.clone()).chain(self.args(from)).collect()
    }

    /// One line for a shell.
    pub fn line(&self, from: &str) -> String {
        let quoted: Vec<String> = self.words(from).iter().map(|word| quote(word)).collect();
        quoted.join(" ")
    }
}

/// Where a program is in the path.
pub fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
}

/// Whether these words call `spool-put --from NAME`: with nothing else that a person added, or with more.
pub fn is_ours(words: &[String], from: &str) -> Option<bool> {
    let (program, args) = words.split_first()?;
    if Path::new(program).file_name() != Some(OsStr::new(NAME)) {
        return None;
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["--from", name] | ["--from", name, "--spool", _] if *name == from => Some(true),
        args if args.windows(2).any(|pair| pair == ["--from", from]) => Some(false),
        args if args.contains(&format!("--from={from}").as_str()) => Some(false),
        _ => None,
    }
}

/// A word for a POSIX shell.
pub fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The words of a simple shell command. What a shell would do more with it is not done: it is only looked at.
pub fn split(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => word.get_or_insert_default().extend(chars.by_ref().take_while(|d| *d != c)),
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_known_again_however_it_is_quoted() {
        let program = Program { name: "/opt/my tools/spool-put".into(), spool: Some("/it's".into()) };
        let line = program.line("goose");
        assert_eq!(line, r"'/opt/my tools/spool-put' --from goose --spool '/it'\''s'");
        assert_eq!(split(&line), program.words("goose"));
        for (line, ours) in [
            (line.as_str(), Some(true)),
            ("spool-put --from goose", Some(true)),
            ("\"/x/spool-put\" --from goose", Some(true)),
            ("spool-put --from goose --session k", Some(false)),
            ("spool-put --from=goose", Some(false)),
            ("spool-put --from gooseling", None),
            ("beep --from goose", None),
            ("", None),
        ] {
            assert_eq!(is_ours(&split(line), "goose"), ours, "{line}");
        }
    }
}
