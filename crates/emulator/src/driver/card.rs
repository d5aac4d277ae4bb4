//! The emulated cards and their contexts: what the driver keeps between calls.

use std::{
    any::Any,
    cell::Cell,
    collections::{BTreeMap, HashMap},
    env, fs,
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI32, AtomicUsize},
    },
    time::Instant,
};

use super::{
    code::{self, Code},
    host::Host,
    order::{Clock, NULL, Order},
};
use crate::{
    counts::Counts,
    exec::Program,
    memory::{Memory, MemoryError},
};

/// The most cards.
pub(super) const MOST_CARDS: usize = 16;
/// Memory of a card, unless a test sets it.
const MEMORY: u64 = 256 << 20;

/// How many cards the driver lists.
pub(super) static N_CARDS: AtomicUsize = AtomicUsize::new(8);
/// The CUDA version that the driver reports.
pub(super) static VERSION: AtomicI32 = AtomicI32::new(13_000);

static CARDS: [Mutex<Card>; MOST_CARDS] = [const { Mutex::new(Card::new()) }; MOST_CARDS];

thread_local! {
    /// The handle of this thread's context; 0 is none.
    pub(super) static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// A card.
pub(super) struct Card {
    /// Bytes of memory that its next context will have.
    pub(super) capacity: u64,
    /// Whether launches of its next context run their kernel.
    pub(super) runs_kernels: bool,
    /// Compute capability.
    pub(super) capability: (i32, i32),
    /// How often the primary context is retained.
    pub(super) n_retained: u32,
    /// Counts the contexts, so that the handle of a closed one is known to be old.
    pub(super) generation: u64,
    pub(super) context: Option<Context>,
    /// What went wrong, as texts.
    pub(super) faults: Vec<String>,
    /// What was not freed when the context was closed.
    pub(super) leaks: Vec<String>,
    /// What kernels did, by name.
    pub(super) counts: BTreeMap<String, Counts>,
    /// Calls of the driver, by name.
    pub(super) calls: BTreeMap<&'static str, u64>,
}

/// A context: what is lost when it is closed.
pub(super) struct Context {
    pub(super) memory: Memory,
    pub(super) order: Order,
    pub(super) host: Host,
    /// The error of a kernel that broke the context: every later call returns it.
    pub(super) broken: Option<Code>,
    pub(super) streams: HashMap<u64, usize>,
    pub(super) events: HashMap<u64, Event>,
    pub(super) modules: HashMap<u64, Program>,
    pub(super) kernels: HashMap<u64, Kernel>,
    n_handles: u64,
}

/// An event, and what it recorded last.
pub(super) struct Event {
    pub(super) has_time: bool,
    pub(super) recorded: Option<(Clock, Instant)>,
    /// Whether a query has said already that it is not ready.
    pub(super) was_asked: bool,
}

/// What a handle of a kernel stands for.
pub(super) struct Kernel {
    pub(super) module: u64,
    pub(super) index: usize,
    /// The dynamic shared memory that was asked for, if any was.
    pub(super) most_shared: Option<u32>,
}

/// What a handle refers to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Context = 1,
    Stream = 2,
    Event = 3,
    Module = 4,
    Kernel = 5,
    Pool = 6,
}

/// A handle: its kind, its card, and a number.
pub(super) fn handle(kind: Kind, card: usize, number: u64) -> u64 {
    (kind as u64) << 56 | (card as u64) << 48 | number
}

/// The card of a handle of this kind.
pub(super) fn card_of(kind: Kind, handle: u64) -> Result<usize, Code> {
    let card = (handle >> 48 & 0xff) as usize;
    if handle >> 56 == kind as u64 && card < MOST_CARDS {
        Ok(card)
    } else {
        Err(code::ERROR_INVALID_HANDLE)
    }
}

impl Card {
    const fn new() -> Self {
        Self {
            capacity: MEMORY,
            runs_kernels: true,
            capability: (9, 0),
            n_retained: 0,
            generation: 0,
            context: None,
            faults: Vec::new(),
            leaks: Vec::new(),
            counts: BTreeMap::new(),
            calls: BTreeMap::new(),
        }
    }

    /// The memory of its next context.
    fn memory(&self) -> Memory {
        match self.runs_kernels {
            true => Memory::new(self.capacity),
            false => Memory::without_kernels(self.capacity),
        }
    }

    /// Opens the context if it is the first that retains it.
    pub(super) fn retain(&mut self) {
        if self.context.is_none() {
            self.generation += 1;
            self.context = Some(Context::new(self.memory()));
        }
        self.n_retained += 1;
    }

    /// Closes the context if it is the last that releases it, and lists what is left in it.
    pub(super) fn release(&mut self) -> Result<(), Code> {
        self.n_retained = self.n_retained.checked_sub(1).ok_or(code::ERROR_INVALID_CONTEXT)?;
        if self.n_retained == 0
            && let Some(context) = self.context.take()
        {
            self.leaks.extend(context.leaks());
            if let Some(path) = env::var_os("EMULATOR_REPORT") {
                // A program whose report cannot be written is found by the test that reads it.
                drop(fs::write(path, self.report()));
            }
        }
        Ok(())
    }

