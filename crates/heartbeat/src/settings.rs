//! Owns the step from texts to a [`Config`]. An option of the command line takes precedence over
//! its environment variable, and that over the default.

use std::net::IpAddr;

use clap::ArgMatches;
use clap::parser::ValueSource;
use heartbeat_protocol::{Site, SiteError, SiteOptions};
use heartbeat_runtime::{Admin, Config, Driver, LogFormat, Tier};

use crate::args;
use crate::failure::{Failure, quoted};
use crate::values::{self, Parsed};

const LOG_FORMATS: [(&str, LogFormat); 2] = [("tsv", LogFormat::Tsv), ("json", LogFormat::Json)];

const ON_OFF: [(&str, bool); 2] = [("on", true), ("off", false)];

const DRIVERS: [(&str, Option<Driver>); 3] =
    [("auto", None), ("uring", Some(Driver::IoUring)), ("epoll", Some(Driver::Epoll))];

const SEND_TIERS: [(&str, Option<Tier>); 5] = [
    ("auto", None),
    ("copy", Some(Tier::Copy)),
    ("registered", Some(Tier::Registered)),
    ("zerocopy", Some(Tier::Zerocopy)),
    ("splice", Some(Tier::Splice)),
];

/// Looks up an environment variable.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The texts of all options.
pub(crate) struct Settings<'a> {
    pub(crate) arguments: &'a ArgMatches,
    pub(crate) environment: Environment<'a>,
}

impl Settings<'_> {
    /// The configuration of the server.
    ///
    /// # Errors
    /// The first value that is not allowed.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let is_logging = self.required("log", values::switch)?;
        let log_format = self.required("log-format", |text| values::choice(text, &LOG_FORMATS))?;
        Ok(Config {
            port: self.port()?,
            address: self.optional("address", values::address)?,
            threads: self.required("threads", values::threads)?,
            io: self.required("io", |text| values::choice(text, &DRIVERS))?,
            send: self.required("send", |text| values::choice(text, &SEND_TIERS))?,
            log: is_logging.then_some(log_format),
            max_connections: self.optional("max-connections", values::connections)?,
            header_timeout: self.required("header-timeout", values::timeout)?,
            idle_timeout: self.required("idle-timeout", values::timeout)?,
            stall_timeout: self.required("stall-timeout", values::timeout)?,
            drain_delay: self.required("drain-delay", values::delay)?,
            drain_timeout: self.required("drain-timeout", values::timeout)?,
            version: env!("CARGO_PKG_VERSION"),
            revision: revision(),
            admin: self.admin()?,
            node: self.required("node", values::name)?,
            zone: self.required("zone", values::name)?,
            tcp_metrics: self.required("tcp-metrics", |text| values::choice(text, &ON_OFF))?,
            log_tcp: self.required("log-tcp", values::switch)?,
            site: self.site()?,
        })
    }

    fn admin(&self) -> Result<Option<Admin>, Failure> {
        let address = self.optional("admin-address", values::address)?;
        let Some(port) = self.optional("admin-port", values::port)? else {
            let typed = self.given("admin-address").typed;
            let alone = || Failure::usage(typed, "expected an --admin-port with it");
            return if address.is_some() { Err(alone()) } else { Ok(None) };
        };
        let main = self.optional("address", values::address)?;
        if port != 0 && port == self.port()? && overlap(address.or(main), main) {
            return Err(Failure::usage(
                self.given("admin-port").typed,
                "expected another port than that of the main listener, or addresses that do not \
                 include each other",
            ));
        }
        Ok(Some(Admin { port, address }))
    }

    /// The TCP port.
    ///
    /// # Errors
    /// The value is not a port.
    pub(crate) fn port(&self) -> Result<u16, Failure> {
        self.required("port", values::port)
    }

    fn site(&self) -> Result<Site, Failure> {
        let min_bytes = self.required("min", values::size_bytes)?;
        let max_bytes = self.required("max", values::size_bytes)?;
        let uri = self.given("uri");
        let options = SiteOptions {
            admin_port: self.optional("admin-port", values::port)?.is_some(),
            responsiveness: self.required("responsiveness", values::switch)?,
            aliases: self.required("aliases", values::switch)?,
        };
        let site = Site::new(&uri.text, min_bytes, max_bytes);
        site.and_then(|site| site.with_options(options)).map_err(|error| match error {
            SiteError::Sizes => Failure::usage(
                format_args!("{} with {}", self.given("min").typed, self.given("max").typed),
                "expected min <= max",
            ),
            _ => Failure::usage(uri.typed, format_args!("expected {error}")),
        })
    }

    /// The value of an option that has a default.
    fn required<T>(&self, name: &str, parse: fn(&str) -> Parsed<T>) -> Result<T, Failure> {
        let given = self.given(name);
        parse(&given.text).map_err(|expected| Failure::usage(given.typed, expected))
    }

    /// The value of an option without a default; None if it is not given.
    fn optional<T>(&self, name: &str, parse: fn(&str) -> Parsed<T>) -> Result<Option<T>, Failure> {
        if self.given(name).is_default { Ok(None) } else { self.required(name, parse).map(Some) }
    }

    fn given(&self, name: &str) -> Given {
        let is_typed = self.arguments.value_source(name) == Some(ValueSource::CommandLine);
        let variable = args::variable(name);
        if !is_typed
            && let Some(text) = (self.environment)(&variable)
            && !text.is_empty()
        {
            let typed = format!("{variable}={}", quoted(&text));
            return Given { text, typed, is_default: false };
        }
        let text = self.arguments.get_one::<String>(name).cloned().unwrap_or_default();
        let equals = if args::is_switch(name) { '=' } else { ' ' };
        let typed = format!("--{name}{equals}{}", quoted(&text));
        Given { text, typed, is_default: !is_typed }
    }
}

