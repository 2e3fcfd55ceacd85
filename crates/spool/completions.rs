//! `spool completions`: what a shell offers when Tab is pressed, for `spool`, `spool-put` and `spool-run`.
//!
//! One script for each shell, made from the tables of the verbs and the programs. What can stand for an option's value
//! is offered where it is known: states, statuses, modes, shells, files and directories; ids are asked of `spool list`
//! at that moment. bash needs version 4.

use std::fmt::Write as _;
use std::io::Write;

use spool_pages::{Page, Row, put, run};
use spooldir::record::Status;
use spooldir::{Dir, exit};

use crate::adapt;
use crate::args::Args;
use crate::suggest::closest;
use crate::verbs::{OPTIONS, Opt, RUNNING, Takes, VERBS, Verb};
use crate::{Failure, man, service};

/// The shells that are known.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish"];
/// Prints ids, and nothing where there is no spool. Of a full spool not all.
const IDS: &str = "spool list --ids 2>/dev/null | head -n 200";

/// Prints the script for a shell.
///
/// # Errors
/// [`exit::USAGE`] for a shell that is not known; those of writing.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let shell = args.ids.first().map_or("", String::as_str);
    let script = match shell {
        "bash" => bash(),
        "zsh" => zsh(),
        "fish" => fish(),
        _ => {
            let close = closest(shell, SHELLS.iter().copied());
            let why =
                format!("cannot complete for {shell:?}; a shell is one of {}{close}", SHELLS.join(", "));
            return Err(Failure::new(exit::USAGE, why));
        }
    };
    out.write_all(script.as_bytes())?;
    Ok(exit::OK)
}

/// What may follow.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Offer {
    /// Nothing that is known.
    Nothing,
    Files,
    Dirs,
    Ids,
    /// A command and its arguments.
    Command,
    Words(Vec<String>),
}

fn words<S: ToString>(all: impl IntoIterator<Item = S>) -> Offer {
    Offer::Words(all.into_iter().map(|word| word.to_string()).collect())
}

/// An option, as the shells see it.
struct Choice {
    name: &'static str,
    about: &'static str,
    /// What its value may be; `None` where it takes none, or only after a `=`.
    value: Option<Offer>,
}

fn of_option(option: &Opt) -> Choice {
    let offer = match (option.name, option.value) {
        // What is in brackets may be left out, and follows a `=` otherwise.
        (_, value) if value.is_empty() || value.starts_with('[') => {
            return Choice { name: option.name, about: option.about, value: None };
        }
        ("state", _) => words(Dir::STATES.map(Dir::state_word).into_iter().chain([RUNNING])),
        ("status", _) => words(Status::WORDS.iter()),
        ("sort", _) => words(["state", "age", "session", "status", "attempts"]),
        (_, "DIR") => Offer::Dirs,
        (_, "FILE") => Offer::Files,
        _ => Offer::Nothing,
    };
    Choice { name: option.name, about: option.about, value: Some(offer) }
}

fn of_row(row: &'static Row) -> Option<Choice> {
    let offer = match row.value() {
        "" => None,
        _ if !row.words.is_empty() => Some(words(row.words)),
        "DIR" => Some(Offer::Dirs),
        "FILE" => Some(Offer::Files),
        _ => Some(Offer::Nothing),
    };
    Some(Choice { name: row.option()?, about: row.about, value: offer })
}

fn of_verb(verb: &Verb) -> Vec<Choice> {
    let known = verb.options.iter().filter_map(|name| OPTIONS.iter().find(|o| o.name == *name));
    known
        .map(of_option)
        .chain([Choice { name: "help", about: "print the help of it", value: None }])
        .collect()
}

fn of_page(page: &Page) -> Vec<Choice> {
    page.rows().filter_map(of_row).collect()
}

/// What a verb takes besides options.
fn operands(verb: &Verb) -> Offer {
    match verb.takes {
        Takes::One | Takes::Many | Takes::ManyOrAll => Offer::Ids,
        Takes::Tool => words(adapt::names()),
        Takes::File => Offer::Files,
        Takes::Action => words(service::ACTIONS),
        Takes::Shell => words(SHELLS),
        Takes::Page => words(man::topics()),
        _ => Offer::Nothing,
    }
}

/// The verbs that this program does itself.
fn own_verbs() -> impl Iterator<Item = &'static Verb> {
    VERBS.iter().filter(|verb| verb.takes != Takes::Anything)
}

fn names(choices: &[Choice]) -> String {
    choices.iter().map(|choice| format!("--{}", choice.name)).collect::<Vec<_>>().join(" ")
}

/// The options that take a value, as a pattern of `case`.
fn with_value(choices: &[Choice]) -> String {
    let with = choices.iter().filter(|choice| choice.value.is_some());
    with.map(|choice| format!("--{}", choice.name)).collect::<Vec<_>>().join("|")
}

