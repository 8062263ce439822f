//! The pages for people: plain HTML and SVG, rendered by the program, without a script. A page
//! reloads itself.
//!
//! Whatever comes from elsewhere (names, errors, paths) goes through `html::Escaped`.

mod cluster;
mod health;
mod history;
mod html;
mod node;
mod pair;
mod probes;
mod sparkline;
pub mod words;
mod worst;

pub use cluster::cluster;
pub use history::History;
pub use node::{NodeView, node};
pub use pair::pair;
pub use probes::probes;
