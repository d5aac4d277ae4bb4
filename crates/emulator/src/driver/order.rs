//! Which use of an allocation is ordered after which: vector clocks of the streams and of the host.
//!
//! Each stream counts its operations. Its clock says of every other stream how many operations are surely done before
//! the stream's next one: an event carries the clock of the stream that records it, a stream that waits for the event
//! takes the maximum of both, and so does the host when it synchronises. An operation knows what the host knew when it
//! asked for it. A read of an allocation must know of its last write, and a write also of all reads since.
//!
//! Whole allocations are checked: two streams that use different halves of one are reported as well.
//!
//! Source: Mattern, "Virtual Time and Global States of Distributed Systems" (1989); for races, Flanagan and Freund,
//! "FastTrack" (2009).

use std::{collections::BTreeMap, sync::Arc};

/// How many operations of each stream are done, by its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock(Vec<u64>);

/// The number of the host among the clocks.
pub(super) const HOST: usize = 0;
/// The number of the null stream, which waits for all streams that were not made non-blocking, and they for it.
pub(super) const NULL: usize = 1;

/// The clocks of a context, and who used which allocation last.
#[derive(Debug)]
pub(super) struct Order {
    clocks: Vec<Clock>,
    is_blocking: Vec<bool>,
    allocations: BTreeMap<u64, Uses>,
}

#[derive(Debug, Default)]
struct Uses {
    bytes: u64,
    write: Option<Use>,
    reads: Vec<Use>,
}

#[derive(Clone, Debug)]
struct Use {
    who: usize,
    time: u64,
    what: Arc<str>,
}

impl Clock {
    /// How many operations of `who` are done.
    pub(super) fn at(&self, who: usize) -> u64 {
        self.0.get(who).copied().unwrap_or(0)
    }

    fn join(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            *own = (*own).max(*other);
        }
    }

    fn tick(&mut self, who: usize) -> u64 {
        if self.0.len() <= who {
            self.0.resize(who + 1, 0);
        }
        self.0[who] += 1;
        self.0[who]
    }
}

impl Order {
    pub(super) fn new() -> Self {
        Self {
            clocks: vec![Clock::default(), Clock::default()],
            is_blocking: vec![false, true],
            allocations: BTreeMap::new(),
        }
    }

    /// A new stream's number. It begins with what the host knows.
    pub(super) fn add(&mut self, is_blocking: bool) -> usize {
        self.clocks.push(self.clocks[HOST].clone());
        self.is_blocking.push(is_blocking);
        self.clocks.len() - 1
    }

    /// Notes a new allocation.
    pub(super) fn allocate(&mut self, base: u64, bytes: u64) {
        self.allocations.insert(base, Uses { bytes, ..Uses::default() });
    }

    /// Where the allocation begins in which an address lies.
    pub(super) fn base_of(&self, address: u64) -> Option<u64> {
        let (base, uses) = self.allocations.range(..=address).next_back()?;
        (address < base + uses.bytes).then_some(*base)
    }

    /// Begins an operation of a stream, asked for by the host; its time.
    pub(super) fn begin(&mut self, who: usize) -> u64 {
        self.join(who, HOST);
        if who == NULL {
            for other in 2..self.clocks.len() {
                if self.is_blocking[other] {
                    self.join(NULL, other);
                }
            }
        } else if self.is_blocking[who] {
            self.join(who, NULL);
        }
        self.clocks[who].tick(who)
    }

    /// Notes that the operation of `who` that began last uses an allocation. If it is not ordered after an earlier
    /// use, the text says so.
    pub(super) fn touch(
        &mut self,
        who: usize,
        base: u64,
        writes: bool,
        what: &Arc<str>,
    ) -> Result<(), String> {
        let clock = &self.clocks[who];
        let uses = self.allocations.entry(base).or_default();
        let knows = |it: &Use| it.who == who || clock.at(it.who) >= it.time;
        let (verb, mut unknown) = (if writes { "writes" } else { "reads" }, None);
        if let Some(write) = uses.write.as_ref().filter(|it| !knows(it)) {
            unknown = Some((write, "wrote"));
        } else if writes && let Some(read) = uses.reads.iter().find(|it| !knows(it)) {
            unknown = Some((read, "read"));
        }
        let text = unknown.map(|(other, did)| {
            format!(
                "streams: {what} on stream {who} {verb} the allocation at {base:#x}, which {} {did} on stream {}, \
                 and nothing orders them: record an event after the first and wait for it before the second",
                other.what, other.who
            )
        });
        let own = Use { who, time: clock.at(who), what: Arc::clone(what) };
        if writes {
            uses.reads.clear();
            uses.write = Some(own);
        } else {
            uses.reads.retain(|it| it.who != who);
            uses.reads.push(own);
        }
        text.map_or(Ok(()), Err)
    }

