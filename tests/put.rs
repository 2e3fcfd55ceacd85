//! `spool-put`, end to end: the real program, real directories, and what it leaves, prints and exits with.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use spooldir::intake::{Desk, Intake};
use spooldir::{Dir, Entry, Event, Id, Record, Spool, State};

use crate::support::{Put, TempSpool, names};

const TO: [&str; 2] = ["--session", "agent:main:main"];

fn with<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&TO, args].concat()
}

/// The only record in `new/`, and its bytes.
fn only_record(temp: &TempSpool) -> (Record, Vec<u8>) {
    let (_, bytes) = temp.only(Dir::New);
    (Record::parse(&bytes).unwrap(), bytes)
}

fn queued(stdout: &str) -> Id {
    let id = stdout.strip_prefix("queued ").and_then(|s| s.strip_suffix('\n'));
    Id::new(id.unwrap_or_else(|| panic!("{stdout:?}"))).unwrap()
}

#[test]
fn a_text_is_queued_under_the_id_that_is_printed() {
    let temp = TempSpool::new();
    let ran = Put::into(&temp, &with(&["The build is done. 🦞"])).run().exits(0);
    let id = queued(&ran.stdout);
    assert_eq!(ran.stderr, "");
    assert_eq!(temp.names(Dir::New), [format!("{id}.json")]);
    assert!(temp.names(Dir::Tmp).is_empty());
    let (record, _) = only_record(&temp);
    assert_eq!(record.id, Some(id.clone()));
    assert_eq!(record.text.as_deref(), Some("The build is done. 🦞"));
    let taken = Desk::new().look(&temp.spool, OsStr::new(&format!("{id}.json")), &|_| false, Instant::now());
    assert!(matches!(taken, Intake::Ready(_)), "{taken:?}");
}

#[test]
fn json_says_where_the_entry_is() {
    let temp = TempSpool::new();
    let ran = Put::into(&temp, &with(&["--json", "--id", "job-1", "x"])).run().exits(0);
    let path = temp.spool.dir(Dir::New).join("job-1.json");
    let expected = format!(
        r#"{{"id":"job-1","sessionKey":"agent:main:main","state":"pending","path":"{}","evidence":null}}"#,
        path.display()
    );
    assert_eq!(ran.stdout, expected + "\n");
    assert!(path.exists());
}

#[test]
fn a_repetition_is_no_second_record_and_says_where_the_first_is() {
    let temp = TempSpool::new();
    let put = |args: &[&str]| Put::into(&temp, &with(args)).run();
    put(&["--id", "job-1", "x"]).exits(0);
    assert_eq!(
        put(&["--id", "job-1", "x"]).exits(0).says("queued before and is pending").stdout,
        "queued job-1\n"
    );
    put(&["--id", "job-1", "other"]).exits(65).says("another record with that id is pending");
    let entry = Entry::new(Id::new("job-1").unwrap(), State::Pending);
    temp.spool.advance(&entry, &Event::Condemn).unwrap();
    let again = put(&["--id", "job-1", "--json", "x"]).exits(0);
    let said: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(said["state"], "dead");
    put(&["--id", "job-1", "other"]).exits(65).says("is dead");
    assert!(temp.names(Dir::New).is_empty());
}

