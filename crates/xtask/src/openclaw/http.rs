//! A loopback HTTP/1.1 server, as small as the stand-in services need it.
//!
//! One thread a connection, keep-alive, bodies by `Content-Length` or chunked, answers as JSON or as an event
//! stream. It serves one client that we start ourselves, so it keeps to what that client says; what it does
//! bound is the size of a body, the number of connections and how long a silent one is kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::support::Outcome;

const MAX_BODY: usize = 64 * 1024 * 1024;
const MAX_CONNECTIONS: usize = 512;
const IDLE: Duration = Duration::from_secs(120);

/// One request, read whole.
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// One answer.
pub(crate) enum Answer {
    /// A status and a document.
    Json(u16, Value),
    /// A `text/event-stream` of these data fields.
    Events(Vec<String>),
    /// A `text/event-stream` of these documents, each under the name of its member `type`.
    Typed(Vec<Value>),
}

/// Serves until the process ends; gives the port.
pub(crate) fn serve(answer: impl Fn(Request) -> Answer + Send + Sync + 'static) -> Outcome<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    let answer = Arc::new(answer);
    let open = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (answer, open) = (answer.clone(), open.clone());
            std::thread::spawn(move || {
                // An error here is a client that was killed: that is what the harness does to it.
                converse(stream, &*answer).ok();
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    Ok(port)
}

fn converse(stream: TcpStream, answer: &dyn Fn(Request) -> Answer) -> Outcome<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader)? {
        write_answer(&mut writer, answer(request))?;
    }
    Ok(())
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Outcome<Option<Request>> {
    let mut line = String::new();
    if reader.by_ref().take(64 * 1024).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).ok_or("a request line without a path")?.to_owned();
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut header = String::new();
        if reader.by_ref().take(64 * 1024).read_line(&mut header)? == 0 {
            return Err("the header broke off".into());
        }
        let header = header.trim_end().to_ascii_lowercase();
        match header.split_once(':') {
            Some(("content-length", n)) => length = n.trim().parse()?,
            Some(("transfer-encoding", how)) => chunked = how.contains("chunked"),
            _ if header.is_empty() => break,
            _ => {}
        }
    }
    let body = if chunked { read_chunks(reader)? } else { read_exactly(reader, length)? };
    Ok(Some(Request { path, body }))
}

fn read_exactly(reader: &mut BufReader<TcpStream>, length: usize) -> Outcome<Vec<u8>> {
    if length > MAX_BODY {
        return Err("the body is too long".into());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

fn read_chunks(reader: &mut BufReader<TcpStream>) -> Outcome<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        reader.by_ref().take(1024).read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim(), 16)?;
        if size + body.len() > MAX_BODY {
            return Err("the body is too long".into());
        }
        body.extend(read_exactly(reader, size)?);
        reader.read_line(&mut String::new())?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn write_answer(writer: &mut TcpStream, answer: Answer) -> Outcome<()> {
    match answer {
        Answer::Json(status, document) => {
            let body = document.to_string();
            write!(
                writer,
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )?;
        }
        Answer::Events(events) => {
            let body: String = events.iter().map(|e| format!("data: {e}\n\n")).collect();
            write_stream(writer, &body)?;
        }
        Answer::Typed(events) => {
            let one = |e: &Value| format!("event: {}\ndata: {e}\n\n", e["type"].as_str().unwrap_or_default());
            write_stream(writer, &events.iter().map(one).collect::<String>())?;
        }
    }
    writer.flush()?;
    Ok(())
}

fn write_stream(writer: &mut TcpStream, body: &str) -> Outcome<()> {
    let length = body.len();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
    Ok(write!(writer, "{head}content-length: {length}\r\n\r\n{body}")?)
}