/// What is known about the value of an option.
struct Given {
    /// The value; empty if there is none.
    text: String,
    /// The option or the variable, and its value, as they are typed.
    typed: String,
    /// Whether neither the command line nor the environment has the option.
    is_default: bool,
}

/// The revision that the program was built from. The build sets the variable.
fn revision() -> &'static str {
    option_env!("HEARTBEAT_REVISION").filter(|text| !text.is_empty()).unwrap_or("unknown")
}

/// Whether two listeners on one port would conflict, because their addresses are the same or one
/// includes the other. None and `::` include every address of both families.
fn overlap(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return true };
    let includes = |one: IpAddr, other: IpAddr| {
        one.is_unspecified() && (one.is_ipv6() || other.to_canonical().is_ipv4())
    };
    one.to_canonical() == other.to_canonical() || includes(one, other) || includes(other, one)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Arg;
    use heartbeat_command_line::Stop;

    use super::*;
    use crate::args::parse;

    fn config(line: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let lookup = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned())
        };
        match parse(line.split_whitespace().map(str::to_owned)) {
            Ok(matches) => Settings { arguments: &matches, environment: &lookup }.config(),
            Err(Stop::Misuse(misuse)) => Err(misuse.into()),
            other => panic!("{other:?}"),
        }
        .map_err(|failure| failure.to_string())
    }

    /// [`Config`] does not implement `PartialEq`, but its debug form shows all fields.
    fn assert_same(left: &Config, right: &Config) {
        assert_eq!(format!("{left:?}"), format!("{right:?}"));
    }

    #[test]
    fn has_the_defaults_of_the_runtime() {
        let expected = Config {
            revision: revision(),
            ..Config::new(Site::new("/heartbeat/", 1, 1 << 20).unwrap())
        };
        assert_same(&config("", &[]).unwrap(), &expected);
    }

    #[test]
    fn takes_every_option_from_the_command_line_and_from_the_environment() {
        let secs = Duration::from_secs;
        let options = SiteOptions { admin_port: true, responsiveness: true, aliases: true };
        let admin_address = "127.0.0.1".parse().unwrap();
        let expected = Config {
            port: 0,
            address: Some("::1".parse().unwrap()),
            site: Site::new("/a/b/", 2, 2048).unwrap().with_options(options).unwrap(),
            threads: Some(3),
            io: Some(Driver::Epoll),
            send: Some(Tier::Zerocopy),
            log: Some(LogFormat::Json),
            max_connections: Some(7),
            header_timeout: secs(1),
            idle_timeout: secs(2),
            stall_timeout: secs(3),
            drain_delay: secs(0),
            drain_timeout: secs(5),
            version: env!("CARGO_PKG_VERSION"),
            revision: revision(),
            admin: Some(Admin { port: 9090, address: Some(admin_address) }),
            node: "edge-17".to_owned(),
            zone: "fra".to_owned(),
            tcp_metrics: false,
            log_tcp: true,
        };
        let values = [
            ("port", "0"),
            ("address", "::1"),
            ("uri", "/a/b"),
            ("min", "2"),
            ("max", "2k"),
            ("log", "true"),
            ("log-format", "json"),
            ("threads", "3"),
            ("io", "epoll"),
            ("send", "zerocopy"),
            ("max-connections", "7"),
            ("header-timeout", "1s"),
            ("idle-timeout", "2s"),
            ("stall-timeout", "3s"),
            ("drain-delay", "0s"),
            ("drain-timeout", "5s"),
            ("admin-port", "9090"),
            ("admin-address", "127.0.0.1"),
            ("node", "edge-17"),
            ("zone", "fra"),
            ("tcp-metrics", "off"),
            ("log-tcp", "true"),
            ("responsiveness", "true"),
            ("aliases", "true"),
        ];
        let typed = values.map(|(name, text)| format!("--{name}={text}")).join(" ");
        assert_same(&config(&typed, &[]).unwrap(), &expected);
        assert_same(&config(&typed.replace("--", "-"), &[]).unwrap(), &expected);

        let names = values.map(|(name, _)| format!("HB_{}", name.replace('-', "_")));
        let names = names.map(|name| name.to_ascii_uppercase());
        let variables: Vec<_> =
            names.iter().zip(values).map(|(name, (_, text))| (name.as_str(), text)).collect();
        assert_same(&config("", &variables).unwrap(), &expected);
    }

    #[test]
    fn prefers_the_command_line_to_the_environment_to_the_default() {
        let port = |line: &str, variables: &[(&str, &str)]| config(line, variables).unwrap().port;
        assert_eq!(port("-p 1", &[("HB_PORT", "2")]), 1);
        assert_eq!(port("", &[("HB_PORT", "2")]), 2);
        assert_eq!(port("-p 1", &[("HB_PORT", "x")]), 1);
        assert_eq!(port("", &[("HB_PORT", "")]), 8080);
        assert_eq!(port("", &[("HEARTBEAT_PORT", "tcp://10.0.0.1:80"), ("PORT", "1")]), 8080);
        assert!(config("--log=false", &[("HB_LOG", "true")]).unwrap().log.is_none());
    }

    #[test]
    fn takes_short_and_single_dash_and_repeated_options() {
        let config = config("-lp 80 -a ::1 -t2 -uri /x -min 1 -max=1024 -p 90", &[]).unwrap();
        assert_eq!((config.port, config.threads, config.log), (90, Some(2), Some(LogFormat::Tsv)));
        assert_eq!(config.site, Site::new("/x", 1, 1024).unwrap());
    }

    #[test]
    fn an_option_in_the_place_of_a_value_is_that_value_and_only_names_allow_it() {
        let mut command = args::command();
        command.build();
        let takes_next =
            |option: &&Arg| option.get_action().takes_values() && !option.is_require_equals_set();
        let names = command.get_arguments().filter(takes_next).filter_map(Arg::get_long);
        for name in names.filter(|name| !["node", "zone"].contains(name)) {
            for line in [format!("-{name} -log"), format!("--{name} -max=1 -log")] {
                let refused = config(&line, &[]).unwrap_err();
                assert!(refused.starts_with(&format!("--{name} --")), "{line}: {refused}");
            }
        }
        for line in ["-node -log -zone -min=1", "--node -log --zone -min=1"] {
            let config = config(line, &[]).unwrap();
            assert_eq!((config.node.as_str(), config.zone.as_str()), ("--log", "--min=1"));
            assert!(config.log.is_none() && config.site.min() == 1, "{line}");
        }
        // An escape in the place of a value leaves what follows to be refused.
        assert!(config("--node -- -log", &[]).unwrap_err().starts_with("-o: "));
    }

    #[test]
    fn switches_the_log_as_go_does() {
        for (text, is_on) in [("-log=true", true), ("-log=F", false), ("-l=1", true)] {
            assert_eq!(config(text, &[]).unwrap().log.is_some(), is_on, "{text}");
        }
        assert!(config("-log -log=0", &[]).unwrap().log.is_none());
        assert!(config("", &[("HB_LOG", "T")]).unwrap().log.is_some());
        assert!(config("--log-format json", &[]).unwrap().log.is_none());
    }

    #[test]
    fn the_admin_listener_needs_another_port_or_another_address() {
        let admin = |line: &str| config(line, &[]).map(|config| config.admin);
        assert_eq!(admin("--admin-port 1"), Ok(Some(Admin { port: 1, address: None })));
        assert!(admin("-p 0 --admin-port 0").is_ok());
        let with = |main: &str, own: &str| {
            let main = if main.is_empty() { String::new() } else { format!("-a {main} ") };
            admin(&format!("{main}-p 1 --admin-port 1 --admin-address {own}"))
        };
        for (main, own) in [("127.0.0.1", "::1"), ("127.0.0.1", "127.0.0.2"), ("0.0.0.0", "::1")] {
            assert!(with(main, own).is_ok(), "{main} and {own}");
        }
        for (main, own) in [
            ("", "::1"),
            ("", "127.0.0.1"),
            ("::", "::"),
            ("::", "0.0.0.0"),
            ("0.0.0.0", "127.0.0.1"),
            ("127.0.0.1", "0.0.0.0"),
            ("127.0.0.1", "::ffff:127.0.0.1"),
            ("::1", "::"),
        ] {
            let refused = with(main, own).unwrap_err();
            assert!(refused.starts_with("--admin-port 1: "), "{main} and {own}: {refused}");
        }
        assert!(admin("-p 1 --admin-port 1").unwrap_err().starts_with("--admin-port 1: "));
        assert!(admin("-p 1 --admin-port 1 -a ::1").is_err());
        assert!(admin("--admin-address ::1").unwrap_err().starts_with("--admin-address ::1: "));
    }

    #[test]
    fn names_the_prefix_that_hides_an_enabled_resource() {
        assert!(config("--uri /echo", &[]).is_ok());
        assert!(config("--uri /echo --aliases", &[]).unwrap_err().starts_with("--uri /echo: "));
    }

    #[test]
    fn names_a_wrong_value_with_its_option_or_its_variable() {
        let size = "not allowed: expected digits with an optional K, M or G, from 1 to 1G";
        let cases = [
            ("--max 2T", vec![], format!("--max 2T: {size}")),
            ("", vec![("HB_MAX", "2T")], format!("HB_MAX=2T: {size}")),
            ("--min -1", vec![], format!("--min -1: {size}")),
            ("--min=", vec![], format!("--min \"\": {size}")),
            ("--log=maybe", vec![], "--log=maybe: not allowed: expected true or false".to_owned()),
            (
                "--min 2M",
                vec![("HB_MAX", "1K")],
                "--min 2M with HB_MAX=1K: not allowed: expected min <= max".to_owned(),
            ),
            (
                "--min 2M",
                vec![],
                "--min 2M with --max 1M: not allowed: expected min <= max".to_owned(),
            ),
            (
                "--uri heartbeat",
                vec![],
                "--uri heartbeat: not allowed: expected a path that starts with / and is more \
                 than /"
                    .to_owned(),
            ),
        ];
        for (line, variables, expected) in cases {
            assert_eq!(config(line, &variables).unwrap_err(), expected);
        }
    }
}