    /// A line for each fault, leak and kernel, for tests that look at another process.
    fn report(&self) -> String {
        let faults = self.faults.iter().map(|it| format!("fault: {it}\n"));
        let leaks = self.leaks.iter().map(|it| format!("leak: {it}\n"));
        let counts = self.counts.iter().map(|(name, it)| format!("kernel: {name}: {it}\n"));
        faults.chain(leaks).chain(counts).collect()
    }
}

impl Context {
    fn new(memory: Memory) -> Self {
        Self {
            memory,
            order: Order::new(),
            host: Host::default(),
            broken: None,
            streams: HashMap::new(),
            events: HashMap::new(),
            modules: HashMap::new(),
            kernels: HashMap::new(),
            n_handles: 0,
        }
    }

    /// A handle that was not given out before.
    pub(super) fn next_handle(&mut self, kind: Kind, card: usize) -> u64 {
        self.n_handles += 1;
        handle(kind, card, self.n_handles)
    }

    /// The number of a stream among the clocks, from its handle; 0, 1 and 2 are the null stream.
    pub(super) fn stream(&self, handle: u64) -> Result<usize, Code> {
        match handle {
            0..=2 => Ok(NULL),
            _ => self.streams.get(&handle).copied().ok_or(code::ERROR_INVALID_HANDLE),
        }
    }

    fn leaks(&self) -> Vec<String> {
        let memory = self.memory.live().into_iter().map(|(base, bytes)| {
            let last = self
                .order
                .last_use(base)
                .map_or("never used".into(), |it| format!("last used by {it}"));
            format!("{bytes} bytes of device memory at {base:#x}, {last}")
        });
        let handles = [
            ("streams", self.streams.len()),
            ("events", self.events.len()),
            ("modules", self.modules.len()),
        ];
        let handles =
            handles.into_iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{n} {what}"));
        memory.chain(self.host.leaks()).chain(handles).collect()
    }
}

/// Runs a function of the driver: a panic of ours becomes an error instead of ending the program.
pub(super) fn call(body: impl FnOnce() -> Result<(), Code>) -> Code {
    match panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => code::SUCCESS,
        Ok(Err(code)) => code,
        Err(panic) => {
            let text = format!("a bug of the emulator: {}", text_of(&*panic));
            if let Ok(card) = card_of(Kind::Context, CURRENT.get()) {
                lock(card).faults.push(text);
            }
            code::ERROR_UNKNOWN
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// A card, locked.
pub(super) fn lock(card: usize) -> MutexGuard<'static, Card> {
    CARDS[card].lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a call within a context works on.
pub(super) struct Here<'a> {
    pub(super) card: usize,
    pub(super) context: &'a mut Context,
    pub(super) faults: &'a mut Vec<String>,
    pub(super) counts: &'a mut BTreeMap<String, Counts>,
}

impl Here<'_> {
    /// Keeps the text of what went wrong.
    pub(super) fn fault(&mut self, text: impl Into<String>) {
        self.faults.push(text.into());
    }

    /// Notes uses of an allocation by an operation of a stream; those that are not in order are faults.
    pub(super) fn touch(
        &mut self,
        who: usize,
        base: u64,
        writes: bool,
        what: &std::sync::Arc<str>,
    ) {
        if let Err(text) = self.context.order.touch(who, base, writes, what) {
            self.faults.push(text);
        }
    }

    /// Turns an error of the memory into the driver's, and keeps its text where it is a mistake of the caller.
    pub(super) fn check<T>(
        &mut self,
        what: &str,
        result: Result<T, MemoryError>,
    ) -> Result<T, Code> {
        result.map_err(|err| match err {
            MemoryError::OutOfMemory { .. } => code::ERROR_OUT_OF_MEMORY,
            err => {
                self.faults.push(format!("{what}: {err}"));
                code::ERROR_INVALID_VALUE
            }
        })
    }
}

/// Runs a call within the context of this thread.
pub(super) fn here(
    name: &'static str,
    body: impl FnOnce(&mut Here<'_>) -> Result<(), Code>,
) -> Code {
    call(|| {
        let current = CURRENT.get();
        let card = card_of(Kind::Context, current).map_err(|_| code::ERROR_INVALID_CONTEXT)?;
        let mut locked = lock(card);
        let Card { context, generation, faults, counts, calls, .. } = &mut *locked;
        *calls.entry(name).or_default() += 1;
        let context =
            context.as_mut().filter(|_| handle(Kind::Context, card, *generation) == current);
        let context = context.ok_or(code::ERROR_CONTEXT_IS_DESTROYED)?;
        if let Some(code) = context.broken {
            return Err(code);
        }
        body(&mut Here { card, context, faults, counts })
    })
}

/// Writes a result through a pointer that the caller gave.
///
/// # Safety
/// The pointer is null or valid for a write of `T`.
#[expect(unsafe_code, reason = "the driver's functions return through pointers")]
pub(super) unsafe fn put<T>(pointer: *mut T, value: T) -> Result<(), Code> {
    if pointer.is_null() {
        return Err(code::ERROR_INVALID_VALUE);
    }
    // SAFETY: it is not null, and the caller vouches for the rest.
    unsafe { pointer.write(value) };
    Ok(())
}
