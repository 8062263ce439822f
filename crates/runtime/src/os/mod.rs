//! What the kernel offers: system calls, clocks, cgroups, CPUs, and the event loop's driver.

pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod event_loop;
pub(crate) mod placement;
pub(crate) mod refusal;
#[allow(unsafe_code)]
pub(crate) mod sys;
