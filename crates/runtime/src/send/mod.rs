//! How large answers are sent. `tier` alone decides it: it knows the thresholds and the fallbacks.
//! `ring` writes from registered buffers, `pipe` splices pages, `outbound` is the cursor over one
//! answer, and `arena` is the memory that heads and payloads come from.

#[allow(unsafe_code)]
pub(crate) mod arena;
pub(crate) mod outbound;
pub(crate) mod pipe;
#[allow(unsafe_code)]
pub(crate) mod ring;
pub(crate) mod tier;