fn bash_offer(offer: &Offer) -> String {
    let generator = match offer {
        Offer::Nothing => return "return".to_owned(),
        Offer::Files => "compgen -f -- \"$cur\"".to_owned(),
        Offer::Dirs => "compgen -d -- \"$cur\"".to_owned(),
        Offer::Ids => format!("compgen -W \"$({IDS})\" -- \"$cur\""),
        Offer::Command => "compgen -c -- \"$cur\"".to_owned(),
        Offer::Words(words) => format!("compgen -W '{}' -- \"$cur\"", words.join(" ")),
    };
    format!("mapfile -t COMPREPLY < <({generator})")
}

/// The body of a function of bash that completes after `choices` and operands.
fn bash_body(choices: &[Choice], operands: &Offer, pad: &str, text: &mut String) {
    let mut cases: Vec<(String, String)> = Vec::new();
    for choice in choices {
        let Some(offer) = &choice.value else { continue };
        let (pattern, does) = (format!("--{}", choice.name), bash_offer(offer));
        match cases.iter_mut().find(|(_, same)| *same == does) {
            Some((patterns, _)) => *patterns = format!("{patterns}|{pattern}"),
            None => cases.push((pattern, does)),
        }
    }
    let _written = writeln!(text, "{pad}case $prev in").is_ok();
    for (pattern, does) in cases {
        let _written = writeln!(text, "{pad}    {pattern}) {does}; return ;;").is_ok();
    }
    let _written = writeln!(
        text,
        "{pad}esac\n{pad}if [[ $cur == -* ]]; then\n{pad}    mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$cur\")\n\
         {pad}else\n{pad}    {}\n{pad}fi",
        names(choices),
        bash_offer(operands)
    )
    .is_ok();
}

fn bash() -> String {
    let mut text =
        "# bash completion of spool, spool-put and spool-run; made by: spool completions bash\n\n".to_owned();
    let all: Vec<Choice> = OPTIONS.iter().map(of_option).collect();
    let skip = with_value(&all);
    let verbs = VERBS.iter().map(|verb| verb.name).collect::<Vec<_>>().join(" ");
    let _written = writeln!(
        text,
        "_spool() {{\n    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} verb='' i\n    \
         COMPREPLY=()\n    for ((i = 1; i < COMP_CWORD; i++)); do\n        case ${{COMP_WORDS[i]}} in\n            \
         {skip}) ((i++)) ;;\n            -*) ;;\n            *) verb=${{COMP_WORDS[i]}}; break ;;\n        esac\n    \
         done\n    case $verb in\n        put) _spool_put; return ;;\n        run) _spool_run; return ;;"
    )
    .is_ok();
    for verb in own_verbs() {
        let _written = writeln!(text, "        {})", verb.name).is_ok();
        bash_body(&of_verb(verb), &operands(verb), "            ", &mut text);
        text.push_str("            ;;\n");
    }
    let _written = writeln!(
        text,
        "        '')\n            case $prev in\n                --spool) {}; return ;;\n            esac\n            \
         mapfile -t COMPREPLY < <(compgen -W '{verbs} --spool --help --version' -- \"$cur\")\n            ;;\n    \
         esac\n}}\n",
        bash_offer(&Offer::Dirs)
    )
    .is_ok();
    for (function, page, operands) in
        [("_spool_put", &put::PAGE, Offer::Nothing), ("_spool_run", &run::PAGE, Offer::Command)]
    {
        let _written = writeln!(
            text,
            "{function}() {{\n    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}\n    COMPREPLY=()"
        )
        .is_ok();
        bash_body(&of_page(page), &operands, "    ", &mut text);
        text.push_str("}\n\n");
    }
    text.push_str(
        "complete -o bashdefault -F _spool spool\ncomplete -o bashdefault -F _spool_put spool-put\n\
         complete -o bashdefault -o default -F _spool_run spool-run\n",
    );
    text
}

/// A text between single quotes, in zsh, with what `_arguments` reads taken as text.
fn zsh_quoted(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('[', "\\[")
        .replace(']', "\\]")
        .replace(':', "\\:")
        .replace('\'', "'\\''")
}

fn zsh_offer(offer: &Offer) -> String {
    match offer {
        Offer::Nothing => " ".to_owned(),
        Offer::Files => "_files".to_owned(),
        Offer::Dirs => "_files -/".to_owned(),
        Offer::Ids => "_spool_ids".to_owned(),
        Offer::Command => "_normal".to_owned(),
        Offer::Words(words) => format!("({})", words.join(" ")),
    }
}

fn zsh_options(choices: &[Choice], pad: &str, text: &mut String) {
    for choice in choices {
        let about = zsh_quoted(choice.about);
        let value =
            choice.value.as_ref().map(|offer| format!(":value:{}", zsh_offer(offer))).unwrap_or_default();
        let _written = writeln!(text, "{pad}'--{}[{about}]{value}' \\", choice.name).is_ok();
    }
}

