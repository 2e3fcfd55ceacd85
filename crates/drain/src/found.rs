//! Names that were found in `new/` and not looked at yet: the lowest of however many there are, in order.
//!
//! A start on a million names should cost what listing them costs. So each name is compared once with the highest that
//! is wanted, and most are not even copied; those that are wanted are not sorted, for they are needed one after the
//! other: a heap gives them out in order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ffi::{OsStr, OsString};

/// Chooses the lowest of many names.
#[derive(Debug)]
pub(crate) struct Lowest {
    most: usize,
    names: Vec<OsString>,
    /// As many as are wanted are at or below this.
    bound: Option<OsString>,
}

impl Lowest {
    /// At most so many.
    pub(crate) fn new(most: usize) -> Lowest {
        Lowest { most, names: Vec::new(), bound: None }
    }

    /// Whether a name may be one of them.
    pub(crate) fn wants(&self, name: &OsStr) -> bool {
        self.most > 0 && self.bound.as_deref().is_none_or(|bound| name < bound)
    }

    /// One more. Now and then all but the lowest are dropped: that costs each name a few comparisons in all.
    pub(crate) fn push(&mut self, name: &OsStr) {
        if self.wants(name) {
            self.names.push(name.to_owned());
            if self.names.len() >= self.most + self.most / 2 + 1024 {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        if self.names.len() > self.most && self.most > 0 {
            let (_, highest, _) = self.names.select_nth_unstable(self.most - 1);
            self.bound = Some(highest.clone());
            self.names.truncate(self.most);
        }
    }

    /// The lowest names in no order, and the highest of them if there may be more.
    pub(crate) fn finish(mut self) -> (Vec<OsString>, Option<OsString>) {
        self.cut();
        self.names.truncate(self.most);
        self.names.shrink_to_fit();
        let is_full = self.names.len() == self.most;
        let highest = if is_full { self.names.iter().max().cloned() } else { None };
        (self.names, highest)
    }
}

/// The names, given out in order.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Those that were named by hand, by the age of their content.
    first: VecDeque<OsString>,
    /// Those whose names sort by the time they were made.
    then: BinaryHeap<Reverse<OsString>>,
}

impl Found {
    /// `first` is in order, `then` need not be.
    pub(crate) fn new(first: Vec<OsString>, then: Vec<OsString>) -> Found {
        Found { first: first.into(), then: then.into_iter().map(Reverse).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.then.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.then.is_empty()
    }

    /// The next one.
    pub(crate) fn pop(&mut self) -> Option<OsString> {
        let next = self.first.pop_front().or_else(|| self.then.pop().map(|Reverse(name)| name));
        if self.is_empty() {
            // The room of a huge backlog is given back.
            *self = Found::default();
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(numbers: impl Iterator<Item = usize>) -> Vec<OsString> {
        numbers.map(|n| format!("{n:06}.json").into()).collect()
    }

    #[test]
    fn the_lowest_are_chosen_whatever_the_order_they_come_in() {
        for (count, most) in [(0, 5), (4, 5), (5, 5), (10_000, 1), (10_000, 100), (10_000, 0)] {
            // 7919 is prime to all of these counts: every name once.
            let all = names((0..count).map(|n| n * 7919 % count.max(1)));
            let mut lowest = Lowest::new(most);
            all.iter().for_each(|name| lowest.push(name));
            let (mut chosen, highest) = lowest.finish();
            chosen.sort_unstable();
            assert_eq!(chosen, names(0..count.min(most)), "{most} of {count}");
            let is_full = most > 0 && count >= most;
            assert_eq!(highest, is_full.then(|| chosen.last().cloned()).flatten());
        }
    }

    #[test]
    fn names_by_hand_come_first_and_all_in_order() {
        let mut found = Found::new(names([9, 1].into_iter()), names([5, 3, 4].into_iter()));
        assert_eq!(found.len(), 5);
        let order: Vec<OsString> = std::iter::from_fn(|| found.pop()).collect();
        assert_eq!(order, names([9, 1, 3, 4, 5].into_iter()));
        assert!(found.is_empty());
    }
}
