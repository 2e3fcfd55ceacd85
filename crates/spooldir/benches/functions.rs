//! What the functions cost that every record passes: the strict reading of its JSON, the reading of a record, the names
//! of the states, and the cleaning of its text. Run by hand (`cargo bench -p spooldir`); nothing is judged here, for a
//! time is worth something only beside another one of the same minute. What a whole record costs is in
//! `docs/performance.md`.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use spooldir::name::{DeferredName, SendingName};
use spooldir::{Id, Key, Record, json, sanitize};

/// A record with so many bytes of text, as an adapter writes it.
fn record(text: usize) -> Vec<u8> {
    let mut record = String::from(
        r#"{"v":1,"sessionKey":"agent:main:main","status":"failed","label":"nightly build","task":{"runner":"shell","command":["make","all"],"cwd":"/srv/build","exitCode":2,"durationMs":1234},"text":""#,
    );
    while record.len() < text {
        // Escapes and characters of more than a byte, as output has them.
        record.push_str("line one\\nline two \u{2713} ");
    }
    record.push_str("\"}");
    record.into_bytes()
}

/// Nested as deep as the format allows none to be: the reader must find out early.
fn too_deep() -> Vec<u8> {
    let mut text = String::from(r#"{"sessionKey":"s","text":"x","more":"#);
    text.push_str(&"[".repeat(10_000));
    text.push_str(&"]".repeat(10_000));
    text.push('}');
    text.into_bytes()
}

/// As many members as fit into 64 KiB: each is compared with those before it.
fn many_members() -> Vec<u8> {
    let mut text = String::from(r#"{"sessionKey":"s","text":"x""#);
    let mut number = 0;
    while text.len() < 64 * 1024 - 20 {
        // Writing to a string cannot fail.
        let _written = write!(text, r#","m{number}":1"#).is_ok();
        number += 1;
    }
    text.push('}');
    text.into_bytes()
}

fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("json and record");
    for size in [256, 1024, 16 * 1024, 64 * 1024 - 32] {
        let bytes = record(size);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_with_input(BenchmarkId::new("json::parse", size), &bytes, |b, bytes| {
            b.iter(|| json::parse(black_box(bytes)));
        });
        group.bench_with_input(BenchmarkId::new("Record::parse", size), &bytes, |b, bytes| {
            b.iter(|| Record::parse(black_box(bytes)));
        });
    }
    for (name, bytes) in [("too deep", too_deep()), ("many members", many_members())] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_with_input(BenchmarkId::new("json::parse", name), &bytes, |b, bytes| {
            b.iter(|| json::parse(black_box(bytes)));
        });
    }
    group.finish();
}

fn names(c: &mut Criterion) {
    let (id, key) = (Id::mint(), Key::mint());
    let sending = SendingName { id: id.clone(), key: key.clone(), attempts: 3 };
    let deferred = DeferredName { id: id.clone(), key: Some(key), attempts: 3, due_ms: 1_763_856_000_000 };
    let (sent, put_off) = (sending.to_string(), deferred.to_string());
    let mut group = c.benchmark_group("names");
    group.bench_function("Id::mint", |b| b.iter(Id::mint));
    group.bench_function("Id::new", |b| b.iter(|| Id::new(black_box(id.as_str()))));
    group.bench_function("SendingName, written", |b| b.iter(|| black_box(&sending).to_string()));
    group.bench_function("SendingName::parse", |b| b.iter(|| SendingName::parse(black_box(&sent))));
    group.bench_function("DeferredName, written", |b| b.iter(|| black_box(&deferred).to_string()));
    group.bench_function("DeferredName::parse", |b| b.iter(|| DeferredName::parse(black_box(&put_off))));
    group.finish();
}

fn cleaning(c: &mut Criterion) {
    let plain = "the build is done, 1234 tests passed\n".repeat(100);
    let coloured = "\u{1b}[32mok\u{1b}[0m \u{202e}test\u{202c} \u{2713}\r\n".repeat(150);
    let mut group = c.benchmark_group("sanitize");
    for (name, text) in [("plain", &plain), ("coloured", &coloured)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::new("output", name), text, |b, text| {
            b.iter(|| sanitize::output(black_box(text)));
        });
    }
    group.finish();
}

criterion_group!(benches, reading, names, cleaning);
criterion_main!(benches);