    /// What used an allocation last, for a list of leaks.
    pub(super) fn last_use(&self, base: u64) -> Option<&str> {
        let uses = self.allocations.get(&base)?;
        uses.reads.last().or(uses.write.as_ref()).map(|it| &*it.what)
    }

    /// Forgets an allocation that is freed.
    pub(super) fn forget(&mut self, base: u64) {
        self.allocations.remove(&base);
    }

    /// What an event records: all that the stream was asked for so far.
    pub(super) fn clock(&self, who: usize) -> Clock {
        self.clocks[who].clone()
    }

    /// Lets `who` wait for what an event recorded.
    pub(super) fn wait(&mut self, who: usize, event: &Clock) {
        self.clocks[who].join(event);
    }

    /// Lets the host wait for a stream.
    pub(super) fn host_waits(&mut self, who: usize) {
        self.begin(who);
        self.join(HOST, who);
    }

    /// Lets the host wait for all streams.
    pub(super) fn host_waits_for_all(&mut self) {
        for who in 1..self.clocks.len() {
            self.join(HOST, who);
        }
    }

    fn join(&mut self, into: usize, from: usize) {
        if into != from {
            let other = self.clocks[from].clone();
            self.clocks[into].join(&other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(order: &mut Order, who: usize, writes: bool) -> bool {
        order.begin(who);
        order.touch(who, 0x1000, writes, &"a test".into()).is_ok()
    }

    #[test]
    fn a_use_on_another_stream_needs_an_event_between() {
        let mut order = Order::new();
        let (a, b) = (order.add(false), order.add(false));
        assert!(touch(&mut order, a, true));
        assert!(touch(&mut order, a, false), "a stream is in order with itself");
        assert!(!touch(&mut order, b, false), "nothing orders b after a");

        let mut order = Order::new();
        let (a, b) = (order.add(false), order.add(false));
        assert!(touch(&mut order, a, true));
        let event = order.clock(a);
        order.wait(b, &event);
        assert!(touch(&mut order, b, false));
        // a read the allocation only before b did, so that a write of a must wait for b's read.
        assert!(!touch(&mut order, a, true));
    }

    #[test]
    fn an_event_orders_only_what_was_before_it() {
        let mut order = Order::new();
        let (a, b) = (order.add(false), order.add(false));
        assert!(touch(&mut order, a, true));
        let early = order.clock(a);
        assert!(touch(&mut order, a, true));
        order.wait(b, &early);
        assert!(!touch(&mut order, b, false));
    }

    #[test]
    fn the_host_orders_streams_by_waiting() {
        let mut order = Order::new();
        let (a, b) = (order.add(false), order.add(false));
        assert!(touch(&mut order, a, true));
        order.host_waits(a);
        assert!(touch(&mut order, b, true), "b is asked after the host waited for a");
    }

    #[test]
    fn the_null_stream_orders_only_streams_that_block() {
        let mut order = Order::new();
        let (plain, free) = (order.add(true), order.add(false));
        assert!(touch(&mut order, plain, true));
        assert!(touch(&mut order, NULL, true));
        assert!(touch(&mut order, plain, true));
        assert!(!touch(&mut order, free, true));
    }

    #[test]
    fn two_streams_may_read_at_once() {
        let mut order = Order::new();
        let (a, b) = (order.add(false), order.add(false));
        assert!(touch(&mut order, NULL, true));
        order.host_waits_for_all();
        assert!(touch(&mut order, a, false));
        assert!(touch(&mut order, b, false));
        order.host_waits(a);
        assert!(!touch(&mut order, a, true), "b may still read");
    }
}
