//! Options, environment, conflicts, exit codes of the command line.

mod process;

use std::net::TcpListener;

use process::{Folder, finish, program, run};

const GOOD: [&str; 4] = ["-s", "localhost:1", "-f", "a.json"];

fn refused(arguments: &[&str], message: &str) {
    let outcome = run(&Folder::new(), arguments);
    assert_eq!(outcome.code, 1, "{arguments:?}: {outcome:?}");
    assert!(outcome.err.contains(message), "{arguments:?}: {:?}", outcome.err);
    assert_eq!(outcome.out, "", "{arguments:?}");
}

fn refused_beside_good(arguments: &[&str], message: &str) {
    refused(&[&GOOD, arguments].concat(), message);
}

fn dry(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let folder = Folder::new();
    for name in ["a.json", "a", "b", "c", "f"] {
        folder.file(name, r#"{"requests": [{"path": "/"}]}"#);
    }
    let mut command = program(&folder);
    command.args(arguments).arg("--dry-run").envs(environment.iter().copied());
    let outcome = finish(&mut command);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{arguments:?}");
    outcome.out
}

fn row(page: &str, name: &str) -> String {
    let row = page.lines().find(|line| line.trim_start().starts_with(name));
    row.unwrap_or_else(|| panic!("{name} in {page}"))[19..].to_owned()
}

#[test]
fn version_is_printed_at_any_position() {
    for arguments in [&["--version"][..], &["-s", "x", "--no-such", "--version"], &["-V"]] {
        let outcome = run(&Folder::new(), arguments);
        assert_eq!((outcome.code, outcome.out.trim()), (0, env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn help_names_every_option() {
    for word in ["--help", "-h", "-?"] {
        let outcome = run(&Folder::new(), &[word]);
        assert_eq!(outcome.code, 0);
        for option in heartbeat_probe::command().get_arguments() {
            let name = option.get_long().unwrap();
            assert!(outcome.out.contains(&format!("--{name}")), "{name}");
        }
    }
}

#[test]
fn servers_and_files_are_required() {
    refused(&[], "--server: missing");
    refused(&["-s", "localhost"], "--files: missing");
    let outcome = run(&Folder::new(), &["-s", "-f", "a.json"]);
    assert_eq!((outcome.code, outcome.err.matches("--help").count()), (1, 1), "{outcome:?}");
    refused(&["-f", "a.json"], "--server: missing");
}

#[test]
fn defaults_are_those_of_webv() {
    let page = dry(&GOOD, &[]);
    for (name, value) in [
        ("Server", "http://localhost:1"),
        ("Files", "a.json"),
        ("Delay Start", "0"),
        ("Run Loop", "False"),
        ("Sleep", "0"),
        ("Max Errors", "10"),
        ("Summary", "None"),
        ("Timeout", "30"),
        ("Log Format", "TsvMin"),
        ("Verbose", "False"),
        ("Verbose Errors", "False"),
    ] {
        assert_eq!(row(&page, name), value, "{name}");
    }
    let page = dry(&[&GOOD[..], &["-r"]].concat(), &[]);
    for (name, value) in
        [("Sleep", "1000"), ("Duration", "0"), ("Random", "False"), ("Port", "8080")]
    {
        assert_eq!(row(&page, name), value, "{name}");
    }
}

#[test]
fn lists_are_separated_by_spaces_and_options_repeat() {
    let page = dry(&["-s", "localhost", "x.org", "-f", "a", "b", "-s", "http://y", "-f", "c"], &[]);
    assert_eq!(row(&page, "Server"), "http://localhost https://x.org http://y");
    assert_eq!(row(&page, "Files"), "a b c");
}

#[test]
fn flags_take_an_optional_value_and_bundle() {
    let loops = |words: &[&str]| row(&dry(&[&GOOD, words].concat(), &[]), "Run Loop");
    for words in [&["-r"][..], &["--run-loop"], &["-r", "true"], &["--run-loop=True"]] {
        assert_eq!(loops(words), "True", "{words:?}");
    }
    assert_eq!(loops(&["--run-loop", "false"]), "False");
    let page = dry(&[&GOOD[..], &["-rv"]].concat(), &[]);
    assert_eq!((row(&page, "Run Loop"), row(&page, "Verbose")), ("True".into(), "True".into()));
}

#[test]
fn every_option_has_its_short_form_and_variable() {
    let page = dry(
        &[
            "-s",
            "localhost",
            "-f",
            "f",
            "-u",
            "p/",
            "-t",
            "9",
            "-g",
            "json",
            "-v",
            "-l",
            "7",
            "-r",
            "-p",
            "99",
        ],
        &[],
    );
    let environment = [
        ("SERVER", "localhost"),
        ("FILES", "f"),
        ("URL_PREFIX", "/p"),
        ("TIMEOUT", "9"),
        ("LOG_FORMAT", "Json"),
        ("VERBOSE", "true"),
        ("SLEEP", "7"),
        ("RUN_LOOP", "true"),
        ("PORT", "99"),
    ];
    assert_eq!(page, dry(&[], &environment));
    assert_eq!(row(&page, "URL Prefix"), "/p");
    let long = [
        ("DELAY_START", "3"),
        ("TAG", "t"),
        ("REGION", "r"),
        ("ZONE", "z"),
        ("VERBOSE_ERRORS", "true"),
        ("MAX_ERRORS", "4"),
        ("SUMMARY", "xml"),
    ];
    let page = dry(&GOOD, &long);
    for (name, value) in [
        ("Delay Start", "3"),
        ("Tag", "t"),
        ("Region", "r"),
        ("Zone", "z"),
        ("Verbose Errors", "True"),
        ("Max Errors", "4"),
        ("Summary", "Xml"),
    ] {
        assert_eq!(row(&page, name), value, "{name}");
    }
    let looping = [("RUN_LOOP", "1"), ("DURATION", "5"), ("RANDOM", "true")];
    let page = dry(&GOOD, &looping);
    assert_eq!((row(&page, "Duration"), row(&page, "Random")), ("5".into(), "True".into()));
}

#[test]
fn the_help_page_fits_80_columns() {
    let outcome = run(&Folder::new(), &["--help"]);
    assert_eq!(outcome.code, 0);
    for line in outcome.out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn the_command_line_overrides_the_environment() {
    let environment = [("SERVER", "a b"), ("TIMEOUT", "9"), ("VERBOSE", "true")];
    let page = dry(&["-s", "c", "-f", "f", "-t", "8", "-v", "false"], &environment);
    assert_eq!(row(&page, "Server"), "https://c");
    assert_eq!((row(&page, "Timeout"), row(&page, "Verbose")), ("8".into(), "False".into()));
    let page = dry(&["-f", "f"], &environment);
    assert_eq!(row(&page, "Server"), "https://a https://b");
}

#[test]
fn an_empty_variable_counts_as_unset_and_a_wrong_one_is_reported() {
    let page = dry(&GOOD, &[("TIMEOUT", ""), ("VERBOSE", " "), ("SERVER", "")]);
    assert_eq!(row(&page, "Timeout"), "30");
    for (name, value) in [("TIMEOUT", "x"), ("VERBOSE", "maybe"), ("LOG_FORMAT", "yaml")] {
        let folder = Folder::new();
        let outcome = finish(program(&folder).args(GOOD).env(name, value));
        assert_eq!(outcome.code, 1);
        let message = format!("{name}={value}: not allowed: expected");
        assert!(outcome.err.contains(&message), "{}", outcome.err);
    }
}

#[test]
fn a_port_that_the_platform_sets_needs_no_run_loop() {
    assert_eq!(row(&dry(&GOOD, &[("PORT", "3000")]), "Run Loop"), "False");
}

#[test]
fn numbers_have_limits() {
    for (option, wrong, right) in [
        ("--timeout", "0", "1"),
        ("--timeout", "-1", "2147483647"),
        ("--timeout", "2147483648", "30"),
        ("--max-errors", "-1", "0"),
        ("--max-errors", "x", "10"),
        ("--delay-start", "-1", "0"),
        ("--sleep", "-1", "0"),
        ("--sleep", "1.5", "1"),
    ] {
        let wrong = [option, wrong];
        refused_beside_good(&wrong, &format!("{} {}: not allowed: expected", wrong[0], wrong[1]));
        dry(&[&GOOD[..], &[option, right]].concat(), &[]);
    }
    for (option, wrong, right) in [
        ("--port", "0", "1"),
        ("--port", "65536", "65535"),
        ("--duration", "-1", "0"),
        ("--max-concurrent", "0", "1"),
        ("--max-concurrent", "10001", "10000"),
        ("--rate", "0", "0.00001"),
        ("--rate", "10001", "10000"),
        ("--rate", "NaN", "0.5"),
    ] {
        let looping = [&GOOD[..], &["-r"]].concat();
        let message = format!("{option} {wrong}: not allowed: expected");
        refused(&[&looping[..], &[option, wrong]].concat(), &message);
        dry(&[&looping[..], &[option, right]].concat(), &[]);
    }
}

#[test]
fn sleep_in_a_loop_is_at_least_a_millisecond() {
    let page = dry(&[&GOOD[..], &["-r", "-l", "0"]].concat(), &[]);
    assert_eq!(row(&page, "Sleep"), "1");
}

#[test]
fn a_sleep_of_0_in_the_environment_of_a_loop_means_the_default() {
    let looping = [&GOOD[..], &["-r"]].concat();
    assert_eq!(row(&dry(&looping, &[("SLEEP", "0")]), "Sleep"), "1000");
    assert_eq!(row(&dry(&looping, &[("SLEEP", "7")]), "Sleep"), "7");
    assert_eq!(row(&dry(&GOOD, &[("SLEEP", "0")]), "Sleep"), "0");
}

#[test]
fn a_dry_run_reads_the_files() {
    let outcome = run(&Folder::new(), &[&GOOD[..], &["--dry-run"]].concat());
    assert_eq!((outcome.code, outcome.out.as_str()), (1, ""));
    assert!(outcome.err.contains("a.json: No such file"), "{}", outcome.err);
}

#[test]
fn buckets_must_rise_and_are_limited() {
    let looping = [&GOOD[..], &["-r", "--buckets"]].concat();
    let many = |count: usize| (1..=count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    for right in ["0.001", "0.001,0.01,1", &many(100)] {
        dry(&[&looping[..], &[right]].concat(), &[]);
    }
    dry(&[&looping[..], &["0.001", "0.01", "1"]].concat(), &[]);
    for wrong in ["x", "0", "0.1,0.1", "2,1", "1,", "inf", &many(101)] {
        let message = "--buckets ";
        refused(&[&looping[..], &[wrong]].concat(), message);
    }
}

#[test]
fn options_that_webv_lacks_have_variables_with_a_prefix() {
    let environment = [("RATE", "5"), ("KEY", "x"), ("CERT", "x"), ("RESOLVE", "x")];
    assert_eq!(row(&dry(&GOOD, &environment), "Run Loop"), "False");
    let looping = [&GOOD[..], &["-r"]].concat();
    assert_eq!(row(&dry(&looping, &[("PROBE_RATE", "5")]), "Sleep"), "200");
    assert_eq!(row(&dry(&GOOD, &[("PROBE_HTTP", "2")]), "HTTP"), "2");
}

#[test]
fn compat_chooses_the_defaults() {
    for (more, compat, format) in [
        (&[][..], "7", "TsvMin"),
        (&["-r"], "7", "TsvMin"),
        (&[], "8", "Tsv"),
        (&["-r"], "8", "JsonCamel"),
        (&["-r", "-g", "Json"], "8", "Json"),
    ] {
        let page = dry(&[&GOOD[..], more, &["--compat", compat]].concat(), &[]);
        assert_eq!(row(&page, "Log Format"), format);
    }
    refused_beside_good(
        &["--compat", "6"],
        "--compat 6: not allowed: expected a whole number from 7 to 8",
    );
}

#[test]
fn options_of_the_loop_need_it() {
    let message = |option: &str| format!("{option}: not allowed: expected with --run-loop only");
    refused_beside_good(&["--metrics", "webv"], &message("--metrics"));
    for option in ["--buckets", "--port", "--duration", "--max-concurrent", "--rate"] {
        refused_beside_good(&[option, "5"], &message(option));
    }
    for option in ["--resolve-all", "--random"] {
        refused_beside_good(&[option], &message(option));
    }
    dry(&[&GOOD[..], &["--random", "false", "--duration", "0"]].concat(), &[]);
}

#[test]
fn options_that_conflict_are_rejected() {
    refused_beside_good(&["-v", "-g", "None"], "--verbose with --log-format None: not allowed");
    refused_beside_good(&["-r", "--summary", "Tsv"], "--summary with --run-loop: not allowed");
    refused_beside_good(&["-r", "--rate", "5", "-l", "5"], "--rate with --sleep: not allowed");
    dry(&[&GOOD[..], &["-r", "--summary", "None"]].concat(), &[]);
    // Given in different places, the option on the command line overrides the other.
    let looping = [&GOOD[..], &["-r"]].concat();
    let page = dry(&[&looping[..], &["--rate", "20"]].concat(), &[("SLEEP", "7")]);
    assert_eq!(row(&page, "Sleep"), "50");
    let page = dry(&[&looping[..], &["--sleep", "7"]].concat(), &[("PROBE_RATE", "20")]);
    assert_eq!(row(&page, "Sleep"), "7");
}

#[test]
fn formats_are_recognized_in_any_case() {
    for name in ["TsvMin", "Tsv", "Json", "JsonCamel", "None", "json", "TSV"] {
        let page = dry(&[&GOOD[..], &["-g", name]].concat(), &[]);
        assert!(row(&page, "Log Format").eq_ignore_ascii_case(name));
    }
    refused_beside_good(&["-g", "ndjson"], "expected one of TsvMin, Tsv, Json, JsonCamel, None");
    refused_beside_good(&["--summary", "x"], "expected one of None, Tsv, Json, JsonCamel, Xml");
}

#[test]
fn options_that_webv_removed_are_errors() {
    for (words, hint) in [
        (&["--prometheus"][..], "always on"),
        (&["--strict-json"], "comments"),
        (&["-j"], "comments"),
        (&["--base-url", "x"], "name the files"),
        (&["--webv-prefix", "x"], "whole URLs"),
        (&["--webv-suffix=x"], "whole URLs"),
        (&["--json-log"], "--log-format Json"),
        (&["--summary-minutes", "5"], "--summary"),
        (&["--no-such"], "--no-such"),
        (&["-x"], "-x"),
    ] {
        refused_beside_good(words, hint);
    }
}

#[test]
fn invalid_servers_are_rejected() {
    refused(&["-s", "ftp://x", "-f", "f"], "--server ftp://x: not allowed: expected http or https");
    refused(&["-s", "http://x:99999", "-f", "f"], "expected a port");
}

#[test]
fn every_command_says_in_one_form_what_is_wrong() {
    for (words, line) in [
        (
            &["--serv", "x"][..],
            ": --serv: not allowed: no such option here; did you mean --server?",
        ),
        (&["x"], ": x: not allowed: no such command or argument here; see --help"),
        (&["-s", "x", "-f", "f", "--key", "k"], ": --key: not allowed: expected with --cert only"),
        (&["load"], " load: <URL>...: missing; see --help"),
        (&["load", "a", "-c", "0"], " load: --connections 0: not allowed: expected 1 to 20000"),
        (&["load", "a", "--json=3"], " load: --json=3: not allowed: expected no value"),
        (&["merge", "--no"], " merge: --no: not allowed: no such option here; see --help"),
        (
            &["path", "a", "--duration", "4s"],
            " path: --duration 4s: not allowed: expected 5s to 10m",
        ),
        (&["path", "ftp://a"], " path: ftp://a: not allowed: expected http or https as the scheme"),
        (
            &["mesh", "a", "--neighbors", "0"],
            " mesh: --neighbors 0: not allowed: expected 1 to 100",
        ),
    ] {
        let outcome = run(&Folder::new(), words);
        assert_eq!(outcome.err, format!("heartbeat-probe{line}\n"), "{words:?}");
        assert_eq!(outcome.out, "", "{words:?}");
    }
}

#[test]
fn a_port_that_is_taken_is_reported_with_exit_code_255() {
    let folder = Folder::new();
    let file = folder.file("t.json", r#"{"requests": [{"path": "/"}]}"#);
    let taken = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let outcome = run(&folder, &["-s", "localhost:1", "-f", &file, "-r", "-p", &port]);
    assert_eq!((outcome.code, outcome.out.as_str()), (255, ""));
    assert!(outcome.err.contains(&format!("--port {port}: cannot listen")), "{}", outcome.err);
}

#[test]
fn a_ca_file_must_contain_certificates() {
    let folder = Folder::new();
    let file = folder.file("t.json", r#"{"requests": [{"path": "/"}]}"#);
    let empty = folder.file("ca.pem", "nothing");
    for (ca, why) in [(empty.as_str(), "no certificate in it"), ("missing.pem", "missing.pem")] {
        let outcome = run(&folder, &["-s", "https://x", "-f", &file, "--ca-file", ca]);
        assert_eq!(outcome.code, 1);
        assert!(outcome.err.contains(why), "{}", outcome.err);
    }
}
