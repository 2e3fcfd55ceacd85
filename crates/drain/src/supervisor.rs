//! The service manager that started the agent, if one did: what it is told, by the protocol of sd_notify(3).
//!
//! The protocol is a few words in a datagram to the socket that `NOTIFY_SOCKET` names, so it needs no library. What is
//! kept true: nothing here ever waits, and nothing that goes wrong here ends the agent (a manager that does not listen is
//! not told); the watchdog is fed by the turning loop alone, a few times in each of its intervals, so that an agent that
//! hangs is ended and started anew; and nothing that is said names a record or a secret.

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often the watchdog is fed within its interval.
const FEEDS: u32 = 4;

/// The manager, or nobody. Cheap to clone; all clones speak to the same one.
#[derive(Debug, Clone, Default)]
pub struct Supervisor(Option<Arc<Manager>>);

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    began: Instant,
    /// How long after one feed of the watchdog the next one is due; `None` without a watchdog.
    feed_every: Option<Duration>,
    /// When it was fed last, in milliseconds since `began`, plus one; 0 is never.
    fed_at: AtomicU64,
    /// The status that it was told last.
    told: Mutex<String>,
}

impl Supervisor {
    /// The manager that the environment names (`NOTIFY_SOCKET`; `WATCHDOG_USEC` and `WATCHDOG_PID` for the watchdog).
    ///
    /// # Errors
    /// When a socket is named and cannot be used.
    pub fn from_env(env: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> io::Result<Supervisor> {
        let Some(address) = env("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Ok(Supervisor::default());
        };
        let number = |name: &str| env(name)?.to_str()?.trim().parse::<u64>().ok();
        // A watchdog may be meant for the process that started us.
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let interval = number("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0).map(Duration::from_micros);
        Ok(Supervisor(Some(Arc::new(Manager {
            socket: connect(&address)?,
            began: Instant::now(),
            feed_every: interval.map(|interval| interval / FEEDS),
            fed_at: AtomicU64::new(0),
            told: Mutex::new(String::new()),
        }))))
    }

    /// The agent has its lock and has seen all directories: what depends on it may start.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// The configuration is being read anew; [`Supervisor::ready`] ends it.
    pub fn reloading(&self) {
        #[cfg(target_os = "linux")]
        {
            // The manager orders reloads by the clock that it asks for.
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let usec = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
            self.say(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
        }
        #[cfg(not(target_os = "linux"))]
        self.say("RELOADING=1");
    }

    /// The agent ends.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// One line for people; it is sent when it has changed.
    pub fn status(&self, line: &str) {
        let Some(manager) = &self.0 else { return };
        let Ok(mut told) = manager.told.lock() else { return };
        if *told != line {
            line.clone_into(&mut told);
            self.say(&format!("STATUS={}", spooldir::sanitize::visible(line)));
        }
    }

    /// The loop has turned.
    pub fn alive(&self) {
        let Some(manager) = &self.0 else { return };
        let Some(every) = manager.feed_every else { return };
        let now = u64::try_from(manager.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        let fed_at = manager.fed_at.load(Ordering::Relaxed);
        if fed_at == 0 || u128::from(now + 1 - fed_at.min(now + 1)) >= every.as_millis() {
            manager.fed_at.store(now + 1, Ordering::Relaxed);
            self.say("WATCHDOG=1");
        }
    }

    /// When the loop has to turn next for the watchdog's sake.
    pub fn feed_every(&self) -> Option<Duration> {
        self.0.as_ref().and_then(|manager| manager.feed_every)
    }

    fn say(&self, words: &str) {
        if let Some(manager) = &self.0
            && let Err(e) = manager.socket.send(words.as_bytes())
        {
            tracing::debug!("cannot tell the service manager {:?}: {e}", words.split('=').next());
        }
    }
}

/// A path, or with a leading `@` a name in the abstract name space of Linux.
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_encoded_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
        return Ok(socket);
    }
    socket.connect(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn told(socket: &UnixDatagram) -> Vec<String> {
        let mut all = Vec::new();
        let mut bytes = [0; 512];
        while let Ok(n) = socket.recv(&mut bytes) {
            all.push(String::from_utf8_lossy(&bytes[..n]).into_owned());
        }
        all
    }

    fn listen() -> (tempfile::TempDir, UnixDatagram, OsString) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (home, socket, path.into_os_string())
    }

    fn with(vars: &[(&str, OsString)]) -> Supervisor {
        let vars = vars.to_vec();
        let env = move |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone());
        Supervisor::from_env(&env).unwrap()
    }

    #[test]
    fn what_happens_is_said_in_the_words_of_the_protocol() {
        let (_home, socket, path) = listen();
        let manager = with(&[("NOTIFY_SOCKET", path)]);
        manager.ready();
        manager.status("3 wait\nfor nobody");
        manager.status("3 wait\nfor nobody");
        manager.alive();
        manager.stopping();
        assert_eq!(told(&socket), ["READY=1", r"STATUS=3 wait\nfor nobody", "STOPPING=1"]);
        assert_eq!(manager.feed_every(), None);
        manager.reloading();
        assert!(told(&socket)[0].starts_with("RELOADING=1\nMONOTONIC_USEC="));
    }

    #[test]
    fn the_watchdog_is_fed_often_enough_and_not_with_every_turn() {
        let (_home, socket, path) = listen();
        let manager = with(&[("NOTIFY_SOCKET", path.clone()), ("WATCHDOG_USEC", "60000000".into())]);
        assert_eq!(manager.feed_every(), Some(Duration::from_secs(15)));
        (0..1000).for_each(|_| manager.alive());
        assert_eq!(told(&socket), ["WATCHDOG=1"]);
        // A watchdog of another process is not ours to feed.
        let others = [("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "1".into()), ("WATCHDOG_PID", "1".into())];
        with(&others).alive();
        assert_eq!(told(&socket).len(), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_without_a_file_is_reached_too() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("spool-supervisor-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        with(&[("NOTIFY_SOCKET", format!("@{name}").into())]).ready();
        assert_eq!(told(&socket), ["READY=1"]);
    }

    #[test]
    fn nobody_is_told_where_nobody_listens() {
        let (home, socket, path) = listen();
        let manager = with(&[("NOTIFY_SOCKET", path)]);
        drop((socket, home));
        manager.ready();
        with(&[]).ready();
        let env = |name: &str| (name == "NOTIFY_SOCKET").then(|| OsString::from("/nowhere/at/all"));
        assert!(Supervisor::from_env(&env).is_err());
    }
}