#[test]
fn the_same_command_may_be_repeated_with_the_id_it_printed() {
    for (args, stdin) in [(&["x"][..], ""), (&["--record", "-"], r#"{"text":"x"}"#)] {
        let temp = TempSpool::new();
        let id = queued(&Put::into(&temp, &with(args)).stdin(stdin).run().exits(0).stdout);
        let args = [&["--id", id.as_str()], args].concat();
        let again = Put::into(&temp, &with(&args)).stdin(stdin).run().exits(0);
        assert_eq!(queued(&again.stdout), id);
        assert_eq!(temp.names(Dir::New).len(), 1);
    }
}

#[test]
fn many_at_once_with_one_id_make_one_record() {
    let temp = TempSpool::new();
    let started: Vec<_> = (0..8)
        .map(|_| {
            let put = Put::into(&temp, &with(&["--id", "job-1", "x"]));
            std::thread::spawn(move || put.run())
        })
        .collect();
    for ran in started {
        assert_eq!(ran.join().unwrap().exits(0).stdout, "queued job-1\n");
    }
    assert_eq!((temp.names(Dir::New), temp.names(Dir::Tmp)), (vec!["job-1.json".to_owned()], vec![]));
}

#[test]
fn the_session_comes_from_the_option_or_the_environment_and_is_never_guessed() {
    let (spool, alias) = (("SPOOL_SESSION", "agent:spool"), ("OPENCLAW_SESSION_KEY", "agent:alias"));
    for (vars, args, expected) in [
        (&[spool, alias][..], &["x"][..], "agent:spool"),
        (&[alias], &["x"], "agent:alias"),
        (&[("SPOOL_SESSION", ""), alias], &["x"], "agent:alias"),
        (&[spool, alias], &["--session", "agent:flag", "x"], "agent:flag"),
    ] {
        let temp = TempSpool::new();
        let put = vars.iter().fold(Put::into(&temp, args), |put, (name, value)| put.env(name, value));
        put.run().exits(0);
        assert_eq!(only_record(&temp).0.session_key.as_deref(), Some(expected));
    }
    let temp = TempSpool::new();
    Put::into(&temp, &["x"]).run().exits(78).says("--session KEY or set SPOOL_SESSION");
    Put::into(&temp, &["--record", "-"]).stdin(r#"{"text":"x"}"#).run().exits(78);
    Put::into(&temp, &["x"]).env("SPOOL_SESSION", "a\nb").run().exits(78).says("control characters");
    assert!(temp.names(Dir::New).is_empty());
    let ran = Put::into(&temp, &["--allow-unrouted", "--json", "x"]).run().exits(0).says("will be held");
    assert!(ran.stdout.contains(r#""sessionKey":null"#), "{}", ran.stdout);
    let (name, _) = temp.only(Dir::New);
    let taken = Desk::new().look(&temp.spool, OsStr::new(&name), &|_| false, Instant::now());
    assert!(matches!(taken, Intake::Held(..)), "{taken:?}");
}

#[test]
fn the_spool_is_found_and_made_at_the_first_use() {
    let temp = tempfile::tempdir().unwrap();
    let at = |path: &str| temp.path().join(path);
    for (vars, expected) in [
        (&[("SPOOL_DIR", "a"), ("XDG_STATE_HOME", "b"), ("HOME", "c")][..], "a"),
        (&[("XDG_STATE_HOME", "b"), ("HOME", "c")], "b/spool"),
        (&[("HOME", "c")], "c/.local/state/spool"),
    ] {
        let put = vars.iter().fold(Put::new(&with(&["x"])), |put, (name, value)| put.env(name, at(value)));
        put.run().exits(0);
        Spool::open(&at(expected)).unwrap();
        assert_eq!(names(&at(expected).join("new")).len(), 1, "{expected}");
    }
    Put::new(&with(&["x", "--spool"])).arg(at("d")).env("SPOOL_DIR", at("a")).run().exits(0);
    assert_eq!(names(&at("d/new")).len(), 1);
    Put::new(&with(&["x"])).run().exits(78).says("--spool DIR or SPOOL_DIR");
}

#[test]
fn a_spool_that_cannot_be_used_is_said_with_the_cause_and_the_number() {
    let temp = TempSpool::new();
    let put = |dir: &OsStr| Put::new(&with(&["x", "--spool"])).arg(dir).run();
    let file = temp.home().join("file");
    std::fs::write(&file, "").unwrap();
    let shown = file.to_str().unwrap();
    put(file.as_os_str()).exits(78).says(shown).says("not a directory");
    put(file.join("below").as_os_str()).exits(74).says(shown).says("Not a directory");
    put(OsStr::new("/proc/no-such/spool")).exits(73).says("cannot create /proc/no-such/spool");

    let root = temp.spool.root().to_owned();
    std::fs::write(root.join("format"), "spool 2\n").unwrap();
    put(root.as_os_str()).exits(78).says("update the program");
    std::fs::write(root.join("format"), "spool 1\n").unwrap();
    let mode =
        |mode| std::fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o770);
    put(root.as_os_str()).exits(77).says("chmod 700");
    mode(0o700);

    // Root may write anywhere, so only others can be refused.
    let new = temp.spool.dir(Dir::New);
    std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap();
    let is_root = std::fs::write(new.join("probe"), "").is_ok();
    if is_root {
        eprintln!("skipped: no permission is denied here");
    } else {
        put(root.as_os_str()).exits(77).says("cannot publish");
    }
    std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let _gone = std::fs::remove_file(new.join("probe")).is_ok();
    assert!(temp.names(Dir::New).is_empty() && temp.names(Dir::Tmp).is_empty());
}

/// Runs the program from a shell that takes something away from it first.
fn deprived(temp: &TempSpool, how: &str) -> std::process::Output {
    Command::new("sh")
        .args(["-c", how])
        .env("PUT", env!("CARGO_BIN_EXE_spool-put"))
        .env("SPOOL_DIR", temp.spool.root())
        .env("SPOOL_SESSION", "agent:main:main")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn what_passes_by_itself_has_a_number_of_its_own() {
    let temp = TempSpool::new();
    let output = deprived(&temp, "ulimit -n 4; exec \"$PUT\" x");
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("Too many open files"), "{output:?}");
    assert!(temp.names(Dir::New).is_empty());
}

#[test]
fn a_limit_on_files_leaves_nothing_that_can_be_seen() {
    let temp = TempSpool::new();
    for how in ["ulimit -f 0; \"$PUT\" x", "trap '' XFSZ; ulimit -f 0; exec \"$PUT\" x"] {
        let output = deprived(&temp, how);
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        assert!(temp.names(Dir::New).is_empty() && temp.names(Dir::Tmp).is_empty());
    }
}

#[test]
fn nobody_listening_changes_nothing() {
    for how in ["\"$PUT\" x >&-", "\"$PUT\" x >/dev/full 2>/dev/full", "\"$PUT\" x >&- 2>&- <&-"] {
        let temp = TempSpool::new();
        let output = deprived(&temp, how);
        assert_eq!(output.status.code(), Some(0), "{how}: {output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
        assert_eq!(temp.names(Dir::New).len(), 1, "{how}");
    }
    let temp = TempSpool::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Put::into(&temp, &with(&["x"])).run_to(writer.into()).exits(0);
    assert_eq!(temp.names(Dir::New).len(), 1);
    // A sentence that nobody reads does not change the number either.
    let output = deprived(&temp, "\"$PUT\" --nonsense 2>&-");
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn standard_input_becomes_the_text() {
    let temp = TempSpool::new();
    Put::into(&temp, &with(&["--status", "failed", "-"])).stdin("line 1\nline 2\n").run().exits(0);
    let (record, _) = only_record(&temp);
    assert_eq!(record.text.as_deref(), Some("line 1\nline 2\n"));
    assert_eq!(record.status, spooldir::record::Status::Failed);

    let temp = TempSpool::new();
    Put::into(&temp, &with(&["-"])).stdin("").run().exits(0);
    assert_eq!(only_record(&temp).0.text.as_deref(), Some(""), "a silent task has ended, too");
}

#[test]
fn a_long_or_broken_text_is_mended_and_not_lost() {
    let temp = TempSpool::new();
    let long = "é".repeat(1_000_000);
    Put::into(&temp, &with(&["-"])).stdin(long).run().exits(0).says("the text was cut: of its 2000000 bytes");
    let (record, bytes) = only_record(&temp);
    assert!(record.text.unwrap().ends_with("the text was 2000000 bytes long]"));
    assert!(bytes.len() < 256 * 1024);

    let temp = TempSpool::new();
    Put::into(&temp, &with(&["-"])).stdin(*b"a\xffb\0c").run().exits(0).says("were replaced");
    assert_eq!(only_record(&temp).0.text.as_deref(), Some("a\u{fffd}b\u{fffd}c"));

    let temp = TempSpool::new();
    let bytes: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"caf\xe9");
    Put::into(&temp, &TO).arg(bytes).run().exits(0).says("were replaced");
    assert_eq!(only_record(&temp).0.text.as_deref(), Some("caf\u{fffd}"));
}

#[test]
fn a_record_is_published_as_it_is() {
    let temp = TempSpool::new();
    let record = "{ \"sessionKey\": \"agent:x\",\n  \"text\": \"x\", \"mine\": 1.50 }\n";
    let file = temp.home().join("record.json");
    std::fs::write(&file, record).unwrap();
    Put::into(&temp, &["--record"]).arg(&file).env("SPOOL_SESSION", "agent:env").run().exits(0);
    assert_eq!(temp.only(Dir::New).1, record.as_bytes());

    let temp = TempSpool::new();
    Put::into(&temp, &["--record", "-", "--label", "night"]).stdin(record).run().exits(0);
    let text = String::from_utf8(temp.only(Dir::New).1).unwrap();
    assert_eq!(text, r#"{"label":"night","mine":1.50,"sessionKey":"agent:x","text":"x"}"#);
}

#[test]
fn a_record_that_is_none_is_refused_and_not_quoted() {
    let temp = TempSpool::new();
    let put = |stdin: Vec<u8>| Put::into(&temp, &with(&["--record", "-"])).stdin(stdin).run();
    for (stdin, why) in [
        (r#"{"secret":1"#.into(), "ends too early"),
        (r#"{"text":["secret"]}"#.into(), "\"text\" must be a string"),
        (Vec::new(), "empty"),
        (vec![b' '; 300 * 1024], "more than 262144 bytes"),
        (b"{\"secret\":\"\xff\"}".to_vec(), "invalid UTF-8"),
    ] {
        let ran = put(stdin).exits(65).says(why);
        assert!(!ran.stderr.contains("secret") && ran.stdout.is_empty(), "{ran:?}");
    }
    let missing = Put::into(&temp, &["--record", "/nowhere/r.json"]).run().exits(74).says("/nowhere/r.json");
    assert!(missing.stderr.contains("nothing was queued"));
    Put::into(&temp, &["--record"]).arg(temp.home()).run().exits(74).says("directory");
    assert!(temp.names(Dir::New).is_empty());
}

#[test]
fn how_a_task_ended_says_enough() {
    let temp = TempSpool::new();
    Put::into(&temp, &with(&["--exit-code", "3", "--label", "build"])).run().exits(0);
    let (record, _) = only_record(&temp);
    assert_eq!((record.text, record.status), (None, spooldir::record::Status::Failed));
    assert_eq!(record.task.unwrap().exit_code, Some(3));
}

#[test]
fn every_option_arrives_in_the_record() {
    let temp = TempSpool::new();
    let args =
        ["--deliver", "message", "--urgent", "--notify", "failure", "--not-before", "1795411200000", "x"];
    Put::into(&temp, &with(&args)).run().exits(0);
    let (record, _) = only_record(&temp);
    assert_eq!((record.deliver, record.urgent), (spooldir::record::Deliver::Message, true));
    assert_eq!(
        (record.notify, record.not_before),
        (spooldir::record::Notify::Failure, Some(1_795_411_200_000))
    );
    assert!(record.created_at.is_some());
}

#[test]
fn a_wrong_command_line_is_refused_before_anything_is_made() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("spool");
    for (args, part) in [
        (&["--sesion", "s", "x"][..], "is it --session?"),
        (&[], "nothing to say"),
        (&["--session", "s", "two", "texts"], "put it in quotes"),
        (&["--session", "s", "--id", "../../etc/x", "x"], "id \"../../etc/x\" is not valid"),
        (&["--session", "s", "--status", "done", "x"], "must be one of"),
    ] {
        let ran = Put::new(args).env("SPOOL_DIR", &dir).run().exits(64).says(part).says("spool-put: ");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
    assert!(!dir.exists());
}

#[test]
fn help_and_version_go_to_stdout() {
    let help = Put::new(&["--help"]).run().exits(0).stdout;
    assert!(help.find("Examples:").unwrap() < help.find("Usage:").unwrap());
    assert!(help.lines().all(|l| l.chars().count() <= 120));
    assert_eq!(Put::new(&["-h"]).run().exits(0).stdout, help);
    let version = Put::new(&["--version"]).run().exits(0).stdout;
    assert_eq!(version, format!("spool-put {}\n", env!("CARGO_PKG_VERSION")));
}
