//! The allocator of the server, and when it gives memory back. A crate of its own, because its one
//! setting is not safe code, and the program has none.

use libmimalloc_sys::{mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

/// Smaller in memory than the allocators of the C libraries, and as fast under each of them.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, in mimalloc 2 and 3; the crate has no name for it.
const PURGE_DELAY: mi_option_t = 15;

/// Gives pages back to the kernel as soon as nothing is left in them. By default mimalloc waits a
/// second, and then for another page to be freed: in a server that is idle after a spike none is,
/// and its memory would stay with it. Called before any thread is started.
pub fn give_back_at_once() {
    // SAFETY: mi_option_set takes two numbers and ignores an option that it does not know. It stores
    // one word; a thread that allocates meanwhile would see the delay of before or after it.
    unsafe { mi_option_set(PURGE_DELAY, 0) };
}
