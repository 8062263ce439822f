//! One server and everything that it is asked for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::StatusCode;
use jiff::Timestamp;

use crate::client::{
    Answer, Client, ClientError, ClientSettings, Phases, Request, RequestError, Resolver, Route,
    Target,
};
use crate::log::Log;
use crate::metrics::{Metrics, ServerMetrics};
use crate::output::Output;
use crate::recognition::{Recognition, asks_for_payload, payload_prefix};
use crate::record::{Origin, Record, Took, whole_milliseconds};
use crate::settings::{Settings, Timing};
use crate::testfile::Case;
use crate::validation::{BodyCheck, BodyLimits, validate};

/// What all probes have in common.
pub(crate) struct Equipment {
    /// The settings of the run.
    pub settings: Settings,
    /// The requests to send.
    pub cases: Vec<Arc<Case>>,
    /// The destination of the log.
    pub output: Output,
    /// `None` for a single run: only a loop has metrics.
    pub metrics: Option<Metrics>,
}

/// Makes the probes of one server: one for whichever address answers first, or one for each.
pub(crate) struct ServerProbes {
    target: Target,
    route: Route,
    prepared: Arc<[Prepared]>,
    /// The path prefix below which a Heartbeat is asked for payloads; `None` if the server is not
    /// asked whether it is a Heartbeat.
    prefix: Option<String>,
    equipment: Arc<Equipment>,
}

struct Prepared {
    case: Arc<Case>,
    request: Request,
    /// The same request with `?timing`, for a server that has said that it is a Heartbeat. `None`
    /// if `?timing` would change the body of the answer, if nothing shows the timing, or if
    /// `--timing` settles for all servers what is sent.
    timed: Option<Request>,
    /// The path with `--url-prefix`.
    path: String,
}

/// Asks one server, or one address of it.
pub(crate) struct Probe {
    client: Client,
    prepared: Arc<[Prepared]>,
    recognition: Option<Recognition>,
    address: Option<String>,
    body_limits: BodyLimits,
    tag: Option<String>,
    dates_the_start: bool,
    log: Log,
    output: Output,
    metrics: Option<ServerMetrics>,
}

impl ServerProbes {
    /// Prepares all requests to `target`, which is reached by `route`.
    ///
    /// # Errors
    ///
    /// A path or header that cannot be written in HTTP.
    pub(crate) fn new(
        equipment: Arc<Equipment>,
        target: &Target,
        route: Route,
    ) -> Result<Self, RequestError> {
        let settings = &equipment.settings;
        let path = |case: &Case| format!("{}{}", settings.url_prefix, case.path);
        let paths: Vec<_> = equipment.cases.iter().map(|case| path(case)).collect();
        let recognizes = settings.timing == Timing::Heartbeat && settings.shows_timing();
        let prefix = payload_prefix(paths.iter().map(String::as_str)).filter(|_| recognizes);
        let prepared = equipment.cases.iter().zip(paths).map(|(case, path)| {
            let plain = case.request(target, &settings.url_prefix)?;
            let timed = || plain.clone().with_query("timing");
            let asks = prefix.as_ref().is_some_and(|prefix| asks_for_payload(&path, prefix));
            let (request, timed) = match settings.timing {
                Timing::Always => (timed()?, None),
                Timing::Heartbeat if asks => (plain.clone(), Some(timed()?)),
                Timing::Heartbeat | Timing::Never => (plain, None),
            };
            Ok(Prepared { case: Arc::clone(case), request, timed, path })
        });
        let prepared = prepared.collect::<Result<_, RequestError>>()?;
        Ok(Self { target: target.clone(), route, prepared, prefix, equipment })
    }

    /// A probe of this address, or of whichever address answers if it is `None`.
    pub(crate) fn probe(&self, address: Option<SocketAddr>) -> Probe {
        let settings = &self.equipment.settings;
        let client_settings = ClientSettings {
            timeout: settings.timeout,
            keep_alive: settings.keep_alive,
            cookies: settings.cookies,
            idle_max: settings.run_loop.as_ref().map_or(1, |run_loop| run_loop.max_concurrent),
        };
        let route = Route { address, ..self.route.clone() };
        // If only the encoding of the files' paths makes the prefix valid, it is not a Heartbeat's.
        let recognition = self.prefix.as_ref().and_then(|prefix| {
            let (target, route) = (self.target.clone(), route.clone());
            Recognition::new(target, route, prefix, settings.timeout).ok()
        });
        let address = address.map(|address| address.to_string());
        let metrics = self.equipment.metrics.as_ref();
        Probe {
            metrics: metrics
                .map(|metrics| metrics.server(self.target.as_str(), address.as_deref())),
            client: Client::new(self.target.clone(), route, client_settings),
            prepared: Arc::clone(&self.prepared),
            recognition,
            address,
            body_limits: BodyLimits::new(settings.max_body),
            tag: settings.tag.clone(),
            dates_the_start: settings.is_compat_8,
            log: Log::new(settings),
            output: self.equipment.output.clone(),
        }
    }

