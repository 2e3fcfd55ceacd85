//! The targets, by what they read.

mod adapt;
mod files;
mod machine;
mod runners;
mod setup;
mod texts;
mod wire;

use crate::Target;

/// All of them.
#[rustfmt::skip]
pub static TARGETS: &[Target] = &[
    Target { name: "record", about: "a record, and what the session reads of it", max_len: 2048, run: files::record },
    Target { name: "render", about: "the text of a delivery, from records of any content", max_len: 1024, run: texts::render },
    Target { name: "sanitize", about: "text that was made safe to show", max_len: 512, run: texts::sanitize },
    Target { name: "name", about: "ids, delivery keys and the names of files", max_len: 200, run: files::name },
    Target { name: "machine", about: "the states of an entry, against the table of the format", max_len: 96, run: machine::run },
    Target { name: "journal", about: "lines of the journal, agent.json, reasons, troubles of hooks", max_len: 1024, run: files::journal },
    Target { name: "audit", about: "a journal as a whole, with entries beside it", max_len: 1024, run: files::audit },
    Target { name: "intent", about: "the intent, route and log of a run that nobody is left to report", max_len: 1024, run: files::intent },
    Target { name: "frame", about: "frames of the gateway, and what its faults mean", max_len: 1024, run: wire::frame },
    Target { name: "hello", about: "the gateway's challenge and hello", max_len: 1024, run: wire::hello },
    Target { name: "history", about: "the gateway's word of a session, its history and its turns", max_len: 2048, run: wire::history },
    Target { name: "openclaw", about: "OpenClaw's own configuration, JSON5", max_len: 2048, run: setup::openclaw },
    Target { name: "address", about: "addresses of gateways", max_len: 256, run: setup::address },
    Target { name: "hook", about: "what the hooks of coding agents hand over", max_len: 2048, run: runners::hook },
    Target { name: "words", about: "what runners hand over as arguments and variables", max_len: 1024, run: runners::words },
    Target { name: "map", about: "maps of one's own, TOML, and what they make of an announcement", max_len: 2048, run: runners::map },
    Target { name: "adapt", about: "the configuration of other programs, edited", max_len: 1024, run: adapt::run },
];
