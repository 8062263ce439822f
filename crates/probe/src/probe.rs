//! One server and everything that is asked of it.

use std::sync::Arc;
use std::time::Instant;

use crate::client::{Client, ClientSettings, Phases, Request, RequestError, Target, Tls};
use crate::log::Log;
use crate::metrics::ServerMetrics;
use crate::output::Output;
use crate::record::{Record, Took, whole_milliseconds};
use crate::settings::Settings;
use crate::testfile::Case;
use crate::validation::{BodyCheck, validate};

/// Asks one server.
pub struct Probe {
    client: Client,
    prepared: Vec<(Arc<Case>, Request)>,
    tag: Option<String>,
    log: Log,
    output: Output,
    metrics: Option<ServerMetrics>,
}

impl Probe {
    /// Prepares all `cases` for `target`.
    ///
    /// # Errors
    ///
    /// A path or header that can not be written in HTTP.
    pub fn new(
        settings: &Settings,
        target: &Target,
        tls: Option<Tls>,
        cases: &[Arc<Case>],
        output: Output,
        metrics: Option<ServerMetrics>,
    ) -> Result<Self, RequestError> {
        let mut prepared = Vec::with_capacity(cases.len());
        for case in cases {
            let mut request = case.request(target, &settings.url_prefix)?;
            if settings.timing {
                request = request.with_query("timing")?;
            }
            prepared.push((Arc::clone(case), request));
        }
        let client_settings = ClientSettings {
            timeout: settings.timeout,
            keep_alive: settings.keep_alive,
            idle_max: settings.run_loop.as_ref().map_or(1, |run_loop| run_loop.max_concurrent),
        };
        Ok(Self {
            client: Client::new(target.clone(), tls, client_settings),
            prepared,
            tag: settings.tag.clone(),
            log: Log::new(settings),
            output,
            metrics,
        })
    }

    /// How many different requests there are.
    pub fn len(&self) -> usize {
        self.prepared.len()
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.prepared.is_empty()
    }

    /// The counters of the server, where there are any.
    pub fn metrics(&self) -> Option<&ServerMetrics> {
        self.metrics.as_ref()
    }

    /// Sends the request `index`, validates the answer, logs and counts it.
    pub async fn ask(&self, index: usize) -> Record {
        let (case, request) = &self.prepared[index];
        let server = self.client.target().as_str();
        let mut body = BodyCheck::new(case.validation.as_ref());
        let start = Instant::now();
        let mut phases = Phases::default();
        let answer = self.client.send(request, &mut body, &mut phases).await;
        let took = Took { duration: start.elapsed(), phases };
        let mut record = match answer {
            Ok(answer) => {
                let milliseconds = whole_milliseconds(took.duration);
                let verdict = validate(case, &answer, &body, milliseconds);
                Record::answered(case, server, took, &answer, verdict)
            }
            Err(error) => Record::lost(case, server, took, &error),
        };
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
