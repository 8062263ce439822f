//! The allocator of both programs: which pages it gets from the kernel, and when it gives them
//! back. It is a crate of its own, because its settings need unsafe code, which the programs forbid.

use std::ffi::c_long;

use libmimalloc_sys::{mi_collect, mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

/// mimalloc takes less memory than the allocators of the C libraries. With it the server is equally
/// fast with each C library.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, in milliseconds; the crate has no names for options.
const PURGE_DELAY: mi_option_t = 15;

/// `mi_option_arena_reserve` of mimalloc.h, in KiB.
const ARENA_RESERVE: mi_option_t = 23;

/// Address space that mimalloc reserves at a time. Its table of that space takes memory even if
/// nothing is allocated: 180 KiB for the default of 1 GiB, 32 KiB for this value.
const ARENA_RESERVE_KIB: c_long = 64 * 1024;

/// Prepares the process before anything is allocated.
///
/// Transparent huge pages are disabled. If the machine gives them to every process (`always`, the
/// default of many distributions), an idle server would hold 7.0 MB instead of 1.6, and a thousand
/// connections 10 MB more. The feature `no_thp` of mimalloc no longer does this: mimalloc 3 ignores
/// the name that the feature defines.
///
/// Pages go back to the kernel as soon as they are empty. By default mimalloc waits a second, and
/// then until another page is freed. In a server that is idle after a spike no other page is freed,
/// so the server would keep that memory.
///
/// The C library calls the functions in this section (priority 101) before those without a
/// priority, such as the one that sets up mimalloc.
#[used]
#[unsafe(link_section = ".init_array.00101")]
static PREPARE: extern "C" fn() = {
    extern "C" fn prepare() {
        // SAFETY: prctl(2) takes numbers here, and no memory. A refusal costs memory and nothing
        // else.
        unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
        // SAFETY: mi_option_set takes two numbers, ignores an option that it does not know, and
        // stores them in a static table. There is no other thread yet.
        unsafe {
            mi_option_set(PURGE_DELAY, 0);
            mi_option_set(ARENA_RESERVE, ARENA_RESERVE_KIB);
        }
    }
    prepare
};

/// Gives back the memory that only the start needed: the pages that the calling thread has freed
/// and that mimalloc keeps for later allocations, and the pages of the program's code. The kernel
/// maps code again when it is executed; most of it parses options, and never is.
pub fn give_back() {
    // SAFETY: mi_collect takes a flag, and touches pages that are free.
    unsafe { mi_collect(true) };
    let code = (&raw const __executable_start, &raw const etext);
    let whole_pages = (code.1.addr() - code.0.addr()) / PAGE_BYTES * PAGE_BYTES;
    // SAFETY: these pages are a private mapping of the program's file, and none of them is ever
    // written: the linker refuses relocations in code (`-z text`), and the segment is not writable.
    // So the kernel reads the same bytes from the file again. A refusal costs memory and nothing
    // else.
    unsafe { libc::madvise(code.0.cast_mut().cast(), whole_pages, libc::MADV_DONTNEED) };
}

/// The smallest pages of Linux. With larger ones, madvise(2) rounds the length up to the end of the
/// last page that has code: the linker puts no other segment into that page.
const PAGE_BYTES: usize = 4096;

unsafe extern "C" {
    /// Where the program's file begins in memory, and where its code ends (end(3)).
    static __executable_start: u8;
    static etext: u8;
}
