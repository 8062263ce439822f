//! What the server says about itself: counters and their Prometheus text, and the access log.

pub(crate) mod access_log;
pub(crate) mod end;
pub(crate) mod exchange;
pub(crate) mod log_sink;
pub(crate) mod metrics;
pub(crate) mod name;
pub(crate) mod scrape;
pub(crate) mod tcp_facts;