fn zsh() -> String {
    let mut text =
        "#compdef spool spool-put spool-run\n# zsh completion; made by: spool completions zsh\n\n".to_owned();
    let _written = writeln!(
        text,
        "_spool_ids() {{\n    local -a ids\n    ids=(${{(f)\"$({IDS})\"}})\n    compadd -a ids\n}}\n\n\
         _spool_put() {{\n    _arguments -s \\"
    )
    .is_ok();
    zsh_options(&of_page(&put::PAGE), "        ", &mut text);
    text.push_str("        '*:text: '\n}\n\n_spool_run() {\n    _arguments -s \\\n");
    zsh_options(&of_page(&run::PAGE), "        ", &mut text);
    text.push_str("        '*::command:_normal'\n}\n\n_spool_verb() {\n    case $words[1] in\n        put) _spool_put ;;\n        run) _spool_run ;;\n");
    for verb in own_verbs() {
        let _written = writeln!(text, "        {})\n            _arguments \\", verb.name).is_ok();
        zsh_options(&of_verb(verb), "                ", &mut text);
        let _written =
            writeln!(text, "                '*:operand:{}'\n            ;;", zsh_offer(&operands(verb)))
                .is_ok();
    }
    text.push_str("    esac\n}\n\n_spool_verbs() {\n    local -a verbs\n    verbs=(\n");
    for verb in VERBS {
        let _written = writeln!(text, "        '{}:{}'", verb.name, zsh_quoted(verb.about)).is_ok();
    }
    text.push_str(
        "    )\n    _describe verb verbs\n}\n\n_spool() {\n    _arguments \\\n        '--spool[the spool]:value:_files -/' \\\n        \
         '(- *)--help[print the help]' \\\n        '(- *)--version[print the version]' \\\n        '1:verb:_spool_verbs' \\\n        \
         '*::argument:_spool_verb'\n}\n\ncase $service in\n    spool-put) _spool_put \"$@\" ;;\n    spool-run) _spool_run \"$@\" ;;\n    \
         *) _spool \"$@\" ;;\nesac\n",
    );
    text
}

/// A text between single quotes, in fish.
fn fish_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn fish_offer(offer: &Offer) -> String {
    match offer {
        Offer::Nothing => "-x".to_owned(),
        Offer::Files => "-r -F".to_owned(),
        Offer::Dirs => "-x -a '(__fish_complete_directories)'".to_owned(),
        Offer::Ids => format!("-x -a '({IDS})'"),
        Offer::Command => "-x -a '(__fish_complete_subcommand)'".to_owned(),
        Offer::Words(words) => format!("-x -a {}", fish_quoted(&words.join(" "))),
    }
}

fn fish_options(before: &str, choices: &[Choice], text: &mut String) {
    for choice in choices {
        let value = choice.value.as_ref().map(|offer| format!(" {}", fish_offer(offer))).unwrap_or_default();
        let _written =
            writeln!(text, "{before} -l {}{value} -d {}", choice.name, fish_quoted(choice.about)).is_ok();
    }
}

fn fish() -> String {
    let mut text = "# fish completion of spool, spool-put and spool-run; made by: spool completions fish\n\n\
         complete -c spool -f\n"
        .to_owned();
    for verb in VERBS {
        let _written = writeln!(
            text,
            "complete -c spool -n __fish_use_subcommand -a {} -d {}",
            verb.name,
            fish_quoted(verb.about)
        )
        .is_ok();
    }
    for verb in own_verbs() {
        let before = format!("complete -c spool -n '__fish_seen_subcommand_from {}'", verb.name);
        fish_options(&before, &of_verb(verb), &mut text);
        match operands(verb) {
            Offer::Nothing => {}
            Offer::Files => text.push_str(&format!("{before} -F\n")),
            offer => text.push_str(&format!("{before} {}\n", fish_offer(&offer))),
        }
    }
    for (verb, page) in [("put", &put::PAGE), ("run", &run::PAGE)] {
        let before = format!("complete -c spool -n '__fish_seen_subcommand_from {verb}'");
        fish_options(&before, &of_page(page), &mut text);
        fish_options(&format!("complete -c {}", page.name), &of_page(page), &mut text);
    }
    text.push_str("complete -c spool-put -f\n");
    text.push_str(&format!("complete -c spool-run {}\n", fish_offer(&Offer::Command)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_and_option_is_in_every_script() {
        for (shell, script) in [("bash", bash()), ("zsh", zsh()), ("fish", fish())] {
            for verb in VERBS {
                assert!(script.contains(verb.name), "{shell}: {}", verb.name);
            }
            let rows = put::PAGE.rows().chain(run::PAGE.rows()).filter_map(Row::option);
            for name in OPTIONS.iter().map(|o| o.name).chain(rows) {
                let is_there =
                    script.contains(&format!("--{name}")) || script.contains(&format!("-l {name}"));
                assert!(is_there, "{shell}: --{name}");
            }
        }
    }

    #[test]
    fn values_are_offered_where_they_are_known() {
        let of = |name: &str| of_option(OPTIONS.iter().find(|o| o.name == name).unwrap()).value;
        assert_eq!(of("spool"), Some(Offer::Dirs));
        assert_eq!(of("token-file"), Some(Offer::Files));
        assert_eq!(of("json"), None);
        assert_eq!(of("reason"), Some(Offer::Nothing));
        let Some(Offer::Words(states)) = of("state") else { panic!() };
        assert!(states.contains(&"running".to_owned()) && states.contains(&"dead".to_owned()), "{states:?}");
    }
}