    /// Looks up every address of the server.
    ///
    /// # Errors
    ///
    /// Those of [`Resolver::addresses`].
    pub(crate) async fn addresses(&self) -> Result<Vec<SocketAddr>, ClientError> {
        let resolver: &Resolver = &self.route.resolver;
        resolver.addresses(&self.target).await
    }
}

impl Probe {
    /// How many different requests there are.
    pub(crate) fn len(&self) -> usize {
        self.prepared.len()
    }

    /// The URL of the server, without a path.
    pub(crate) fn server(&self) -> &str {
        self.client.target().as_str()
    }

    /// The counters of the server; `None` in a single run.
    pub(crate) fn metrics(&self) -> Option<&ServerMetrics> {
        self.metrics.as_ref()
    }

    /// Whether a validation error of the request `index` fails the run.
    pub(crate) fn fails_on_validation_error(&self, index: usize) -> bool {
        self.prepared[index].case.fail_on_validation_error
    }

    /// Asks the server whether it is a Heartbeat, which decides whether it is asked for its timing.
    pub(crate) async fn recognize(&self) {
        if let Some(recognition) = &self.recognition {
            recognition.ask(None).await;
        }
    }

    /// Does so at once, and again whenever another server may answer. It never returns.
    pub(crate) async fn keep_recognizing(&self) {
        match &self.recognition {
            Some(recognition) => recognition.follow().await,
            None => std::future::pending().await,
        }
    }

    /// Sends the request `index`, validates the answer, logs and counts it.
    pub(crate) async fn ask(&self, index: usize) -> Record {
        let Prepared { case, path, .. } = &self.prepared[index];
        let asked = self.asked(index);
        let mut body = BodyCheck::within(&self.body_limits, case.validation.as_ref());
        let (start, date) = (Instant::now(), Timestamp::now());
        let mut phases = Phases::default();
        let answer = self.client.send(asked.request, &mut body, &mut phases).await;
        let took = Took { duration: start.elapsed(), phases };
        self.learn(asked, &answer, &phases);
        let origin = Origin { server: self.server(), path, address: self.address.as_deref() };
        let mut record = match answer {
            Ok(answer) => {
                let milliseconds = whole_milliseconds(took.duration);
                let verdict = validate(case, &answer, &body, milliseconds);
                Record::answered(case, origin, took, &answer, verdict)
            }
            Err(error) => Record::lost(case, origin, took, &error),
        };
        if self.dates_the_start {
            record.date = date;
        }
        if record.tag.is_none() {
            record.tag.clone_from(&self.tag);
        }
        if let Some(metrics) = &self.metrics {
            metrics.observe(index, &record);
        }
        if let Some(line) = self.log.line(&record) {
            self.output.line(line).await;
        }
        record
    }

    /// The request that is sent for the case `index`.
    fn asked(&self, index: usize) -> Asked<'_> {
        let Prepared { request, timed, .. } = &self.prepared[index];
        let is_heartbeat = self.recognition.as_ref().is_some_and(Recognition::is_heartbeat);
        match timed {
            Some(timed) if is_heartbeat => Asked { request: timed, is_timed: true },
            _ => Asked { request, is_timed: false },
        }
    }

    /// Records which address answered, and whether the answer shows that it is no Heartbeat.
    fn learn(&self, asked: Asked<'_>, answer: &Result<Answer, ClientError>, phases: &Phases) {
        let Some(recognition) = &self.recognition else { return };
        if let Some(peer) = phases.opening.peer {
            recognition.connected(peer);
        }
        let has_payload = answer.as_ref().is_ok_and(|answer| answer.status == StatusCode::OK);
        if asked.is_timed && has_payload && phases.path.server.is_none() {
            recognition.deny();
        }
    }
}

/// The request that is sent.
#[derive(Clone, Copy)]
struct Asked<'a> {
    request: &'a Request,
    /// Whether it asks a Heartbeat for its timing.
    is_timed: bool,
}
