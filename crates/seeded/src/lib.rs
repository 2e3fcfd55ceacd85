//! Bugs that are sown on purpose, one at a time, so that the tests which must catch them can be tested.
//!
//! A test that has never failed proves little. Each [`Bug`] has one or more places in the programs, written as
//! `if spool_seeded::is(Bug::NoFsync) { .. }`; in an ordinary build `is` is the constant `false` and the compiler drops
//! the place. Built with `SPOOL_SEEDED_BUGS=1` (never for a release; `spool --version` then says so) a process reads
//! the variable `SPOOL_SEEDED_BUG` once, and the bug it names is alive in that process.

/// A bug: its name on the command line, what it does, and the layers of the torture that must catch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is described in its row of `ROWS`")]
pub enum Bug {
    NoFsync,
    NoDirsync,
    DirectWrite,
    Clobber,
    ExistsIsOk,
    FsyncRetry,
    WriteErrorIgnored,
    ShortWrite,
    DirsyncErrorIgnored,
    LeavesTmp,
    RetireEarly,
    SendBeforeTake,
    RecoverAsNew,
    ForgetSending,
    RekeyOnDoubt,
    RetireLane,
    LaneMixup,
    OutageCounts,
    AnyReply,
    CloseIsSuccess,
    NoDeadline,
    FrameUnbounded,
    NeverIsLater,
    DropDead,
    DeadWithoutReason,
    NoLock,
    StaleAgent,
    DoorbellOnly,
    WallClockDue,
    DueIgnored,
    TmpSweepLive,
    FutureDropped,
    FollowSymlink,
    HardlinkOk,
    ForeignOwnerOk,
    SpecialOpened,
    SizeUnchecked,
    DuplicateMembers,
    IntakeClobber,
    ControlsPass,
    FixedFence,
    SlashFirst,
    DeepJson,
    IdReuse,
    IntentUnsynced,
    LeaseNotInherited,
    LostTwice,
    LostIgnored,
    AuditBlind,
    TokenInLog,
    TokenInStatus,
    TokenAbroad,
    TextInJournal,
    ConfigPanics,
    CloseUnflushed,
    RecoverUnflushed,
    HalfMoved,
    DumpsCore,
    QuotedKey,
}

