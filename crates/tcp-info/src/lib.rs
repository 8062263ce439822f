//! What the Linux kernel knows about the path of a TCP connection (tcp(7), TCP_INFO).
//!
//! The structure has grown with the kernel. The system call says how much of it this kernel has
//! filled in; fields beyond that length are `None` here. A field that this crate does not know yet
//! is ignored.
//!
//! Reading it takes one system call and allocates nothing. The call briefly takes the lock of the
//! socket, so a busy server should read it now and then and not for each request.

mod tcp_info;

pub use tcp_info::{TcpInfo, tcp_info};
