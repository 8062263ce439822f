//! Runs the prober as the settings say, and returns the exit code.

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;

use crate::args::{self, Asked};
use crate::client::{HEADER_FIELDS_MAX, Proxies, Resolver, Route, Target, Tls};
use crate::dry_run;
use crate::log;
use crate::metrics::Metrics;
use crate::once;
use crate::output::{Full, NAME, Output, complain, print};
use crate::probe::{Equipment, ServerProbes};
use crate::run_loop;
use crate::settings::{RunLoop, Settings};
use crate::stop::Stop;
use crate::testfile::{self, Case};
use crate::web::{self, Readiness};

/// Does what the command line `words`, without the program's name, and the environment ask for.
pub(crate) async fn run(
    words: impl IntoIterator<Item = String>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> ExitCode {
    match try_run(words, environment).await {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            for line in &failure.lines {
                complain(NAME, line);
            }
            ExitCode::from(failure.code)
        }
    }
}

struct Failure {
    lines: Vec<String>,
    code: u8,
}

impl Failure {
    fn of(error: impl Display) -> Self {
        Self { lines: vec![error.to_string()], code: EXIT_REFUSED }
    }
}

async fn try_run(
    words: impl IntoIterator<Item = String>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<u8, Failure> {
    let arguments = match args::parse(words, environment).map_err(Failure::of)? {
        Asked::Print(page) => {
            print(&page);
            return Ok(0);
        }
        Asked::Probe(arguments) => arguments,
    };
    let settings = Settings::new(&arguments).map_err(|misuses| Failure {
        lines: misuses.iter().map(ToString::to_string).collect(),
        code: EXIT_REFUSED,
    })?;
    let cases = cases(&settings)?;
    if settings.dry_run {
        print(&dry_run::page(&settings));
        return Ok(0);
    }
    let tls = Tls::for_targets(&settings.servers, &settings.tls).map_err(Failure::of)?;
    let resolver = Resolver::new(settings.resolve.clone());
    let (header_fields_max, http) = (Some(HEADER_FIELDS_MAX), settings.http);
    let route = Route { resolver, tls, header_fields_max, http, ..Route::default() };
    let mut stop = Stop::on_signals().map_err(Failure::of)?;
    let mut again = stop.clone();
    tokio::spawn(async move {
        again.asked_again().await;
        std::process::exit(EXIT_SECOND_SIGNAL);
    });
    match &settings.run_loop {
        Some(run_loop) => {
            looping(&settings, run_loop, cases, &route, &mut stop).await?;
            Ok(0)
        }
        None => {
            let output = Output::start(settings.log_format, Full::Wait(stop.clone()));
            let output = output.map_err(Failure::of)?;
            let equipment = Equipment {
                settings: settings.clone(),
                cases,
                output: output.clone(),
                metrics: None,
            };
            let probes = probes(&route, equipment)?;
            let probes: Vec<_> = probes.iter().map(|server| server.probe(None)).collect();
            stop.or_after(settings.delay_start).await;
            if stop.is_asked() {
                return Ok(once::EXIT_STOPPED);
            }
            let code = once::run(&settings, &probes, &output, &mut stop).await;
            output.finish().await;
            Ok(code)
        }
    }
}

async fn looping(
    settings: &Settings,
    run_loop: &RunLoop,
    cases: Vec<Arc<Case>>,
    route: &Route,
    stop: &mut Stop,
) -> Result<(), Failure> {
    let metrics = Metrics::new(settings, run_loop, &cases).map_err(Failure::of)?;
    let output = Output::start(settings.log_format, Full::Drop(metrics.lines_dropped()));
    let output = output.map_err(Failure::of)?;
    let equipment = Equipment {
        settings: settings.clone(),
        cases,
        output: output.clone(),
        metrics: Some(metrics.clone()),
    };
    let servers = probes(route, equipment)?;
    let listener = web::bind(run_loop.port).await.map_err(|error| Failure {
        lines: vec![format!(
            "--port {}: cannot listen: {error}; choose another port",
            run_loop.port
        )],
        code: EXIT_NO_PORT,
    })?;
    let readiness = Readiness::default();
    tokio::spawn(web::serve(listener, metrics, readiness.clone()));
    stop.or_after(settings.delay_start).await;
    if stop.is_asked() {
        return Ok(());
    }
    if let Some(text) = log::startup(settings, run_loop, Timestamp::now()) {
        output.line(text).await;
    }
    run_loop::run(run_loop, servers, stop, &readiness).await;
    if let Some(text) = log::shutdown(settings.log_format, Timestamp::now()) {
        output.line(text).await;
    }
    output.finish().await;
    Ok(())
}

fn cases(settings: &Settings) -> Result<Vec<Arc<Case>>, Failure> {
    let mut loaded = testfile::load(&settings.files).map_err(Failure::of)?;
    if settings.is_compat_8 {
        loaded.cases.iter_mut().for_each(Case::default_to_json);
    }
    for warning in &loaded.warnings {
        complain(NAME, warning);
    }
    for server in settings.servers.iter().filter(|server| !server.path().is_empty()) {
        complain(NAME, format!("{server}: its path is not used; give it as --url-prefix"));
    }
    Ok(loaded.cases.into_iter().map(Arc::new).collect())
}

fn probes(route: &Route, equipment: Equipment) -> Result<Vec<ServerProbes>, Failure> {
    let proxies = Proxies::of_process();
    for warning in &proxies.warnings {
        complain(NAME, warning);
    }
    let equipment = Arc::new(equipment);
    let settings = &equipment.settings;
    let resolve_all = settings.run_loop.as_ref().is_some_and(|run_loop| run_loop.resolve_all);
    let server = |target: &Target| {
        let mut route = route.clone();
        if let Some(proxy) = proxies.for_target(target).filter(|_| !resolve_all) {
            complain(NAME, format!("{target} is reached by the proxy {proxy}"));
            route.proxy = Some(proxy.clone());
        }
        ServerProbes::new(Arc::clone(&equipment), target, route).map_err(Failure::of)
    };
    settings.servers.iter().map(server).collect()
}

// WebV's exit code for an invalid command line, file or value.
const EXIT_REFUSED: u8 = 1;
// What a shell reports for a program that SIGINT has ended.
const EXIT_SECOND_SIGNAL: i32 = 130;
// WebV exits with -1.
const EXIT_NO_PORT: u8 = 255;
