//! The pages for people: plain HTML and SVG, rendered by the program, without a script. A page
//! reloads itself.
//!
//! Whatever comes from elsewhere (names, errors, paths) goes through `html::Escaped`.

mod history;
mod html;
mod probes;
mod sparkline;
pub mod words;

pub use history::History;
pub use probes::probes;
