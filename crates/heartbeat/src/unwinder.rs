//! Owns the unwinder of the static binary: one that finds no stack to unwind.
//!
//! A panic aborts, and the static binary has no unwind tables, so that libgcc's unwinder would find
//! nothing either. All it could still serve is the backtrace that a panic prints if it is asked to:
//! without tables and names an empty list, for which the standard library brings a reader of debug
//! information along, a tenth of the binary. The compiler sees that this `_Unwind_Backtrace` never
//! calls back, and leaves the reader out. A panic prints its message and its place all the same.
//!
//! Objects come before archives, so that the linker has these and takes nothing from libgcc's
//! archive. Should a C library or a standard library ask for one more name, it takes that part of
//! the archive, finds the rest twice, and fails: no binary can have half of either.

use std::ffi::{c_int, c_void};
use std::process;

/// `_URC_END_OF_STACK` of the Itanium C++ ABI's exception handling, which x86-64 and AArch64 use.
const END_OF_STACK: c_int = 5;

/// Walks no frame, and says that there are no more.
// SAFETY: the name, the signature and the result are those of the ABI; `visit` is never called.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_visit: *const c_void, _argument: *mut c_void) -> c_int {
    END_OF_STACK
}

/// The other names that glibc or the standard library refer to, and never call: glibc unwinds in
/// `pthread_exit` and `pthread_cancel`, which nothing here calls; the rest serves exceptions.
macro_rules! never_called {
    ($($name:ident)*) => {$(
        // SAFETY: whatever a caller would pass or expect, it ends here.
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> ! {
            process::abort()
        }
    )*};
}

never_called! {
    _Unwind_DeleteException
    _Unwind_FindEnclosingFunction
    _Unwind_ForcedUnwind
    _Unwind_GetCFA
    _Unwind_GetDataRelBase
    _Unwind_GetGR
    _Unwind_GetIP
    _Unwind_GetIPInfo
    _Unwind_GetLanguageSpecificData
    _Unwind_GetRegionStart
    _Unwind_GetTextRelBase
    _Unwind_RaiseException
    _Unwind_Resume
    _Unwind_SetGR
    _Unwind_SetIP
    __gcc_personality_v0
}
