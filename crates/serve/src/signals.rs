//! The signals that a server heeds: SIGINT (Ctrl-C) and SIGTERM stop it, SIGHUP makes it look at its bundles.

use std::{io, thread};

use tokio::{
    runtime::Builder,
    signal::unix::{self, SignalKind, signal},
};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C or SIGTERM.
    Stop,
    /// SIGHUP.
    Reload,
}

/// Calls `handler` for each signal that the process gets from now on, on a thread of its own.
///
/// # Errors
/// The handlers of the system cannot be installed, or the thread not be started.
pub fn on_signals(handler: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let context = runtime.enter();
    // Installed when this returns.
    let [interrupt, terminate] =
        [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    let hang_up = signal(SignalKind::hangup())?;
    drop(context);
    let run = move || runtime.block_on(heed(interrupt, terminate, hang_up, handler));
    thread::Builder::new().name("signals".to_owned()).spawn(run)?;
    Ok(())
}

async fn heed(
    mut interrupt: unix::Signal,
    mut terminate: unix::Signal,
    mut hang_up: unix::Signal,
    mut handler: impl FnMut(Signal),
) {
    loop {
        let signal = tokio::select! {
            _ = interrupt.recv() => Signal::Stop,
            _ = terminate.recv() => Signal::Stop,
            _ = hang_up.recv() => Signal::Reload,
        };
        handler(signal);
    }
}
