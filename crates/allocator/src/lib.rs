//! The allocator of the server, which pages it gets from the kernel, and when it gives them back. A
//! crate of its own, because its settings are not safe code, and the program has none.

use libmimalloc_sys::{mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

/// Smaller in memory than the allocators of the C libraries, and as fast under each of them.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, in mimalloc 2 and 3; the crate has no name for it.
const PURGE_DELAY: mi_option_t = 15;

/// Refuses transparent huge pages for this process before anything is allocated. If the machine
/// gives them to everybody (`always`, the default of many distributions), an idle server would hold
/// 7.0 MB instead of 1.9, and a thousand connections 10 MB more. The feature `no_thp` of mimalloc
/// does this no longer: mimalloc 3 ignores the name that it defines.
///
/// The C library calls the functions of this section before those without a priority, among them the
/// one that sets up mimalloc.
#[used]
#[unsafe(link_section = ".init_array.00101")]
static REFUSE_HUGE_PAGES: extern "C" fn() = {
    extern "C" fn refuse() {
        // SAFETY: prctl(2) takes numbers here, and no memory. A refusal costs memory and nothing
        // else.
        unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    }
    refuse
};

/// Gives pages back to the kernel as soon as nothing is left in them. By default mimalloc waits a
/// second, and then for another page to be freed: in a server that is idle after a spike none is,
/// and its memory would stay with it. Called before any thread is started.
pub fn give_back_at_once() {
    // SAFETY: mi_option_set takes two numbers and ignores an option that it does not know. It stores
    // one word; a thread that allocates meanwhile would see the delay of before or after it.
    unsafe { mi_option_set(PURGE_DELAY, 0) };
}
