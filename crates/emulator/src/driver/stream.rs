//! Streams and events.

#![expect(unsafe_code, reason = "functions of C that return through pointers")]

use std::{
    ffi::{c_int, c_uint, c_void},
    time::Instant,
};

use super::{
    card::{Event, Here, Kind, here, put},
    code::{self, Code},
};

/// A stream of this flag does not wait for the null stream.
const NON_BLOCKING: c_uint = 1;
/// An event of this flag measures no time.
const DISABLE_TIMING: c_uint = 2;

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(stream: *mut u64, flags: c_uint) -> Code {
    here("cuStreamCreate", |here| {
        let new = here.context.next_handle(Kind::Stream, here.card);
        let number = here.context.order.add(flags & NON_BLOCKING == 0);
        here.context.streams.insert(new, number);
        // SAFETY: as the caller promises.
        unsafe { put(stream, new) }
    })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreateWithPriority(
    stream: *mut u64,
    flags: c_uint,
    _priority: c_int,
) -> Code {
    // SAFETY: the same promise.
    unsafe { cuStreamCreate(stream, flags) }
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: u64) -> Code {
    here("cuStreamDestroy_v2", |here| {
        here.context.streams.remove(&stream).map(drop).ok_or(code::ERROR_INVALID_HANDLE)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: u64) -> Code {
    here("cuStreamSynchronize", |here| {
        let who = here.context.stream(stream)?;
        here.context.order.host_waits(who);
        here.context.host.arrive(&here.context.order, here.faults);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(stream: u64, event: u64, _flags: c_uint) -> Code {
    here("cuStreamWaitEvent", |here| {
        let who = here.context.stream(stream)?;
        if let Some((clock, _)) = find(here, event)?.recorded.clone() {
            here.context.order.wait(who, &clock);
        }
        Ok(())
    })
}

/// Calls a function of the host when the stream's work is done.
///
/// # Safety
/// The function may be called with the pointer, and calls nothing of the driver.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchHostFunc(
    stream: u64,
    function: Option<unsafe extern "C" fn(*mut c_void)>,
    argument: *mut c_void,
) -> Code {
    here("cuLaunchHostFunc", |here| {
        here.context.stream(stream)?;
        let function = function.ok_or(code::ERROR_INVALID_VALUE)?;
        // SAFETY: as the caller promises.
        unsafe { function(argument) };
        Ok(())
    })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(event: *mut u64, flags: c_uint) -> Code {
    here("cuEventCreate", |here| {
        let new = here.context.next_handle(Kind::Event, here.card);
        let made =
            Event { has_time: flags & DISABLE_TIMING == 0, recorded: None, was_asked: false };
        here.context.events.insert(new, made);
        // SAFETY: as the caller promises.
        unsafe { put(event, new) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: u64) -> Code {
    here("cuEventDestroy_v2", |here| {
        here.context.events.remove(&event).map(drop).ok_or(code::ERROR_INVALID_HANDLE)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: u64, stream: u64) -> Code {
    here("cuEventRecord", |here| {
        let who = here.context.stream(stream)?;
        here.context.order.begin(who);
        let clock = here.context.order.clock(who);
        let event = find(here, event)?;
        (event.recorded, event.was_asked) = (Some((clock, Instant::now())), false);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: u64) -> Code {
    here("cuEventSynchronize", |here| host_waits_for(here, event))
}

/// An event is not ready when it is first asked for, and ready when it is asked for again.
#[unsafe(no_mangle)]
extern "C" fn cuEventQuery(event: u64) -> Code {
    here("cuEventQuery", |here| {
        let found = find(here, event)?;
        if found.recorded.is_some() && !found.was_asked {
            found.was_asked = true;
            return Err(code::ERROR_NOT_READY);
        }
        host_waits_for(here, event)
    })
}

/// # Safety
/// The pointer is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime(milliseconds: *mut f32, start: u64, end: u64) -> Code {
    here("cuEventElapsedTime", |here| {
        let mut time = |event| {
            let event = find(here, event)?;
            let recorded = event.recorded.as_ref().filter(|_| event.has_time);
            recorded.map(|(_, time)| *time).ok_or(code::ERROR_INVALID_HANDLE)
        };
        let (start, end) = (time(start)?, time(end)?);
        // SAFETY: as the caller promises.
        unsafe { put(milliseconds, end.saturating_duration_since(start).as_secs_f32() * 1e3) }
    })
}

fn find<'a>(here: &'a mut Here<'_>, event: u64) -> Result<&'a mut Event, Code> {
    here.context.events.get_mut(&event).ok_or(code::ERROR_INVALID_HANDLE)
}

fn host_waits_for(here: &mut Here<'_>, event: u64) -> Result<(), Code> {
    if let Some((clock, _)) = find(here, event)?.recorded.clone() {
        here.context.order.wait(super::order::HOST, &clock);
        here.context.host.arrive(&here.context.order, here.faults);
    }
    Ok(())
}
