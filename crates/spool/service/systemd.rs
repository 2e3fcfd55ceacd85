//! The unit of systemd: made from [`Settings`], and read back to see whether it is still what would be made.
//!
//! Each setting is there for a reason that stands beside it. What is left out is left out for one, too: what takes
//! capabilities away (`CapabilityBoundingSet=`, `PrivateDevices=`, `ProtectKernelModules=`, `ProtectClock=` and their
//! like) makes an ordinary user's manager fail with 218/CAPABILITIES, for it has none to take.

use super::settings::Settings;

/// Under which name systemd knows the service.
pub const UNIT: &str = "spool.service";

/// The longest that the manager waits for the agent's word that it runs, in seconds: a backlog has to be looked at.
pub const START_SECONDS: u64 = 300;

/// The text of the unit.
pub fn unit(settings: &Settings) -> String {
    let mut text = format!(
        "# spool {}: made by `spool service install`, which makes it anew; your own changes go into a drop-in\n\
         # (systemctl --user edit spool).\n\
         [Unit]\n\
         Description=Completion outbox: delivers records to their sessions\n\
         Documentation=man:spool(1)\n\
         # However often it has to be started: it is never given up.\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=notify\n",
        env!("CARGO_PKG_VERSION")
    );
    let words: Vec<String> = settings.words.iter().map(|word| quote(word, true)).collect();
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("{name}={value}\n"));
    };
    line("ExecStart", &format!("{} {}", quote(&settings.program, true), words.join(" ")));
    for dir in &settings.writable {
        // The sandbox can only open what is there. The program that makes it is outside of it.
        line("ExecStartPre", &format!("+/bin/mkdir -p -m 0700 {}", quote(dir, true)));
    }
    for (name, value) in &settings.environment {
        line("Environment", &quote(&format!("{name}={value}"), false));
    }
    text.push_str(
        "ExecReload=/bin/kill -HUP $MAINPID\n\
         Restart=always\n\
         RestartSec=10\n",
    );
    text.push_str(&format!("TimeoutStartSec={START_SECONDS}\n"));
    text.push_str(
        "# The agent waits ten seconds for what is under way.\n\
         TimeoutStopSec=30\n\
         # The loop turns every few seconds; a disk may hold it up for longer.\n\
         WatchdogSec=120\n\
         UMask=0077\n\
         # A token passes through its memory.\n\
         LimitCORE=0\n",
    );
    text.push_str(&confinement(settings));
    text.push_str(
        "\n\
         [Install]\n\
         WantedBy=default.target\n",
    );
    text
}

fn confinement(settings: &Settings) -> String {
    let mut text = String::from(
        "NoNewPrivileges=yes\n\
         LockPersonality=yes\n\
         MemoryDenyWriteExecute=yes\n\
         RestrictRealtime=yes\n\
         RestrictSUIDSGID=yes\n\
         RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n\
         SystemCallArchitectures=native\n\
         SystemCallFilter=@system-service\n\
         SystemCallErrorNumber=EPERM\n",
    );
    if !settings.is_confined {
        text.push_str("# This user's manager can make no name spaces.\n");
        return text;
    }
    text.push_str(
        "# What follows takes a name space for users, as the manager of an ordinary user is not root.\n\
         PrivateUsers=yes\n\
         ProtectSystem=strict\n\
         ProtectHome=read-only\n",
    );
    for dir in &settings.writable {
        text.push_str(&format!("ReadWritePaths={}\n", quote(&format!("-{dir}"), false)));
    }
    if settings.uses_tmp() {
        text.push_str("# No PrivateTmp=yes: something that it needs is there.\n");
    } else {
        text.push_str("PrivateTmp=yes\n");
    }
    text.push_str(
        "ProtectControlGroups=yes\n\
         ProtectKernelTunables=yes\n\
         RestrictNamespaces=yes\n",
    );
    text
}

/// Reads the settings back that a unit was made of; `None` when it was not made by us.
pub fn read(unit: &str) -> Option<Settings> {
    let values = |name: &str| {
        let head = format!("{name}=");
        unit.lines().filter_map(move |line| line.strip_prefix(&head).map(ToOwned::to_owned))
    };
    let mut words = unquote(&values("ExecStart").next()?)?;
    let program = words.remove(0);
    let mut environment = Vec::new();
    for line in values("Environment") {
        let word = unquote(&line)?.pop()?;
        let (name, value) = word.split_once('=')?;
        environment.push((name.to_owned(), value.to_owned()));
    }
    let mut writable = Vec::new();
    for line in values("ExecStartPre") {
        writable.push(unquote(&line)?.pop()?);
    }
    let is_confined = values("ProtectSystem").next().is_some();
    Some(Settings { program, words, environment, writable, is_confined })
}

/// A word, in quotation marks where it needs them, in which `\`, `"` and specifiers mean nothing (systemd.syntax(7)); in a command
/// variables mean nothing either (systemd.service(5), "Command lines").
fn quote(word: &str, in_command: bool) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let mut out = String::from('"');
    for c in word.chars() {
        match c {
            '\\' | '"' => out.extend(['\\', c]),
            '%' => out.push_str("%%"),
            '$' if in_command => out.push_str("$$"),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The words of a line as [`quote`] writes them, and bare ones.
fn unquote(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ' ' {
            continue;
        }
        let is_quoted = c == '"';
        let mut word = String::new();
        if !is_quoted {
            word.push(c);
        }
        loop {
            match chars.next() {
                None if is_quoted => return None,
                None => break,
                Some('"') if is_quoted => break,
                Some(' ') if !is_quoted => break,
                Some('\\') if is_quoted => word.push(chars.next()?),
                Some(twice @ ('%' | '$')) if chars.peek() == Some(&twice) => word.extend(chars.next()),
                Some(c) => word.push(c),
            }
        }
        words.push(word);
    }
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::golden;

    #[test]
    fn the_unit_is_what_it_was() {
        golden::same("plain.service", &unit(&golden::plain()));
        golden::same("full.service", &unit(&golden::full()));
        golden::same("open.service", &unit(&Settings { is_confined: false, ..golden::plain() }));
    }

    /// That of a package is for anybody's home, and goes without what cannot be had everywhere.
    #[test]
    fn the_unit_of_the_package_is_that_of_an_ordinary_user() {
        let text = unit(&golden::plain()).replace("/home/me", "%h").replace("PrivateUsers=yes\n", "");
        let (_, body) = text.split_once("[Unit]").unwrap();
        let head = "# Made of what `spool service install` makes; your own changes go into a drop-in\n\
                    # (systemctl --user edit spool).\n[Unit]";
        golden::same("../../../packaging/spool.service", &format!("{head}{body}"));
    }

    #[test]
    fn a_unit_tells_what_it_was_made_of() {
        for settings in [golden::plain(), golden::full()] {
            assert_eq!(read(&unit(&settings)), Some(settings));
        }
        assert_eq!(read("[Service]\nType=simple\n"), None);
    }

    #[test]
    fn no_word_means_more_than_itself() {
        for word in ["a b", r#"a"b\c"#, "100%h", "$HOME${X}", "$$", "%%", "'", ";", "#", "-", ""] {
            let line = format!("{} {}", quote("/bin/x", true), quote(word, true));
            assert_eq!(unquote(&line).unwrap(), ["/bin/x", word], "{line}");
        }
    }
}