struct Row(Bug, &'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip]
static ROWS: &[Row] = &[
    Row(Bug::NoFsync, "no-fsync", "a record's bytes are not flushed before it is published", &["power", "images", "conformance", "states"]),
    Row(Bug::NoDirsync, "no-dirsync", "new/ is not flushed after a record was published there", &["power", "images", "conformance", "model", "states"]),
    Row(Bug::DirectWrite, "direct-write", "a record is written under its final name, in new/", &["kill", "conformance", "states"]),
    Row(Bug::Clobber, "clobber", "another record under a known id replaces the first", &["kill", "conformance", "model", "states"]),
    Row(Bug::ExistsIsOk, "exists-is-ok", "a retry that finds its record says so without flushing new/", &["conformance", "model", "states"]),
    Row(Bug::FsyncRetry, "fsync-retry", "a flush that failed is tried again on the same file, and believed", &["errors", "states"]),
    Row(Bug::WriteErrorIgnored, "write-error-ignored", "a write that failed is taken for a success", &["errors", "conformance"]),
    Row(Bug::ShortWrite, "short-write", "what a short write left over is not written", &["errors", "conformance"]),
    Row(Bug::DirsyncErrorIgnored, "dirsync-error-ignored", "a failed flush of new/ is taken for a success", &["errors", "states"]),
    Row(Bug::LeavesTmp, "leaves-tmp", "a publish that failed leaves its file behind under a visible name", &["errors", "states"]),
    Row(Bug::RetireEarly, "retire-early", "a delivery is retired when it is sent, not when it is proved", &["kill", "random", "model"]),
    Row(Bug::SendBeforeTake, "send-before-take", "a delivery is sent before its entry says so", &["kill"]),
    Row(Bug::RecoverAsNew, "recover-as-new", "what may have been sent is sent again under a new key, without asking", &["kill", "random", "model"]),
    Row(Bug::ForgetSending, "forget-sending", "what was being sent at the agent's death is never looked at again", &["kill", "random", "model"]),
    Row(Bug::RekeyOnDoubt, "rekey-on-doubt", "after a lost answer the delivery is sent again under a new key, without asking", &["gateways"]),
    Row(Bug::RetireLane, "retire-lane", "a delivery that succeeds retires everything that waits in its lane", &["random", "model"]),
    Row(Bug::LaneMixup, "lane-mixup", "records of two sessions go out in one delivery", &["random", "model"]),
    Row(Bug::OutageCounts, "outage-counts", "a lost connection counts as a failed attempt of the record", &["gateways"]),
    Row(Bug::AnyReply, "any-reply", "an answer is taken for the request that waits, whatever id it names", &["gateways"]),
    Row(Bug::CloseIsSuccess, "close-is-success", "a connection that ends after a request counts as its acceptance", &["gateways"]),
    Row(Bug::NoDeadline, "no-deadline", "a request waits for its answer for ever", &["gateways"]),
    Row(Bug::FrameUnbounded, "frame-unbounded", "a frame may be of any size", &["gateways"]),
    Row(Bug::NeverIsLater, "never-is-later", "what the gateway refuses for good is tried again at once, for ever", &["gateways"]),
    Row(Bug::DropDead, "drop-dead", "a dead letter is removed instead of kept", &["kill", "producers", "states"]),
    Row(Bug::DeadWithoutReason, "dead-without-reason", "a dead letter has no reason beside it", &["kill", "producers", "states"]),
    Row(Bug::NoLock, "no-lock", "a second agent may drain the same spool", &["machine"]),
    Row(Bug::StaleAgent, "stale-agent", "an agent that was stopped and wakes does not look whether the entry is still its own", &["machine"]),
    Row(Bug::DoorbellOnly, "doorbell-only", "there is no timed sweep: what the watcher misses is never seen", &["machine"]),
    Row(Bug::WallClockDue, "wall-clock-due", "a due time is believed however far away it is", &["machine"]),
    Row(Bug::DueIgnored, "due-ignored", "a deferred record is tried again before it is due", &["machine", "gateways"]),
    Row(Bug::TmpSweepLive, "tmp-sweep-live", "the sweep of tmp/ takes a file whose writer is alive", &["machine"]),
    Row(Bug::FutureDropped, "future-dropped", "a record of a later version is removed", &["machine", "producers"]),
    Row(Bug::FollowSymlink, "follow-symlink", "a symlink in new/ is followed", &["producers"]),
    Row(Bug::HardlinkOk, "hardlink-ok", "a file with a second name is taken", &["producers"]),
    Row(Bug::ForeignOwnerOk, "foreign-owner-ok", "a file of another user is taken", &["producers"]),
    Row(Bug::SpecialOpened, "special-opened", "a FIFO is opened and waited for", &["producers"]),
    Row(Bug::SizeUnchecked, "size-unchecked", "a file of any size is read", &["producers"]),
    Row(Bug::DuplicateMembers, "duplicate-members", "a member that is given twice is taken, the last one wins", &["producers", "fuzz"]),
    Row(Bug::IntakeClobber, "intake-clobber", "a file that gets its id at intake may replace another", &["producers"]),
    Row(Bug::ControlsPass, "controls-pass", "control and direction characters of a record reach the session", &["producers", "fuzz"]),
    Row(Bug::FixedFence, "fixed-fence", "the fence around untrusted text is always the same", &["producers", "fuzz"]),
    Row(Bug::SlashFirst, "slash-first", "a delivery may start with a slash command", &["producers", "fuzz"]),
    Row(Bug::DeepJson, "deep-json", "a record may be nested without a limit", &["producers", "fuzz"]),
    Row(Bug::IdReuse, "id-reuse", "an id is only compared with what is pending, not with what was delivered", &["random", "states"]),
    Row(Bug::IntentUnsynced, "intent-unsynced", "a job is started before its intent is on the disk", &["power", "states"]),
    Row(Bug::LeaseNotInherited, "lease-not-inherited", "the lease of a run is the wrapper's alone", &["kill"]),
    Row(Bug::LostTwice, "lost-twice", "a lost run is reported under a new id each time", &["kill"]),
    Row(Bug::LostIgnored, "lost-ignored", "a run that ended without a completion is not reported", &["kill"]),
    Row(Bug::AuditBlind, "audit-blind", "the audit counts what is gone as delivered", &["random"]),
    Row(Bug::TokenInLog, "token-in-log", "the log names the token when a connection is refused", &["secrets"]),
    Row(Bug::TokenInStatus, "token-in-status", "the status file has the token in it", &["secrets"]),
    Row(Bug::TokenAbroad, "token-abroad", "the token is sent to another machine without TLS", &["secrets"]),
    Row(Bug::TextInJournal, "text-in-journal", "the journal repeats what a record says", &["secrets"]),
    Row(Bug::ConfigPanics, "config-panics", "a strange configuration ends the program with a panic", &["fuzz"]),
    Row(Bug::CloseUnflushed, "close-unflushed", "a run is closed for a completion that nobody has flushed", &["model"]),
    Row(Bug::RecoverUnflushed, "recover-unflushed", "what a dead agent moved into sending/ is sent without a flush", &["model"]),
    Row(Bug::HalfMoved, "half-moved", "a change of key that a crash cut in half is not finished before the gateway is asked", &["model"]),
    Row(Bug::DumpsCore, "dumps-core", "the agent lets its memory be dumped when it crashes", &["secrets"]),
    Row(Bug::QuotedKey, "quoted-key", "a text may quote the key of another delivery", &["producers"]),
];

impl Bug {
    /// All of them, in the order of the table.
    pub fn all() -> impl Iterator<Item = Bug> {
        ROWS.iter().map(|row| row.0)
    }

    /// The bug of this name.
    pub fn named(name: &str) -> Option<Bug> {
        ROWS.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    fn row(self) -> &'static Row {
        // The table is in the order of the enumeration; a test holds it to that.
        &ROWS[self as usize]
    }

    /// Its name, as `SPOOL_SEEDED_BUG` takes it.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What it does, in one line.
    pub fn about(self) -> &'static str {
        self.row().2
    }

    /// The layers that must catch it.
    pub fn layers(self) -> &'static [&'static str] {
        self.row().3
    }
}

