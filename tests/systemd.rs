//! The service before a real `systemd --user`: that of an ordinary user, with a journal beside it, started for this test in
//! name spaces of its own, so that it needs no login and no systemd as process 1, and nothing of it is left.
//!
//! It takes root, and a kernel that lets root make name spaces and a cgroup; where that is not so, the test says so and
//! the scripted manager of `service.rs` is all there is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use spool_gateway::fake::{FakeThread, Options};

use crate::service::has;
use crate::support::programs::wait_until;
use crate::support::project;

/// An ordinary user that every Debian has (`daemon`).
const USER: &str = "1";

/// A control group of our own, which a manager needs; removed when dropped.
struct Group(PathBuf);

impl Group {
    fn make() -> Option<Group> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let at = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (at, kind) = (words.next()?, words.next()?);
            (kind == "cgroup2").then_some(at)
        })?;
        let group = Path::new(at).join(format!("spool-test-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        Some(Group(group))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        fn remove(dir: &Path) -> bool {
            for item in fs::read_dir(dir).into_iter().flatten().flatten() {
                if item.path().is_dir() {
                    remove(&item.path());
                }
            }
            fs::remove_dir(dir).is_ok()
        }
        // What was in it has been killed, and is gone in a moment.
        for _ in 0..100 {
            if remove(&self.0) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A command in name spaces of its own; all of it ends with it.
fn apart(group: &Group) -> Command {
    let mut command = Command::new("sh");
    let enter =
        r#"echo $$ >"$0/cgroup.procs" && exec unshare -m -p -C --fork --kill-child --mount-proc "$@""#;
    command.args(["-c", enter]).arg(&group.0).stdin(Stdio::null());
    command
}

#[test]
fn an_ordinary_users_systemd_starts_confines_watches_and_restarts_it() {
    let systemd = ["/lib/systemd/systemd", "/lib/systemd/systemd-journald"];
    if !["systemd-analyze", "systemctl", "unshare", "setpriv"].into_iter().all(has)
        || !systemd.iter().all(|program| Path::new(program).exists())
    {
        return;
    }
    let Some(group) = Group::make() else {
        return eprintln!("skipped: no control group can be made here");
    };
    let mount = "mount -t cgroup2 none /mnt && mount -t tmpfs none /home && mount -t tmpfs none /run";
    let tried = apart(&group).args(["sh", "-c", mount]).output().unwrap();
    if !tried.status.success() {
        return eprintln!("skipped: no name spaces here: {}", String::from_utf8_lossy(&tried.stderr));
    }
    let gateway = FakeThread::start(Options::with_token("correct-token")).unwrap();
    gateway.add_chat("agent:main:telegram:direct:77001", 77001);
    let home = tempfile::tempdir().unwrap();
    let said = home.path().join("said");
    let out = fs::File::create(&said).unwrap();
    let support = project().join("tests/support");
    let mut child = apart(&group)
        .arg("sh")
        .args([support.join("systemd.sh").to_str().unwrap(), USER])
        .arg(support.join("service.sh"))
        .args([env!("CARGO_BIN_EXE_spool"), env!("CARGO_BIN_EXE_spool-put")])
        .env("GATEWAY", gateway.url())
        .stderr(out.try_clone().unwrap())
        .stdout(out)
        .spawn()
        .unwrap();
    let mut ended = None;
    // Its own waits have deadlines; together they may take longer than one of ours.
    for _ in 0..5 {
        let until = std::time::Instant::now() + Duration::from_secs(50);
        wait_until("the script ends", || {
            ended = child.try_wait().unwrap();
            ended.is_some() || std::time::Instant::now() > until
        });
    }
    let _gone = child.kill().is_ok();
    let said = fs::read_to_string(said).unwrap();
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}: {said}");
    let (script, journal) = said.split_once("== journal\n").unwrap();
    let expected = [
        "status before: 3",
        "install: 0",
        "status after: 0",
        "enabled: enabled",
        "delivered: first-record",
        "no new privileges: 1",
        "system calls filtered: 2",
        "mounted /: ro",
        "mounted /home: ro",
        "mounted /home/me/.local/state/spool: rw",
        "mounted /home/me/.config/spool: rw",
        "private tmp: 1",
        "delivered: after-KILL",
        "delivered: after-STOP",
        "unfinished is left alone: 0",
        "delivered: slow-record",
        "unchanged",
        "status stopped: 3",
        "status started: 0",
        "uninstall: 0",
        "status uninstalled: 3",
        "records kept: 4",
    ];
    let mut lines = script.lines();
    for line in expected {
        assert!(lines.any(|said| said == line), "{line:?} is not said: {script}");
    }
    for id in ["first-record", "after-KILL", "after-STOP"] {
        assert_eq!(gateway.commits_containing(id), 1, "{script}");
    }
    // Whoever looks for a record or a session finds it by its field.
    for field in
        [r#""SPOOL_ID":"first-record""#, r#""SPOOL_VERDICT":"sent""#, r#""SPOOL_SESSION":"agent:main:"#]
    {
        assert!(journal.contains(field), "{field} is not in the journal: {journal}");
    }
    assert!(journal.contains("draining") && !journal.contains("correct-token"), "{journal}");
    assert!(!journal.contains("this is first-record"), "{journal}");
}
