//! What lies in `new/` under a good name and is not what it seems: links, devices, giants, files in motion.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, IFlags};

use super::super::case::{Case, Expect, becomes, dead, left, stays, told};
use super::super::plant::{Held, age};

const LIMIT: usize = 262_144;

#[rustfmt::skip]
pub(super) static CASES: &[Case] = &[
    left("symlink to a good record", |p| p.link(p.out.join("secret.json"))),
    left("symlink to a secret", |p| p.link(p.out.join("secret.txt"))),
    left("symlink to what only root may read", |p| p.link("/etc/shadow")),
    left("symlink to the agent's token", |p| p.link(p.spool.with_file_name("token"))),
    left("symlink to a directory", |p| p.link(p.out.join("dir"))),
    left("symlink to the whole spool", |p| p.link(p.spool)),
    left("symlink to nowhere", |p| p.link("/nowhere/at/all.json")),
    left("symlink to itself", |p| { let to = p.json(); p.link(to) }),
    left("symlink to a symlink", |p| {
        let first = p.out.join(format!("hop-{}", p.stem));
        std::os::unix::fs::symlink(p.out.join("secret.json"), &first)?;
        p.link(first)
    }),
    left("symlink into proc, environment", |p| p.link("/proc/self/environ")),
    left("symlink into proc, descriptor", |p| p.link("/proc/self/fd/0")),
    left("symlink into proc, memory", |p| p.link("/proc/self/mem")),
    left("symlink to zeros without end", |p| p.link("/dev/zero")),
    left("symlink to the terminal", |p| p.link("/dev/tty")),
    left("symlink out of new with dots", |p| p.link("../format")),
    left("symlink to the lock", |p| p.link("../lock")),
    left("symlink to a neighbour", |p| {
        let neighbour = format!("neighbour-{}.json", p.stem);
        p.link(&neighbour)?;
        let other = p.fill(r#"{"sessionKey":"$S","text":"beside $W"}"#);
        let staged = p.write(other)?;
        p.drop_as(staged, neighbour).expect = Expect::Told;
        Ok(())
    }),
    left("hardlink to a file elsewhere", |p| {
        let path = p.path();
        let file = p.out.join(format!("linked-{}.json", p.stem));
        std::fs::write(&file, p.record(""))?;
        age(&file, Duration::from_secs(60))?;
        std::fs::hard_link(file, &path)?;
        let name = p.json();
        p.drop_as(path, name);
        Ok(())
    }),
    left("hardlinks, two in new and one elsewhere", |p| {
        let first = p.write(p.record(""))?;
        let second = p.path();
        std::fs::hard_link(&first, &second)?;
        std::fs::hard_link(&first, p.out.join(format!("third-{}.json", p.stem)))?;
        let name = format!("second-{}", p.json());
        p.drop_as(second, name);
        let name = p.json();
        p.drop_as(first, name);
        Ok(())
    }),
    left("hardlink to what is no record", |p| {
        let path = p.path();
        let file = p.out.join(format!("linked-{}.txt", p.stem));
        std::fs::write(&file, "not a record")?;
        std::fs::hard_link(file, &path)?;
        let name = p.json();
        p.drop_as(path, name);
        Ok(())
    }),
    left("fifo without a writer", |p| p.node(FileType::Fifo, 0, 0)),
    left("fifo with a writer", |p| {
        p.node(FileType::Fifo, 0, 0)?;
        if let Some(fifo) = p.pieces.last() {
            let both = OpenOptions::new().read(true).write(true).open(&fifo.staged)?;
            p.held.push(Held::File(both));
        }
        Ok(())
    }),
    left("socket", |p| {
        let (path, name) = (p.path(), p.json());
        drop(std::os::unix::net::UnixListener::bind(&path)?);
        p.drop_as(path, name);
        Ok(())
    }),
    left("socket that listens", |p| {
        let (path, name) = (p.path(), p.json());
        p.held.push(Held::Socket(std::os::unix::net::UnixListener::bind(&path)?));
        p.drop_as(path, name);
        Ok(())
    }),
    left("character device, null", |p| p.node(FileType::CharacterDevice, 1, 3)),
    left("character device, zero", |p| p.node(FileType::CharacterDevice, 1, 5)),
    left("character device, terminal", |p| p.node(FileType::CharacterDevice, 5, 0)),
    left("character device, none behind it", |p| p.node(FileType::CharacterDevice, 250, 250)),
    left("block device", |p| p.node(FileType::BlockDevice, 7, 250)),
    left("directory, empty", |p| {
        let (path, name) = (p.path(), p.json());
        std::fs::create_dir(&path)?;
        p.drop_as(path, name);
        Ok(())
    }),
    left("directory with a record in it", |p| {
        let (path, name) = (p.path(), p.json());
        std::fs::create_dir(&path)?;
        std::fs::write(path.join("inner.json"), p.record(""))?;
        p.drop_as(path, name);
        Ok(())
    }),
    left("directory that is closed", |p| {
        let (path, name) = (p.path(), p.json());
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0).create(&path)?;
        p.drop_as(path, name);
        Ok(())
    }),
    dead("sparse file of 8 GB", "too large", |p| p.sparse(8 << 30)),
    dead("sparse file of a terabyte", "too large", |p| p.sparse(1 << 40)),
    dead("sparse file of 64 MB", "too large", |p| p.sparse(64 << 20)),
    dead("one byte over the limit", "too large: 262145 bytes", |p| {
        let mut record = p.record("");
        record.push_str(&" ".repeat(LIMIT + 1 - record.len()));
        p.bytes(record)
    }),
    told("at the limit, padded", |p| {
        let mut record = p.record("");
        record.push_str(&" ".repeat(LIMIT - record.len()));
        p.bytes(record)
    }),
    told("at the limit, one long text", |p| {
        let empty = p.record("").len() + 1;
        let record = p.record("").replace("\"}", &format!(" {}\"}}", "x".repeat(LIMIT - empty)));
        p.bytes(record)
    }),
    stays("mode 000", |p| p.mode(0o000)),
    stays("mode 200", |p| p.mode(0o200)),
    told("mode 777", |p| p.mode(0o777)),
    told("mode 4755", |p| p.mode(0o4755)),
    told("mode 7777", |p| p.mode(0o7777)),
    becomes("immutable", Expect::Stays, |p| { p.with(r#""urgent":true"#)?; flag(p, IFlags::IMMUTABLE); Ok(()) }).own(),
    becomes("append-only", Expect::Stays, |p| { p.with(r#""urgent":true"#)?; flag(p, IFlags::APPEND); Ok(()) }).own(),
    becomes("immutable, nobody to be told", Expect::Stays, |p| { p.with(r#""notify":"never""#)?; flag(p, IFlags::IMMUTABLE); Ok(()) }).own(),
    becomes("immutable, expired", Expect::Stays, |p| { p.with(r#""expiresAt":1"#)?; flag(p, IFlags::IMMUTABLE); Ok(()) }).own(),
    becomes("immutable, for later", Expect::Stays, |p| { p.with(r#""notBefore":9999999999999"#)?; flag(p, IFlags::IMMUTABLE); Ok(()) }).own(),
    becomes("immutable, no session", Expect::Stays, |p| { p.raw(r#"{"text":"$W"}"#)?; flag(p, IFlags::IMMUTABLE); Ok(()) }).own(),
    becomes("immutable, no record", Expect::Stays, |p| { p.raw("{")?; flag(p, IFlags::IMMUTABLE); Ok(()) }).own(),
    stays("unfinished, and somebody has it open", |p| {
        p.raw(r#"{"sessionKey":"$S","text":"$W"#)?;
        let path = p.pieces.last().map(|piece| piece.staged.clone()).unwrap_or_default();
        p.hold_open(&path)
    }),
    told("finished, and somebody has it open", |p| {
        p.with(r#""urgent":true"#)?;
        let path = p.pieces.last().map(|piece| piece.staged.clone()).unwrap_or_default();
        p.hold_open(&path)
    }),
    told("locked by its writer", |p| {
        let staged = p.write(p.record(""))?;
        let file = File::options().append(true).open(&staged)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        p.held.push(Held::File(file));
        let name = p.json();
        p.drop_as(staged, name);
        Ok(())
    }),
    dead("unfinished and young", "ends too early", |p| { let text = p.fill(r#"{"sessionKey":"$S","#); p.dated(text, SystemTime::now()) }),
    dead("unfinished, from the future", "ends too early", |p| { let text = p.fill(r#"{"sessionKey":"$S","#); p.dated(text, SystemTime::now() + Duration::from_secs(3_000_000_000)) }),
    told("a record from the future", |p| { let text = p.record(""); p.dated(text, SystemTime::now() + Duration::from_secs(3_000_000_000)) }),
    told("a record from 1970", |p| { let text = p.record(""); p.dated(text, SystemTime::UNIX_EPOCH) }),
    told("a record from 1931", |p| { let text = p.record(""); p.dated(text, SystemTime::UNIX_EPOCH - Duration::from_secs(1_230_000_000)) }),
    told("opened with every flag", |p| {
        let path = p.path();
        let odd = (rustix::fs::OFlags::SYNC | rustix::fs::OFlags::NOATIME).bits();
        let mut file = OpenOptions::new().write(true).create_new(true).custom_flags(odd.cast_signed()).open(&path)?;
        std::io::Write::write_all(&mut file, p.record("").as_bytes())?;
        let name = p.json();
        p.drop_as(path, name);
        Ok(())
    }),
];

fn flag(p: &mut super::super::plant::Plant<'_>, flags: IFlags) {
    if let Some(piece) = p.pieces.last_mut() {
        piece.flags = flags;
    }
}
