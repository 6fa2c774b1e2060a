//! The first entries of a listing that comes in any order.

use std::{cmp::Ordering, collections::BinaryHeap};

use super::Entry;

/// Which paths are wanted.
pub type Keep<'a> = &'a dyn Fn(&str) -> bool;

/// The smallest paths behind a given one.
pub(super) struct Page<'a> {
    after: &'a str,
    limit: usize,
    keep: Keep<'a>,
    /// The largest on top, so that it goes first.
    found: BinaryHeap<ByPath>,
}

struct ByPath(Entry);

impl<'a> Page<'a> {
    pub(super) fn new(after: &'a str, limit: usize, keep: Keep<'a>) -> Self {
        Self { after, limit, keep, found: BinaryHeap::new() }
    }

    pub(super) fn offer(&mut self, entry: Entry) {
        let is_full = self.found.len() >= self.limit;
        let is_behind = is_full && self.found.peek().is_none_or(|last| last.0.path <= entry.path);
        if entry.path.as_str() <= self.after || is_behind || !(self.keep)(&entry.path) {
            return;
        }
        if is_full {
            self.found.pop();
        }
        self.found.push(ByPath(entry));
    }

    /// In order.
    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.found.into_sorted_vec().into_iter().map(|found| found.0).collect()
    }
}

impl Ord for ByPath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.path.cmp(&other.0.path)
    }
}

impl PartialOrd for ByPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByPath {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByPath {}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn pages_follow_one_another_in_order_whatever_order_entries_come_in() {
        let all: Vec<String> = (0..100).map(|number| format!("a/{:02}", number * 37 % 100)).collect();
        let keep = |path: &str| !path.ends_with('7');
        let (mut after, mut seen) = (String::new(), Vec::new());
        loop {
            let mut page = Page::new(&after, 7, &keep);
            for path in &all {
                page.offer(Entry { path: path.clone(), size: 0, modified: Timestamp::UNIX_EPOCH });
            }
            let entries = page.into_entries();
            let Some(last) = entries.last() else { break };
            assert!(entries.len() <= 7);
            after.clone_from(&last.path);
            seen.extend(entries.into_iter().map(|entry| entry.path));
        }
        let mut expected: Vec<_> = all.into_iter().filter(|path| keep(path)).collect();
        expected.sort();
        assert_eq!(seen, expected);
        let mut none = Page::new("", 0, &keep);
        none.offer(Entry { path: "a".into(), size: 0, modified: Timestamp::UNIX_EPOCH });
        assert!(none.into_entries().is_empty());
    }
}
