//! The socket of a connection: dialled, encrypted where the address says so, upgraded to WebSocket.
//!
//! What stays true: every buffer and message is limited; a redirect is an answer, never followed; an address that
//! was taken for loopback by its name is one by its number too.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use spool_seeded::Bug;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::classify;
use crate::config::{Config, Target};
use crate::driver::BYTES_AT_ONCE;
use crate::frame::{PRE_CONNECT_LIMIT, READ_LIMIT, RETRY_AFTER_LIMIT, WRITE_LIMIT, one_line};
use crate::receiver::{Kind, Trouble};

/// A byte stream that a connection runs on.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// The socket of a connection, plain or encrypted.
pub(crate) type Socket = WebSocketStream<Box<dyn Wire>>;

/// Socket, TLS, upgrade.
pub(crate) async fn open(config: &Config, target: &Target) -> Result<Socket, Trouble> {
    let unreachable = |error: &io::Error| classify::io(&config.url, error);
    let stream = dial(target).await.map_err(|error| unreachable(&error))?;
    let wire: Box<dyn Wire> =
        if target.tls { encrypt(config, target, stream).await? } else { Box::new(stream) };
    // Without all four, a peer could make us buffer without end.
    let longest = (!spool_seeded::is(Bug::FrameUnbounded)).then_some(READ_LIMIT);
    let limits = WebSocketConfig::default()
        .read_buffer_size(32 * 1024)
        // Frames that are handed over together leave together; the driver flushes.
        .write_buffer_size(BYTES_AT_ONCE)
        .max_write_buffer_size(WRITE_LIMIT + PRE_CONNECT_LIMIT)
        .max_message_size(longest)
        .max_frame_size(longest);
    let request = config.url.as_str().into_client_request().map_err(|error| {
        Trouble::new(Kind::Refused, format!("cannot use the gateway address {}: {error}", config.url))
    })?;
    match client_async_with_config(request, wire, Some(limits)).await {
        Ok((socket, _)) => Ok(socket),
        Err(WsError::Http(response)) => {
            let wait =
                response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
            let wait = wait.map(|seconds: u64| Duration::from_secs(seconds).min(RETRY_AFTER_LIMIT));
            Err(classify::upgrade(&config.url, response.status().as_u16(), wait))
        }
        Err(WsError::Io(error)) => Err(unreachable(&error)),
        Err(error) => Err(Trouble::new(
            Kind::Unavailable,
            format!("{} does not speak WebSocket: {}", config.url, one_line(&error.to_string())),
        )),
    }
}

async fn dial(target: &Target) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((target.host.as_str(), target.port)).await?.take(16).collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address to connect to");
    for address in addresses {
        // A name that claims to be this machine has to be: /etc/hosts is not always what it was.
        if target.loopback && !address.ip().is_loopback() {
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(feature = "tls")]
async fn encrypt(config: &Config, target: &Target, stream: TcpStream) -> Result<Box<dyn Wire>, Trouble> {
    crate::tls::wrap(config, &target.host, stream).await
}

#[cfg(not(feature = "tls"))]
async fn encrypt(config: &Config, _target: &Target, _stream: TcpStream) -> Result<Box<dyn Wire>, Trouble> {
    // Refused when the address was checked; kept as an answer, not a panic.
    Err(Trouble::new(Kind::Refused, format!("cannot connect to {}: built without TLS", config.url)))
}
