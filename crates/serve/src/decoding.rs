//! Requests take turns at decoding: one image each, however many images a request has.
//!
//! As many images are decoded at once as there are workers. What waits is queued by request, and a worker that is
//! free takes an image of the request that has waited longest for its turn; so a request of one image waits for one
//! image of each other request at most, and not for all of theirs.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot::{self, Receiver, Sender};

/// The workers, and who waits for one.
#[derive(Clone)]
pub(crate) struct Decoders(Arc<Mutex<State>>);

struct State {
    /// The workers that are free; none while anybody waits.
    n_free: usize,
    /// The waiting images by request, in the order of turns.
    waiting: VecDeque<(u64, VecDeque<Sender<Turn>>)>,
    n_requests: u64,
}

/// The images of a request.
pub(crate) struct Line {
    decoders: Decoders,
    request: u64,
}

/// The permission to decode an image, which is passed on when this is dropped.
pub(crate) struct Turn(Decoders);

impl Decoders {
    /// - `n`: how many images are decoded at once, at least one.
    pub(crate) fn new(n: usize) -> Decoders {
        let state = State { n_free: n.max(1), waiting: VecDeque::new(), n_requests: 0 };
        Decoders(Arc::new(Mutex::new(state)))
    }

    /// Returns the line of a new request.
    pub(crate) fn line(&self) -> Line {
        let mut state = self.lock();
        state.n_requests += 1;
        Line { decoders: self.clone(), request: state.n_requests }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a free worker, or waits in the line of a request.
    fn enter(&self, request: u64) -> Result<Turn, Receiver<Turn>> {
        let mut state = self.lock();
        if state.n_free > 0 {
            state.n_free -= 1;
            return Ok(Turn(self.clone()));
        }
        let (sender, receiver) = oneshot::channel();
        match state.waiting.iter_mut().find(|it| it.0 == request) {
            Some((_, line)) => line.push_back(sender),
            None => state.waiting.push_back((request, VecDeque::from([sender]))),
        }
        Err(receiver)
    }

    /// Returns whose turn it is; without any, the worker is free.
    fn next(&self) -> Option<Sender<Turn>> {
        let mut state = self.lock();
        while let Some((request, mut line)) = state.waiting.pop_front() {
            while let Some(sender) = line.pop_front() {
                // Its request was given up.
                if sender.is_closed() {
                    continue;
                }
                if !line.is_empty() {
                    state.waiting.push_back((request, line));
                }
                return Some(sender);
            }
        }
        state.n_free += 1;
        None
    }
}

impl Line {
    /// Waits until an image of this request may be decoded.
    pub(crate) async fn turn(&self) -> Turn {
        loop {
            match self.decoders.enter(self.request) {
                Ok(turn) => return turn,
                Err(receiver) => {
                    // A sender is dropped only where its receiver is gone.
                    if let Ok(turn) = receiver.await {
                        return turn;
                    }
                }
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(next) = self.0.next() {
            // If it was given up meanwhile, the turn comes back, and is passed on as it is dropped.
            drop(next.send(Turn(self.0.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::Receiver;

    use super::{Decoders, Line, Turn};

    /// Waits in a line, where no worker is free.
    fn wait(line: &Line) -> Receiver<Turn> {
        line.decoders.enter(line.request).err().unwrap()
    }

    #[test]
    fn requests_take_turns_however_many_images_they_have() {
        let decoders = Decoders::new(1);
        let [a, b, c] = [(); 3].map(|()| decoders.line());
        let mut turn = decoders.enter(a.request).ok();
        let mut waiting: Vec<(&str, Receiver<Turn>)> =
            [("a2", &a), ("a3", &a), ("a4", &a), ("b1", &b), ("b2", &b), ("c1", &c)]
                .map(|(name, line)| (name, wait(line)))
                .into();
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(turn.take());
            let got = |(at, it): (usize, &mut (&str, Receiver<Turn>))| {
                it.1.try_recv().ok().map(|turn| (at, turn))
            };
            let (at, next) = waiting.iter_mut().enumerate().find_map(got).unwrap();
            order.push(waiting.remove(at).0);
            turn = Some(next);
        }
        assert_eq!(order, ["a2", "b1", "c1", "a3", "b2", "a4"]);
        drop(turn);
        assert_eq!(decoders.lock().n_free, 1);
    }

    #[test]
    fn a_request_that_is_given_up_delays_nobody() {
        let decoders = Decoders::new(2);
        let [a, b] = [(); 2].map(|()| decoders.line());
        let turns = [&a, &a].map(|line| decoders.enter(line.request).ok().unwrap());
        let (given_up, mut kept) = ([wait(&a), wait(&a)], wait(&b));
        drop(given_up);
        drop(turns);
        let turn = kept.try_recv().unwrap();
        assert_eq!(decoders.lock().n_free, 1);
        // Given up after its turn has come.
        let also = decoders.enter(a.request).ok().unwrap();
        let late = wait(&a);
        drop(also);
        drop(late);
        drop(turn);
        assert_eq!(decoders.lock().n_free, 2);
    }
}
