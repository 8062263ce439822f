//! The allocator of the server, which pages it gets from the kernel, and when it gives them back. A
//! crate of its own, because its settings are not safe code, and the program has none.

use std::ffi::c_long;

use libmimalloc_sys::{mi_collect, mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

/// Smaller in memory than the allocators of the C libraries, and as fast under each of them.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, in milliseconds; the crate has no names for options.
const PURGE_DELAY: mi_option_t = 15;

/// `mi_option_arena_reserve` of mimalloc.h, in KiB.
const ARENA_RESERVE: mi_option_t = 23;

/// Address space that mimalloc reserves at a time. It keeps a table of it, which takes memory even
/// if nothing is allocated: 180 KiB for the 1 GiB that is the default, 32 KiB for this.
const ARENA_RESERVE_KIB: c_long = 64 * 1024;

/// Prepares the process before anything is allocated.
///
/// Transparent huge pages are refused: if the machine gives them to everybody (`always`, the default
/// of many distributions), an idle server would hold 7.0 MB instead of 1.6, and a thousand
/// connections 10 MB more. The feature `no_thp` of mimalloc does this no longer: mimalloc 3 ignores
/// the name that it defines.
///
/// Pages go back to the kernel as soon as nothing is left in them. By default mimalloc waits a
/// second, and then for another page to be freed: in a server that is idle after a spike none is,
/// and its memory would stay with it.
///
/// The C library calls the functions of this section before those without a priority, among them the
/// one that sets up mimalloc.
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

/// Gives the pages back that the calling thread has freed, and that mimalloc keeps for its next
/// allocations: the start of a program needs more than the rest of its life.
pub fn give_back() {
    // SAFETY: mi_collect takes a flag, and touches pages that are free.
    unsafe { mi_collect(true) };
}
