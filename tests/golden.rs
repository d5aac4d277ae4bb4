//! Numbers of the reference implementations, beside the scripts that made them.

mod networks;
pub(crate) use networks::plain_task;
mod ops;
mod training;
