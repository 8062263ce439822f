//! The example in the README is the one on the crate's page, which is compiled and run.

use std::fs;
use std::path::Path;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file))
        .expect("a file of the repository")
}

#[test]
fn the_readme_shows_the_example_of_the_crate_page() {
    let page = read("src/lib.rs");
    let page = page.lines().map_while(|line| line.strip_prefix("//!"));
    let example: Vec<_> = page
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .skip_while(|line| *line != "```")
        .skip(1)
        .take_while(|line| *line != "```")
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert!(example.len() > 3, "{example:?}");
    let block = format!("```rust\n{}\n```\n", example.join("\n"));
    assert!(read("../../README.md").contains(&block), "the README has not\n{block}");
}
