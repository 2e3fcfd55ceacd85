//! Which images a power cut may leave, at each point of a log.
//!
//! Two models of a disk:
//!
//! - **ordered**, as ext4 and xfs with a journal: names change on the platter in the order in which they were changed,
//!   any flush makes all earlier changes of names stay, and what was written to a file and not flushed is there, or
//!   missing, or cut short, or zeroes;
//! - **weak**, as little as POSIX says: only the flush of a directory makes the names in it stay, and between files
//!   their changes are in no order at all. For one file they are: a rename is one step, and a file does not come by its
//!   second name before its first. Data that was not flushed may be missing, cut short, zeroed or torn at either end.
//!
//! In both a name that had to be free is given to another file only after it was taken from the first: an image in which
//! a link came to the platter and the move that made room for it did not would be one of a link that overwrites. And in
//! both a flush of a file that failed drops what it should have written: a later flush says yes and writes nothing
//! (Rebello et al., "Can Applications Recover from fsync Failures?", ATC '20). A failed flush of a directory keeps
//! nothing back from a later one: file systems either try again or stop.
//!
//! A choice is how far each chain of changes came, and what each unflushed file holds. All choices are made where they
//! are few; else some, at random.

use std::sync::Arc;

use super::disk::{Image, Ino, Op, number};
use crate::chance::Chance;
use spooldir::Dir;

/// A model of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    Ordered,
    Weak,
}

/// What a file that was not flushed holds: its first bytes, some of them zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    len: usize,
    zeroes: (usize, usize),
}

/// How far a file was written and flushed.
#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    synced: usize,
    written: usize,
    lost: (usize, usize),
}

/// Changes that stay in their order: the first `forced` are on the platter.
#[derive(Debug, Default)]
struct Chain {
    ops: Vec<usize>,
    forced: usize,
}

/// A log, from an image on the platter to what the programs saw at last.
pub(super) struct History<'a> {
    pub(super) base: &'a Image,
    pub(super) end: &'a Image,
    pub(super) log: &'a [Op],
}

/// How many choices are made at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Of names.
    pub(super) names: u64,
    /// Of data, for each choice of names.
    pub(super) data: u64,
}

/// One image that may be left: its hash first, for it may be known.
pub(super) struct State<'a> {
    pub(super) hash: u64,
    /// A kill and no power cut: everything that was done is there.
    pub(super) is_kill: bool,
    names: &'a Image,
    shapes: &'a [(Ino, Shape)],
    extents: &'a [Extent],
    end: &'a Image,
}

fn mix(a: u64, b: u64) -> u64 {
    let z = (a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 29)
}

impl State<'_> {
    /// The image itself.
    pub(super) fn image(&self) -> Image {
        let nothing = Arc::default();
        let files = self.end.files.iter().enumerate().map(|(at, bytes)| {
            let ino = Ino::try_from(at).unwrap_or(Ino::MAX);
            let extent = self.extents[at];
            let whole = Shape { len: extent.written, zeroes: (0, 0) };
            let shape = self.shapes.iter().find(|(i, _)| *i == ino).map_or(whole, |(_, shape)| *shape);
            if shape.len == bytes.len() && shape.zeroes.0 == shape.zeroes.1 {
                return bytes.clone();
            }
            if shape.len == 0 {
                return Arc::clone(&nothing);
            }
            let mut cut = bytes[..shape.len].to_vec();
            cut[shape.zeroes.0..shape.zeroes.1].fill(0);
            Arc::new(cut)
        });
        Image { files: files.collect(), ..self.names.clone() }
    }
}

/// What a file may hold: all that was flushed, and of the rest something.
fn shapes(extent: Extent, model: Model) -> Vec<Shape> {
    let Extent { synced, written, lost } = extent;
    let whole = Shape { len: written, zeroes: lost };
    if synced == written {
        return if lost.0 == lost.1 {
            vec![whole]
        } else {
            vec![whole, Shape { len: lost.0, zeroes: (0, 0) }]
        };
    }
    let half = synced + (written - synced) / 2;
    let mut all = vec![
        whole,
        Shape { len: synced, zeroes: (0, 0) },
        Shape { len: half, zeroes: (0, 0) },
        Shape { len: written, zeroes: (synced, written) },
    ];
    if model == Model::Weak {
        all.push(Shape { len: written, zeroes: (half, written) });
        all.push(Shape { len: written, zeroes: (synced, half) });
    }
    all.dedup();
    all
}

