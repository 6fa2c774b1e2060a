//! One end of the log for many threads: whoever comes first writes for all who wait.

use std::{
    collections::HashMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{Log, batch::MAX_ENTRIES, checkpoint::Judge, entry::Entry, merkle::Frontier, tail::Appended};
use crate::{error::Result, store::again};

/// Adds entries of many threads to a log, as many as wait in one batch. One create stores up to 256 entries, so what a
/// store takes for a create does not bound how many entries there are in a second.
#[derive(Debug)]
pub struct Appender {
    log: Log,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug)]
struct Queue {
    /// The log as far as it was followed.
    tree: Frontier,
    waiting: Vec<(u64, Entry)>,
    done: HashMap<u64, Result<Appended>>,
    next: u64,
    /// Whether somebody is writing.
    busy: bool,
}

impl Log {
    /// The end of the log, for many threads.
    ///
    /// # Errors
    /// As [`Log::tail`].
    pub fn appender(&self, judge: Option<&Judge>) -> Result<Appender> {
        let mut tail = self.tail(judge)?;
        tail.advance(&mut |_, _| Ok(()))?;
        let (waiting, done) = (Vec::new(), HashMap::new());
        let queue = Queue { tree: tail.tree().clone(), waiting, done, next: 0, busy: false };
        Ok(Appender { log: self.clone(), queue: Mutex::new(queue), changed: Condvar::new() })
    }
}

impl Appender {
    /// Adds an entry; when this returns, it is durable.
    ///
    /// # Errors
    /// As [`super::Tail::append`].
    pub fn append(&self, entry: Entry) -> Result<Appended> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = queue.next;
        queue.next += 1;
        queue.waiting.push((ticket, entry));
        loop {
            if let Some(done) = queue.done.remove(&ticket) {
                return done;
            }
            queue = if queue.busy {
                self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.write(queue)
            };
        }
    }

    /// Writes what waits, while more may come to wait.
    fn write<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        let most = queue.waiting.len().min(MAX_ENTRIES);
        let (tickets, entries): (Vec<_>, Vec<_>) = queue.waiting.drain(..most).unzip();
        let tree = queue.tree.clone();
        queue.busy = true;
        drop(queue);
        let mut tail = self.log.tail_from(tree);
        let appended = tail.append(&entries);
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.busy = false;
        queue.tree = tail.tree().clone();
        match appended {
            Ok(all) => queue.done.extend(tickets.into_iter().zip(all.into_iter().map(Ok))),
            Err(error) => queue.done.extend(tickets.into_iter().map(|ticket| (ticket, Err(again(&error))))),
        }
        self.changed.notify_all();
        queue
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, thread};

    use super::*;
    use crate::log::{Action, tests::Fixture};

    #[test]
    fn many_threads_write_few_batches_and_each_gets_its_own_number() {
        let fixture = Fixture::new();
        let appender = fixture.log.appender(None).expect("followed");
        let login = || Entry::about_event(Action::Login, "oidc:7f", None, None).expect("an entry");
        let numbers: Vec<u64> = thread::scope(|scope| {
            let run = || (0..40).map(|_| appender.append(login()).expect("appended").index).collect::<Vec<_>>();
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(run)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(numbers.into_iter().collect::<BTreeSet<_>>(), (0..640).collect());
        let mut batches = 0;
        fixture
            .log
            .store()
            .list("log/batch", &mut |_| {
                batches += 1;
                Ok(())
            })
            .expect("listed");
        assert!(batches < 640, "{batches}");
        assert_eq!(fixture.publish().checkpoint.checkpoint().size(), 640);
    }

    #[test]
    fn everybody_who_waited_learns_of_a_failure() {
        let fixture = Fixture::new();
        let appender = fixture.log.appender(None).expect("followed");
        std::fs::write(fixture.file("batch"), "in the way").expect("written");
        let login = || Entry::about_event(Action::Login, "oidc:7f", None, None).expect("an entry");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| appender.append(login()).expect_err("refused"));
            }
        });
        std::fs::remove_file(fixture.file("batch")).expect("removed");
        assert_eq!(appender.append(login()).expect("appended").index, 0);
    }
}
