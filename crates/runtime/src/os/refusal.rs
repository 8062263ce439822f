//! Owns the form in which a refused system call is reported: which call, why, and what would help.

use std::fmt;
use std::fs;
use std::io;

use super::sys::THREAD_CALLS;

/// A system call that was refused. Its text ends with the likely cause and a remedy.
#[derive(Debug)]
pub struct Refusal {
    pub(crate) call: &'static str,
    pub(crate) source: io::Error,
}

impl Refusal {
    /// Makes a refusal of `call` out of its error.
    pub(crate) fn of(call: &'static str) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self { call, source }
    }

    /// Why the system call was refused, as the error of the standard library.
    #[must_use]
    pub fn error(&self) -> &io::Error {
        &self.source
    }

    /// Its name in the metrics: the name of the errno in lower case. EACCES counts as EPERM, and an
    /// errno that is not listed here is `other`.
    pub(crate) fn label(&self) -> &'static str {
        match self.source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => "eperm",
            Some(libc::ENOSYS) => "enosys",
            Some(libc::ENOMEM) => "enomem",
            Some(libc::EINVAL) => "einval",
            _ => "other",
        }
    }

    /// The likely cause and what would help.
    pub(crate) fn cause_and_remedy(&self) -> String {
        let call = self.call;
        let is_ring = call.starts_with("io_uring_");
        let text = match self.source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS) if is_ring => {
                match io_uring_disabled().as_str() {
                    "1" => {
                        "kernel.io_uring_disabled is 1; set it to 0, or join the group of \
                         kernel.io_uring_group"
                    }
                    "2" => "kernel.io_uring_disabled is 2; set it to 0",
                    _ => {
                        "likely the container runtime's seccomp profile, or a kernel built without \
                         io_uring; allow io_uring_setup, io_uring_enter and io_uring_register"
                    }
                }
            }
            Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => {
                return format!("likely a seccomp profile without {call}; allow {call} in it");
            }
            Some(libc::EMFILE) => {
                "RLIMIT_NOFILE (ulimit -n) is used up; raise it, or ask for fewer threads, if there \
                 are several"
            }
            Some(libc::ENFILE) => "the machine has no descriptor left; raise fs.file-max",
            // musl reports every failure to start a thread as EAGAIN.
            Some(libc::EAGAIN) if call == THREAD_CALLS => {
                "likely the limit of threads (ulimit -u, or the cgroup's pids.max); raise it, or \
                 ask for fewer threads, if there are several; or else a seccomp profile without \
                 clone; allow clone in it"
            }
            Some(libc::ENOMEM) if is_ring => {
                "likely RLIMIT_MEMLOCK (ulimit -l), which limits registered buffers and, on some \
                 kernels, rings; raise it, or ask for fewer threads, if there are several"
            }
            Some(libc::ENOMEM | libc::ENOBUFS) => "no memory is left; raise the memory limit",
            Some(libc::EINVAL | libc::EOPNOTSUPP) if call == "io_uring_register" => {
                "the kernel is too old; registered buffers need Linux 6.15"
            }
            Some(libc::EINVAL) if is_ring => "the kernel is too old; io_uring needs Linux 6.1",
            _ => "this is not expected; please report it",
        };
        text.to_string()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} refused: {}: {}", self.call, self.source, self.cause_and_remedy())
    }
}

fn io_uring_disabled() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    text.trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_cause_and_remedy() {
        for (call, errno, text) in [
            ("socketpair", libc::EMFILE, "RLIMIT_NOFILE"),
            ("socketpair", libc::EPERM, "a seccomp profile without socketpair"),
            (THREAD_CALLS, libc::EAGAIN, "pids.max"),
            (THREAD_CALLS, libc::EPERM, "without clone3 or clone"),
            ("mmap", libc::ENOMEM, "memory limit"),
            ("io_uring_setup", libc::EINVAL, "Linux 6.1"),
            ("io_uring_register", libc::ENOMEM, "RLIMIT_MEMLOCK"),
            ("io_uring_register", libc::EOPNOTSUPP, "Linux 6.15"),
            ("io_uring_register", libc::ENOSYS, "seccomp"),
        ] {
            let refusal = Refusal::of(call)(io::Error::from_raw_os_error(errno)).to_string();
            assert!(refusal.starts_with(call) && refusal.contains(text), "{refusal}");
        }
    }
}