impl History<'_> {
    /// Shows each image that may be left after the first `upto` operations, until `see` says that it is enough.
    pub(super) fn each_state(
        &self,
        upto: usize,
        model: Model,
        bounds: Bounds,
        chance: &mut Chance,
        see: &mut dyn FnMut(&State<'_>) -> bool,
    ) -> bool {
        let extents = self.extents(upto);
        let chains = self.chains(upto, model);
        // Everything done, nothing lost: a kill.
        let all: Vec<usize> = chains.iter().map(|chain| chain.ops.len()).collect();
        if let Some(names) = self.names(&chains, &all) {
            let hash = hash(&names, &[], &extents);
            let kill =
                State { hash, is_kill: true, names: &names, shapes: &[], extents: &extents, end: self.end };
            if !see(&kill) {
                return false;
            }
        }
        let sizes: Vec<u64> = chains.iter().map(|c| (c.ops.len() - c.forced) as u64 + 1).collect();
        let mut lengths = vec![0; chains.len()];
        each_choice(&sizes, bounds.names, chance, &mut |choice, chance| {
            for (at, chain) in chains.iter().enumerate() {
                lengths[at] = chain.forced + choice[at];
            }
            let Some(names) = self.names(&chains, &lengths) else { return true };
            self.each_content(&names, &extents, model, bounds.data, chance, see)
        })
    }

    fn each_content(
        &self,
        names: &Image,
        extents: &[Extent],
        model: Model,
        bound: u64,
        chance: &mut Chance,
        see: &mut dyn FnMut(&State<'_>) -> bool,
    ) -> bool {
        let tmp = number(Dir::Tmp);
        let mut open: Vec<(Ino, Vec<Shape>)> = Vec::new();
        for (dir, entries) in names.dirs.iter().enumerate() {
            for (_, ino) in entries {
                let extent = extents[*ino as usize];
                let is_whole = extent.synced == extent.written && extent.lost.0 == extent.lost.1;
                if dir != tmp && !is_whole && !open.iter().any(|(i, _)| i == ino) {
                    open.push((*ino, shapes(extent, model)));
                }
            }
        }
        let sizes: Vec<u64> = open.iter().map(|(_, shapes)| shapes.len() as u64).collect();
        let mut chosen: Vec<(Ino, Shape)> = Vec::with_capacity(open.len());
        each_choice(&sizes, bound, chance, &mut |choice, _| {
            chosen.clear();
            chosen.extend(open.iter().zip(choice).map(|((ino, shapes), at)| (*ino, shapes[*at])));
            let hash = hash(names, &chosen, extents);
            see(&State { hash, is_kill: false, names, shapes: &chosen, extents, end: self.end })
        })
    }

    fn extents(&self, upto: usize) -> Vec<Extent> {
        let on_platter = |at: usize| self.base.files.get(at).map_or(0, |bytes| bytes.len());
        let mut extents: Vec<Extent> = (0..self.end.files.len())
            .map(|at| Extent { synced: on_platter(at), written: on_platter(at), lost: (0, 0) })
            .collect();
        for op in &self.log[..upto] {
            match op {
                Op::Write(ino, len) => extents[*ino as usize].written = *len,
                Op::Sync(ino) => extents[*ino as usize].synced = extents[*ino as usize].written,
                Op::LostSync(ino) => {
                    let extent = &mut extents[*ino as usize];
                    extent.lost = (extent.synced, extent.written);
                }
                _ => {}
            }
        }
        extents
    }

    fn chains(&self, upto: usize, model: Model) -> Vec<Chain> {
        let log = &self.log[..upto];
        let named = log.iter().enumerate().filter_map(|(at, op)| Some((at, op.subject()?)));
        if model == Model::Ordered {
            let last = log.iter().rposition(|op| matches!(op, Op::Sync(_) | Op::SyncDir(_))).unwrap_or(0);
            let ops: Vec<usize> = named.map(|(at, _)| at).collect();
            let forced = ops.iter().filter(|at| **at < last).count();
            return vec![Chain { ops, forced }];
        }
        let mut subjects = Vec::new();
        let mut chains: Vec<Chain> = Vec::new();
        for (at, subject) in named {
            match subjects.iter().position(|s| *s == subject) {
                Some(chain) => chains[chain].ops.push(at),
                None => {
                    subjects.push(subject);
                    chains.push(Chain { ops: vec![at], forced: 0 });
                }
            }
        }
        let tmp = number(Dir::Tmp);
        for chain in &mut chains {
            let is_forced = |at: &usize| {
                let flushed = |op: &Op| matches!(op, Op::SyncDir(dir) if self.log[*at].touches(*dir));
                log[*at..].iter().any(flushed)
            };
            chain.forced = chain.ops.iter().rposition(is_forced).map_or(0, |at| at + 1);
            // What stands in tmp/ means nothing to anybody.
            let is_tmp = |at: &usize| match &self.log[*at] {
                Op::Link(_, place) | Op::Unlink(_, place) => place.dir == tmp,
                _ => false,
            };
            if chain.ops.iter().all(is_tmp) {
                chain.forced = chain.ops.len();
            }
        }
        chains
    }

    /// The names that are left when each chain came so far; none when it cannot have come to that.
    fn names(&self, chains: &[Chain], lengths: &[usize]) -> Option<Image> {
        let mut image = Image { made: self.base.made, dirs: self.base.dirs.clone(), files: Vec::new() };
        let mut done: Vec<usize> =
            chains.iter().zip(lengths).flat_map(|(chain, len)| &chain.ops[..*len]).copied().collect();
        done.sort_unstable();
        for at in done {
            let op = &self.log[at];
            // Within one directory it is only intake that moves a file to a name that must be free; a reason is replaced.
            let free = match op {
                Op::Link(ino, to) => Some((ino, to)),
                Op::Move(ino, from, to) if from.dir != to.dir || to.dir == number(Dir::New) => {
                    Some((ino, to))
                }
                _ => None,
            };
            if let Some((ino, to)) = free
                && image.find(to.dir, &to.name.text).is_some_and(|other| other != *ino)
            {
                return None;
            }
            image.apply(op);
        }
        Some(image)
    }
}

fn hash(names: &Image, shapes: &[(Ino, Shape)], extents: &[Extent]) -> u64 {
    let mut sum = u64::from(names.made);
    for (dir, entries) in names.dirs.iter().enumerate() {
        for (name, ino) in entries {
            let whole = Shape { len: extents[*ino as usize].written, zeroes: (0, 0) };
            let shape = shapes.iter().find(|(i, _)| i == ino).map_or(whole, |(_, shape)| *shape);
            let content = mix(mix(shape.len as u64, shape.zeroes.0 as u64), shape.zeroes.1 as u64);
            sum = sum.wrapping_add(mix(mix(name.hash, dir as u64), mix(u64::from(*ino), content)));
        }
    }
    sum
}

/// All combinations of one number below each size, or `bound` of them at random when there are more.
fn each_choice(
    sizes: &[u64],
    bound: u64,
    chance: &mut Chance,
    see: &mut dyn FnMut(&[usize], &mut Chance) -> bool,
) -> bool {
    let mut choice = vec![0; sizes.len()];
    let all = sizes.iter().fold(1_u64, |product, size| product.saturating_mul(*size));
    if all > bound {
        for _ in 0..bound {
            for (at, size) in sizes.iter().enumerate() {
                choice[at] = usize::try_from(chance.below(*size)).unwrap_or_default();
            }
            if !see(&choice, chance) {
                return false;
            }
        }
        return true;
    }
    loop {
        if !see(&choice, chance) {
            return false;
        }
        let mut at = 0;
        loop {
            if at == sizes.len() {
                return true;
            }
            choice[at] += 1;
            if (choice[at] as u64) < sizes[at] {
                break;
            }
            choice[at] = 0;
            at += 1;
        }
    }
}
