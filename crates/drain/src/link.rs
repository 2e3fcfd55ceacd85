//! The connection to the gateway, as the loop sees it: down, being made, or up; one at a time.
//!
//! When the next one is tried is for the breaker to say. A connection that ends takes nothing with it but itself: the
//! deliveries under way find out by themselves.

use std::future::pending;
use std::time::{Duration, Instant};

use spool_gateway::receiver::{Connector, Gateway, Kind, Trouble};
use tracing::{error, info, warn};

use crate::agent::{Agent, LocalFuture};
use crate::breaker;

/// The connection.
pub(crate) enum Link<'a, G> {
    Down,
    Connecting(LocalFuture<'a, Result<G, Trouble>>, u64),
    Up(G, LocalFuture<'a, String>),
}

/// What the connection did.
pub(crate) enum LinkEvent<G> {
    Connected(G),
    Failed(Trouble, u64),
    Closed(String),
}

pub(crate) async fn link_event<G: Gateway>(link: &mut Link<'_, G>) -> LinkEvent<G> {
    match link {
        Link::Down => pending().await,
        Link::Connecting(connecting, stamp) => match connecting.await {
            Ok(gateway) => LinkEvent::Connected(gateway),
            Err(trouble) => LinkEvent::Failed(trouble, *stamp),
        },
        Link::Up(_, closed) => LinkEvent::Closed(closed.await),
    }
}

impl<'a, C> Agent<'a, C>
where
    C: Connector,
    C::Gateway: 'static,
{
    /// The connection, while it is up.
    pub(crate) fn gateway(&self) -> Option<C::Gateway> {
        match &self.link {
            Link::Up(gateway, _) => Some(gateway.clone()),
            _ => None,
        }
    }

    /// Whether the connection is being made: then each turn of the loop is a step of it.
    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.link, Link::Connecting(..))
    }

    pub(crate) fn connect_if_due(&mut self, now: Instant) {
        if !matches!(self.link, Link::Down) {
            return;
        }
        let stamp = self.connector.credentials_stamp();
        if self.breaker.is_due(now, stamp) {
            self.breaker.trying();
            let connector = self.connector;
            self.link = Link::Connecting(Box::pin(async move { connector.connect().await }), stamp);
        }
    }

    pub(crate) fn on_link(&mut self, event: LinkEvent<C::Gateway>) {
        let now = Instant::now();
        let jitter = self.jitter();
        match event {
            LinkEvent::Connected(gateway) => {
                let server = gateway.server().clone();
                info!("connected to the gateway, version {}, protocol {}", server.version, server.protocol);
                self.server = Some(server);
                self.breaker.connected(now);
                let watched = gateway.clone();
                self.link = Link::Up(gateway, Box::pin(async move { watched.closed().await }));
            }
            LinkEvent::Failed(trouble, stamp) if trouble.kind == Kind::Refused => {
                if self.breaker.reason() != Some(&trouble.reason) {
                    error!("{}; nothing is sent until that is mended, nothing is lost", trouble.reason);
                }
                self.link = Link::Down;
                self.breaker.refused(now, trouble.reason, stamp);
            }
            LinkEvent::Failed(trouble, _) => {
                if self.breaker.reason() != Some(&trouble.reason) {
                    warn!("{}; trying again", trouble.reason);
                }
                self.link = Link::Down;
                self.breaker.failed(now, trouble.reason, trouble.retry_after, jitter);
            }
            LinkEvent::Closed(reason) => self.unlink(reason, None),
        }
    }

    /// The gateway is away: everybody waits. Deliveries under way keep the connection as long as it lives.
    pub(crate) fn unlink(&mut self, reason: String, retry_after: Option<Duration>) {
        let jitter = self.jitter();
        if matches!(self.link, Link::Up(..)) {
            warn!("the gateway is away: {reason}; trying again");
            self.link = Link::Down;
        }
        self.breaker.failed(Instant::now(), reason, retry_after, jitter);
    }

    /// The gateway does not want us: nothing is sent until a person has mended it.
    pub(crate) fn refused(&mut self, reason: String) {
        error!("{reason}; nothing is sent until that is mended, nothing is lost");
        self.link = Link::Down;
        let stamp = self.connector.credentials_stamp();
        self.breaker.refused(Instant::now(), reason, stamp);
    }

    /// The connection, in a word.
    pub(crate) fn link_word(&self) -> &'static str {
        match (&self.link, self.breaker.state()) {
            (Link::Up(..), _) => "up",
            (_, breaker::State::Refused { .. }) => "refused",
            (Link::Connecting(..), _) if self.breaker.failures() == 0 => "connecting",
            _ => "down",
        }
    }

    /// Why it is not up.
    pub(crate) fn link_reason(&self) -> Option<&str> {
        self.breaker.reason().filter(|_| !matches!(self.link, Link::Up(..)))
    }
}
