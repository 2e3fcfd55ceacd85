//! `/metrics` for those who come for it: `spool drain --metrics 127.0.0.1:PORT`.
//!
//! A thread of its own, which reads the directories as `spool status` does and asks the agent nothing, so that a slow or
//! hostile visitor costs deliveries nothing. What it keeps true: only loopback addresses are listened on, and only
//! visitors who call them by a loopback name are answered, so that no web page can read it through a name of its own;
//! one visitor at a time, with a deadline and a bounded request; a report is made at most once a second.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use spooldir::{Spool, exit};

use super::metrics;
use super::report::Report;
use crate::Failure;

/// How long a visitor has.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest request.
const MAX_REQUEST: usize = 8 * 1024;
/// How long a report is good for.
const FRESH: Duration = Duration::from_secs(1);

/// Whether it is served there.
///
/// # Errors
/// When the address is not one of this machine alone.
pub fn check(address: SocketAddr) -> Result<SocketAddr, Failure> {
    if address.ip().is_loopback() {
        return Ok(address);
    }
    let why = format!("cannot serve metrics on {address}: only loopback addresses are, e.g. 127.0.0.1:9469");
    Err(Failure::new(exit::USAGE, why))
}

/// Listens.
///
/// # Errors
/// When the address is not one of this machine alone, or cannot be had.
pub fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    check(address)?;
    TcpListener::bind(address).map_err(|e| {
        let why = format!("cannot serve metrics on {address}: {e}; name another port, or 0 for any");
        Failure::new(exit::UNAVAILABLE, why)
    })
}

/// Answers visitors until the process ends.
pub fn start(listener: TcpListener, spool: Spool) -> Result<(), Failure> {
    let answer = move || {
        let mut last: Option<(Instant, Result<String, String>)> = None;
        loop {
            let Ok((visitor, _)) = listener.accept() else {
                // No descriptors, most likely. Deliveries need them more.
                std::thread::sleep(Duration::from_secs(1));
                continue;
            };
            let page = || match &last {
                Some((at, page)) if at.elapsed() < FRESH => page.clone(),
                _ => {
                    let made = Report::make(&spool).map(|report| metrics::text(&report));
                    let page = made.map_err(|failure| failure.message);
                    last = Some((Instant::now(), page.clone()));
                    page
                }
            };
            if let Err(e) = serve(visitor, page) {
                tracing::debug!("a visitor of the metrics was not served: {e}");
            }
        }
    };
    let started = std::thread::Builder::new().name("metrics".into()).spawn(answer);
    started.map(drop).map_err(|e| Failure::new(exit::TEMPORARY, format!("cannot serve metrics: {e}")))
}

/// Answers one visitor.
fn serve(mut visitor: TcpStream, page: impl FnOnce() -> Result<String, String>) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    visitor.set_write_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || request.len() > MAX_REQUEST {
            return Err(io::Error::other("the request is too long, or too slow"));
        }
        visitor.set_read_timeout(Some(left))?;
        let n = visitor.read(&mut chunk)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(chunk.get(..n).unwrap_or_default());
    }
    let answer = answer(&String::from_utf8_lossy(&request), page);
    visitor.write_all(answer.as_bytes())?;
    visitor.flush()
}

/// The answer to a request.
fn answer(request: &str, page: impl FnOnce() -> Result<String, String>) -> String {
    let mut lines = request.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let host =
        lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let path = target.split('?').next().unwrap_or_default();
    let (status, kind, body) = if !host.is_some_and(|(_, host)| is_loopback(host.trim())) {
        ("403 Forbidden", "text/plain", "only for visitors who call this by a loopback name\n".to_owned())
    } else if path != "/metrics" {
        ("404 Not Found", "text/plain", "there is only /metrics\n".to_owned())
    } else if !matches!(method, "GET" | "HEAD") {
        ("405 Method Not Allowed", "text/plain", "only GET and HEAD\n".to_owned())
    } else {
        match page() {
            Ok(text) => ("200 OK", metrics::MEDIA_TYPE, text),
            Err(why) => ("503 Service Unavailable", "text/plain", format!("{why}\n")),
        }
    };
    let shown = if method == "HEAD" { "" } else { &body };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{shown}"
    )
}

/// Whether a host, perhaps with a port, is a name of this machine alone.
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = host
        .rsplit_once(':')
        .map_or(host, |(name, port)| if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host });
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(request: &str) -> String {
        let answer = answer(request, || Ok("spool_entries 1\n# EOF\n".into()));
        answer.split("\r\n").next().unwrap().strip_prefix("HTTP/1.1 ").unwrap().to_owned()
    }

    #[test]
    fn only_loopback_is_listened_on() {
        for address in ["0.0.0.0:0", "192.0.2.1:9", "[::]:0"] {
            let failure = listen(address.parse().unwrap()).unwrap_err();
            assert!(failure.exit == exit::USAGE && failure.message.contains("only loopback"), "{failure:?}");
        }
        listen("127.0.0.1:0".parse().unwrap()).unwrap();
    }

    #[test]
    fn a_visitor_must_ask_for_the_metrics_by_a_loopback_name() {
        for (request, says) in [
            ("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9469\r\n\r\n", "200 OK"),
            ("GET /metrics?x HTTP/1.1\r\nhost: LOCALHOST\r\n\r\n", "200 OK"),
            ("HEAD /metrics HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "200 OK"),
            ("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403 Forbidden"),
            ("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1.evil.example:80\r\n\r\n", "403 Forbidden"),
            ("GET /metrics HTTP/1.1\r\n\r\n", "403 Forbidden"),
            ("GET / HTTP/1.1\r\nHost: localhost:1\r\n\r\n", "404 Not Found"),
            ("POST /metrics HTTP/1.1\r\nHost: localhost:1\r\n\r\n", "405 Method Not Allowed"),
            ("\r\n\r\n", "403 Forbidden"),
        ] {
            assert_eq!(status(request), says, "{request}");
        }
        let head = answer("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", || Ok("x".into()));
        assert!(head.ends_with("\r\n\r\n") && head.contains("Content-Length: 1\r\n"), "{head}");
    }
}
