//! What the command lines of all programs of Heartbeat have in common: sizes and times, and one
//! form of message for a command line that is wrong.

#![forbid(unsafe_code)]

mod misuse;
mod one_line;
mod stop;
mod units;

pub use misuse::Misuse;
pub use one_line::OneLine;
pub use stop::Stop;
pub use units::{size, time};