/// Whether this bug is alive in this process. In an ordinary build: never, and known when it is compiled.
#[cfg(not(seeded_bugs))]
#[inline(always)]
pub const fn is(_: Bug) -> bool {
    false
}

#[cfg(seeded_bugs)]
pub use armed::{arm, is};

/// Whether this build can have seeded bugs at all.
pub const SEEDED: bool = cfg!(seeded_bugs);

#[cfg(seeded_bugs)]
mod armed {
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::Bug;

    const UNREAD: u16 = u16::MAX;
    const NONE: u16 = u16::MAX - 1;
    static ALIVE: AtomicU16 = AtomicU16::new(UNREAD);

    /// Whether this bug is alive in this process: named by `SPOOL_SEEDED_BUG`, or by [`arm`].
    pub fn is(bug: Bug) -> bool {
        let mut alive = ALIVE.load(Ordering::Relaxed);
        if alive == UNREAD {
            let named = std::env::var("SPOOL_SEEDED_BUG").ok().and_then(|name| Bug::named(&name));
            alive = named.map_or(NONE, |bug| bug as u16);
            ALIVE.store(alive, Ordering::Relaxed);
        }
        alive == bug as u16
    }

    /// Brings one bug to life in this process, or none.
    pub fn arm(bug: Option<Bug>) {
        ALIVE.store(bug.map_or(NONE, |bug| bug as u16), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enumeration_and_each_name_is_its_own() {
        for (at, bug) in Bug::all().enumerate() {
            assert_eq!(bug as usize, at);
            assert_eq!(Bug::named(bug.name()), Some(bug));
            assert!(!bug.layers().is_empty() && !bug.about().is_empty(), "{bug:?}");
        }
    }

    #[test]
    fn an_ordinary_build_has_none_of_them() {
        assert_eq!(SEEDED, cfg!(seeded_bugs));
        if !SEEDED {
            assert!(!Bug::all().any(is));
        }
    }
}
