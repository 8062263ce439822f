//! How the bytes of large answers leave. `tier` decides, alone: it knows the thresholds and the
//! fallbacks. `ring` writes registered buffers, `pipe` splices pages, `outbound` is the cursor over
//! one answer, and `arena` is the memory that all of it comes from.

#[allow(unsafe_code)]
pub(crate) mod arena;
pub(crate) mod outbound;
pub(crate) mod pipe;
#[allow(unsafe_code)]
pub(crate) mod ring;
pub(crate) mod tier;
