//! One server and everything that is asked of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::client::{
    Client, ClientError, ClientSettings, Phases, Request, RequestError, Resolver, Route, Target,
};
use crate::log::Log;
use crate::metrics::{Metrics, ServerMetrics};
use crate::output::Output;
use crate::record::{Origin, Record, Took, whole_milliseconds};
use crate::settings::Settings;
use crate::testfile::Case;
use crate::validation::{BodyCheck, BodyLimits, validate};

/// What all probes have in common.
pub(crate) struct Equipment {
    /// Of the run.
    pub settings: Settings,
    /// What is asked.
    pub cases: Vec<Arc<Case>>,
    /// Where the log goes.
    pub output: Output,
    /// Only a loop has metrics.
    pub metrics: Option<Metrics>,
}

/// Makes the probes of one server: one for the address that answers first, or one for each.
pub(crate) struct ServerProbes {
    target: Target,
    route: Route,
    prepared: Arc<[Prepared]>,
    equipment: Arc<Equipment>,
}

struct Prepared {
    case: Arc<Case>,
    request: Request,
    /// With the prefix.
    path: String,
}

/// Asks one server, or one address of it.
pub(crate) struct Probe {
    client: Client,
    prepared: Arc<[Prepared]>,
    address: Option<String>,
    body_limits: BodyLimits,
    tag: Option<String>,
    dates_the_start: bool,
    log: Log,
    output: Output,
    metrics: Option<ServerMetrics>,
}

impl ServerProbes {
    /// Prepares everything that is asked for `target`, which is reached by `route`.
    ///
    /// # Errors
    ///
    /// A path or header that can not be written in HTTP.
    pub(crate) fn new(
        equipment: Arc<Equipment>,
        target: &Target,
        route: Route,
    ) -> Result<Self, RequestError> {
        let prefix = &equipment.settings.url_prefix;
        let prepared = equipment.cases.iter().map(|case| {
            let mut request = case.request(target, prefix)?;
            if equipment.settings.timing {
                request = request.with_query("timing")?;
            }
            Ok(Prepared { case: Arc::clone(case), request, path: format!("{prefix}{}", case.path) })
        });
        let prepared = prepared.collect::<Result<_, RequestError>>()?;
        Ok(Self { target: target.clone(), route, prepared, equipment })
    }

    /// A probe of this address, or of whichever answers.
    pub(crate) fn probe(&self, address: Option<SocketAddr>) -> Probe {
        let settings = &self.equipment.settings;
        let client_settings = ClientSettings {
            timeout: settings.timeout,
            keep_alive: settings.keep_alive,
            cookies: settings.cookies,
            idle_max: settings.run_loop.as_ref().map_or(1, |run_loop| run_loop.max_concurrent),
        };
        let route = Route { address, ..self.route.clone() };
        let address = address.map(|address| address.to_string());
        let metrics = self.equipment.metrics.as_ref();
        Probe {
            metrics: metrics
                .map(|metrics| metrics.server(self.target.as_str(), address.as_deref())),
            client: Client::new(self.target.clone(), route, client_settings),
            prepared: Arc::clone(&self.prepared),
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

    /// The counters of the server, where there are any.
    pub(crate) fn metrics(&self) -> Option<&ServerMetrics> {
        self.metrics.as_ref()
    }

    /// Whether a validation error of the request `index` is a failure.
    pub(crate) fn fails_on_validation_error(&self, index: usize) -> bool {
        self.prepared[index].case.fail_on_validation_error
    }

    /// Sends the request `index`, validates the answer, logs and counts it.
    pub(crate) async fn ask(&self, index: usize) -> Record {
        let Prepared { case, request, path } = &self.prepared[index];
        let mut body = BodyCheck::within(&self.body_limits, case.validation.as_ref());
        let (start, date) = (Instant::now(), Timestamp::now());
        let mut phases = Phases::default();
        let answer = self.client.send(request, &mut body, &mut phases).await;
        let took = Took { duration: start.elapsed(), phases };
        let origin = Origin {
            server: self.client.target().as_str(),
            path,
            address: self.address.as_deref(),
        };
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
}
