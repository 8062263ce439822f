//! The modules of the prober use one another without a cycle.
//!
//! A folder's `mod.rs` declares the modules below it, which does not count as use.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Uses = BTreeMap<String, BTreeSet<String>>;

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `load/text.rs` is `load::text`, and `load/mod.rs` is `load`.
fn module_of(file: &Path, root: &Path) -> String {
    let relative = file.strip_prefix(root).unwrap().with_extension("");
    let name = relative.to_str().unwrap().replace('/', "::");
    name.strip_suffix("::mod").unwrap_or(&name).to_owned()
}

/// The code of a file without its comments and its tests.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    code.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

/// `a::{b, c::{d, e}}` is `a::b`, `a::c::d`, `a::c::e`.
fn expanded(path: &str) -> Vec<String> {
    let Some((prefix, inner)) = path.split_once('{') else { return vec![path.to_owned()] };
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in inner.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match letter {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(letter),
        }
    }
    parts.iter().flat_map(|part| expanded(&format!("{prefix}{part}"))).collect()
}

/// All paths in `code` that begin with `crate::` or `super::`, relative to the root of the crate.
fn paths(code: &str, module: &str) -> Vec<String> {
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut found = Vec::new();
    for (at, word) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let follows_name = code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
        if follows_name {
            continue;
        }
        let rest = &code[at + word.len()..];
        let is_use = code[..at].trim_end().ends_with("use");
        let end = match is_use {
            true => rest.find(';'),
            false => rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':'),
        };
        let path: String = rest[..end.unwrap_or(rest.len())].split_whitespace().collect();
        let full = match word {
            "super::" if !parent.is_empty() => format!("{parent}::{path}"),
            _ => path,
        };
        found.extend(expanded(&full));
    }
    found
}

/// The longest module name that is the beginning of `path`.
fn owner<'a>(path: &str, modules: impl Iterator<Item = &'a String>) -> Option<String> {
    let begins = |module: &&String| path == *module || path.starts_with(&format!("{module}::"));
    modules.filter(begins).max_by_key(|module| module.len()).cloned()
}

fn uses(files: &BTreeMap<String, String>) -> Uses {
    let of = |(module, text): (&String, &String)| {
        let paths = paths(&code(text), module);
        let used = paths.iter().filter_map(|path| owner(path, files.keys()));
        (module.clone(), used.filter(|used| used != module).collect())
    };
    files.iter().map(of).collect()
}

/// What remains after repeatedly removing the modules that use none of the rest.
fn circles(uses: &Uses) -> Uses {
    let mut left = uses.clone();
    loop {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        left.values_mut().for_each(|used| used.retain(|name| names.contains(name)));
        left.retain(|_, used| !used.is_empty());
        if left.len() == names.len() {
            return left;
        }
    }
}

#[test]
fn no_module_uses_itself_through_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    rust_files(&root, &mut found);
    let files: BTreeMap<String, String> = found
        .iter()
        .map(|file| (module_of(file, &root), fs::read_to_string(file).unwrap()))
        .collect();
    let uses = uses(&files);
    assert!(uses["program"].contains("load"), "{uses:?}");
    assert_eq!(circles(&uses), Uses::new());
}

#[test]
fn a_cycle_is_found_through_lists_relative_paths_and_paths_within_code() {
    let circle = |texts: &[(&str, &str)]| {
        let own = |(module, text): &(&str, &str)| ((*module).to_owned(), (*text).to_owned());
        let found = circles(&uses(&texts.iter().map(own).collect()));
        found.into_keys().collect::<Vec<_>>()
    };
    let below = ("a::low", "fn f() {}");
    assert_eq!(
        circle(&[("a", "use crate::{b,\n    b::B};"), ("b", "// crate::a"), below]),
        [""; 0]
    );
    let tests = "#[cfg(test)]\nmod tests { use crate::a; }";
    assert_eq!(circle(&[("a", "use crate::b;"), ("b", tests)]), [""; 0]);
    assert_eq!(circle(&[("a", "use crate::{c, b::{B, C}};"), ("b", "crate::a::f()")]), ["a", "b"]);
    assert_eq!(
        circle(&[("a::x", "use super::y::Y;"), ("a::y", "super::x::f()")]),
        ["a::x", "a::y"]
    );
    let three = [("a", "use crate::b;"), ("b", "use crate::c;"), ("c", "use crate::a::A;"), below];
    assert_eq!(circle(&three), ["a", "b", "c"]);
}
