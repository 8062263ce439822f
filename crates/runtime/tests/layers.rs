//! The order of the runtime's modules: a module uses only modules below it.
//!
//! docs/ARCHITECTURE.md draws this order; the test reads the `use crate::` lines of every file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// From the top down. The modules of one line must not use one another.
const LAYERS: &[&[&str]] = &[
    &["server"],
    &["start"],
    &["serve"],
    &["admission"],
    &["lane"],
    &["lane::uring", "lane::epoll"],
    &["lane::ring", "lane::roster"],
    &["connection::session"],
    &["connection::dialogue", "connection::socket", "connection::input"],
    &["place"],
    &["worker"],
    &["observe::tcp_facts"],
    &["observe::scrape", "connection::buffers"],
    &["connection::outbox"],
    &["shared"],
    &["observe::metrics"],
    &["observe::end"],
    &["deadlines"],
    &["handover"],
    &["listener"],
    &["turns"],
    &["shutdown"],
    &["report"],
    &["send::tier"],
    &["send::ring", "send::pipe"],
    &["send::outbound"],
    &["send::arena"],
    &["observe::access_log"],
    &["observe::log_sink", "observe::name"],
    &["observe::exchange"],
    &["config"],
    &["os::placement"],
    &["os::event_loop", "os::clock", "os::cgroup"],
    &["os::refusal", "os::sys"],
];

/// Test code that uses modules above it on purpose: it simulates a worker.
const TEST_ONLY: &str = "connection::simulation";

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The path of a module: `connection/session.rs` is `connection::session`.
fn module_of(file: &Path, root: &Path) -> String {
    let relative = file.strip_prefix(root).expect("a file below the root").with_extension("");
    relative.to_str().expect("UTF-8").replace('/', "::")
}

/// The modules that a file names in its `use crate::` lines. Those of its tests are left out.
fn used_modules(text: &str, known: &BTreeMap<&str, usize>) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut used = Vec::new();
    for statement in code.split(';') {
        let Some(at) = statement.find("use crate::") else { continue };
        let path: String = statement[at + "use crate::".len()..].split_whitespace().collect();
        let (prefix, names) = match path.split_once('{') {
            Some((prefix, names)) => (prefix, names.trim_end_matches('}')),
            None => ("", path.as_str()),
        };
        for name in names.split(',').filter(|name| !name.is_empty()) {
            let full = format!("{prefix}{name}");
            let module = known
                .keys()
                .filter(|module| full == **module || full.starts_with(&format!("{module}::")));
            let longest = module.max_by_key(|module| module.len());
            used.push(longest.unwrap_or_else(|| panic!("{full} has no layer")).to_string());
        }
    }
    used
}

#[test]
fn every_module_uses_only_modules_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let known: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(layer, modules)| modules.iter().map(move |module| (*module, layer)))
        .collect();
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let mut seen = 0;
    let mut upwards = Vec::new();
    for file in files {
        let module = module_of(&file, &root);
        let module = module.strip_suffix("::mod").unwrap_or(&module).to_string();
        if ["lib", "send", "os", "observe", "connection", TEST_ONLY].contains(&module.as_str()) {
            continue;
        }
        let layer = known.get(module.as_str());
        let layer = layer.unwrap_or_else(|| panic!("{module} has no layer: add it to LAYERS"));
        seen += 1;
        for used in used_modules(&fs::read_to_string(&file).unwrap(), &known) {
            if known[used.as_str()] <= *layer && used != module {
                upwards.push(format!("{module} uses {used}"));
            }
        }
    }
    assert_eq!(seen, known.len(), "LAYERS names a module that is not there");
    assert_eq!(upwards, Vec::<String>::new());
}

#[test]
fn every_name_of_a_use_line_is_found_and_those_of_tests_are_not() {
    let known = BTreeMap::from([("worker", 1), ("os::sys", 2), ("send::tier", 0)]);
    let text = "use std::io;\nuse crate::os::sys::{self, Way};\nuse crate::worker::Worker;\n\
                use crate::{worker, send::tier};\n#[cfg(test)]\nmod tests { use crate::server; }";
    assert_eq!(
        used_modules(text, &known),
        ["os::sys", "os::sys", "worker", "worker", "send::tier"]
    );
}
