//! The pages for people: plain HTML and SVG without a script. A page reloads itself.
//!
//! All foreign text (names, errors, paths) goes through `html::Escaped`.

mod cluster;
mod health;
mod history;
mod html;
mod node;
mod pair;
mod probes;
mod sparkline;
mod view;
pub(crate) mod words;
mod worst;

pub(crate) use cluster::cluster;
pub(crate) use history::History;
pub(crate) use node::{NodeView, node};
pub(crate) use pair::{pair, unknown_pair};
pub(crate) use probes::{probes, probes_json};
