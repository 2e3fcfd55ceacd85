//! What the programs print of themselves, read by those it is made for: the manual by mandoc and groff, the completions
//! by bash, zsh and fish.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::programs::Cli;
use crate::support::{Put, TempSpool, names, need};

fn run(program: &Path, args: &[&str], spool: &TempSpool) -> Output {
    let bin = Path::new(env!("CARGO_BIN_EXE_spool")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", path)
        .env("HOME", spool.home())
        .env("LC_ALL", "C.UTF-8")
        .env("SPOOL_DIR", spool.spool.root())
        .output()
        .unwrap()
}

fn script(spool: &TempSpool, shell: &str) -> String {
    let path = spool.home().join(format!("completions.{shell}"));
    let ran = Cli::new(spool, &["completions", shell]).run().exits(0);
    std::fs::write(&path, ran.stdout).unwrap();
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn is_silent(output: &Output) {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn every_page_of_the_manual_passes_mandoc_and_groff() {
    let spool = TempSpool::new();
    let dir = spool.home().join("man1");
    let dir_name = dir.to_str().unwrap();
    Cli::new(&spool, &["man", "--dir", dir_name]).run().exits(73).says("--dir");
    std::fs::create_dir(&dir).unwrap();
    Cli::new(&spool, &["man", "--dir", dir_name]).run().exits(0);
    let pages = names(&dir);
    for page in ["spool.1", "spool-put.1", "spool-run.1", "spool-drain.1", "spool-doctor.1", "spool-man.1"] {
        assert!(pages.contains(&page.to_owned()), "{page}: {pages:?}");
    }
    let one = Cli::new(&spool, &["man", "doctor"]).run().exits(0).stdout;
    assert_eq!(one, std::fs::read_to_string(dir.join("spool-doctor.1")).unwrap());
    Cli::new(&spool, &["man", "docter"]).run().exits(64).says("is it doctor?");
    let paths: Vec<String> = pages.iter().map(|page| format!("{dir_name}/{page}")).collect();
    if let Some(mandoc) = need("mandoc") {
        let args: Vec<&str> =
            ["-Tlint", "-Wwarning"].into_iter().chain(paths.iter().map(String::as_str)).collect();
        is_silent(&run(&mandoc, &args, &spool));
    }
    if let Some(groff) = need("groff") {
        for path in &paths {
            is_silent(&run(&groff, &["-man", "-ww", "-Tutf8", "-z", path], &spool));
        }
        // A dash in it can be copied, and a quote is a quote.
        let shown = run(&groff, &["-man", "-Tutf8", "-P-cbou", &format!("{dir_name}/spool-put.1")], &spool);
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains("--allow-unrouted") && shown.contains("'The build is done.'"), "{shown}");
    }
}

/// What bash offers for a command line of which the last word is being typed.
fn bash(spool: &TempSpool, script: &str, line: &str) -> Vec<String> {
    let bash = need("bash").unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    let function = match words[0] {
        "spool" => "_spool",
        "spool-put" => "_spool_put",
        _ => "_spool_run",
    };
    let asks = format!(
        "set -u; source {script}; COMP_WORDS=({}); COMP_CWORD={}; {function}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1
    );
    let output = run(&bash, &["--norc", "-c", &asks], spool);
    assert!(output.status.success() && output.stderr.is_empty(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).filter(|l| !l.is_empty()).collect()
}

#[test]
fn bash_completes_verbs_options_values_and_ids() {
    let spool = TempSpool::new();
    let script = script(&spool, "bash");
    let offers = |line: &str| bash(&spool, &script, line);
    assert_eq!(offers("spool dis"), ["dismiss"]);
    assert_eq!(offers("spool --spool /x dis"), ["dismiss"]);
    assert_eq!(offers("spool list --st"), ["--state", "--status"]);
    assert_eq!(offers("spool list --state de"), ["deferred", "dead"]);
    assert_eq!(offers("spool list --state running --session x --jso"), ["--json"]);
    assert_eq!(offers("spool completions f"), ["fish"]);
    assert_eq!(offers("spool man spool-r"), ["spool-run"]);
    assert_eq!(offers("spool adapt cod"), ["codex", "codex-hook"]);
    assert_eq!(offers("spool-put --status can"), ["cancelled"]);
    assert_eq!(offers("spool put --deliver m"), ["message"]);
    assert_eq!(offers("spool-run --lease "), ["inherit", "main"]);
    assert_eq!(offers("spool-run spool-pu"), ["spool-put"]);
    assert!(offers("spool list --reason x --o").is_empty());
    assert!(offers("spool show x").is_empty());
    Put::into(&spool, &["--session", "agent:main:a", "--id", "nightly-42", "x"]).run().exits(0);
    assert_eq!(offers("spool show nig"), ["nightly-42"]);
    assert_eq!(offers("spool dismiss --reason why nig"), ["nightly-42"]);
    std::fs::create_dir(spool.home().join("some-directory")).unwrap();
    let half = spool.home().join("some-dir");
    let whole = spool.home().join("some-directory");
    assert_eq!(offers(&format!("spool torture --dir {}", half.display())), [whole.to_str().unwrap()]);
}

#[test]
fn zsh_and_fish_take_their_scripts() {
    let spool = TempSpool::new();
    if let Some(zsh) = need("zsh") {
        let script = script(&spool, "zsh");
        is_silent(&run(&zsh, &["-f", "-n", &script], &spool));
        // As compinit loads it: by its first line, as a function of its own.
        let dir = spool.home().join("zfunc");
        std::fs::create_dir(&dir).unwrap();
        std::fs::copy(&script, dir.join("_spool")).unwrap();
        let asks = format!(
            "fpath=({} $fpath); autoload -Uz compinit; compinit -D -u; print $_comps[spool] $_comps[spool-run]",
            dir.display()
        );
        let output = run(&zsh, &["-f", "-c", &asks], &spool);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "_spool _spool", "{output:?}");
    }
    if let Some(fish) = need("fish") {
        let script = script(&spool, "fish");
        let offers = |line: &str| {
            let asks = format!("source {script}; complete -C {line:?}");
            let output = run(&fish, &["--no-config", "-c", &asks], &spool);
            let text = String::from_utf8(output.stdout).unwrap();
            let first = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
            text.lines().map(first).collect::<Vec<_>>()
        };
        assert_eq!(offers("spool dis"), ["dismiss"]);
        assert_eq!(offers("spool list --state de"), ["dead", "deferred"]);
        assert_eq!(offers("spool-put --status can"), ["cancelled"]);
        Put::into(&spool, &["--session", "agent:main:a", "--id", "nightly-42", "x"]).run().exits(0);
        assert_eq!(offers("spool show nig"), ["nightly-42"]);
    }
}

#[test]
fn a_shell_that_is_not_known_is_named() {
    let spool = TempSpool::new();
    Cli::new(&spool, &["completions", "fihs"]).run().exits(64).says("is it fish?");
    Cli::new(&spool, &["completions"]).run().exits(64).says("takes one shell");
}

#[test]
fn examples_come_first_in_every_help() {
    let spool = TempSpool::new();
    for args in
        [&["--help"][..], &["list", "--help"], &["doctor", "--help"], &["put", "--help"], &["run", "--help"]]
    {
        let help = Cli::new(&spool, args).run().exits(0).stdout;
        assert!(help.find("Examples:").unwrap() < help.find("Usage:").unwrap(), "{args:?}");
        assert!(help.lines().all(|line| line.chars().count() <= 120), "{args:?}: {help}");
    }
}
