//! What the tests of this crate share: a server around a connection, and input for it.

pub(crate) mod driver;
pub(crate) mod messages;
pub(crate) mod mutation;
pub(crate) mod random;
pub(crate) mod vector;
pub(crate) mod wellformed;
