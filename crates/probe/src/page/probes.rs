//! The page of the loop: every server and path, the worst first.

use jiff::Timestamp;

use super::history::{History, Row};
use super::html::{Escaped, add, document, tile};
use super::sparkline::{Point, sparkline};
use super::words;

/// Renders the last hour of the loop.
pub(crate) fn probes(history: &History) -> String {
    let (mut rows, beyond) = history.rows();
    // The worst first; among those without errors, the slowest first.
    rows.sort_by(|one, other| {
        let errors = other.error_share().total_cmp(&one.error_share());
        errors.then(other.p99_us.cmp(&one.p99_us))
    });
    let mut body = String::new();
    let servers: std::collections::BTreeSet<_> = rows.iter().map(|row| &row.server).collect();
    let (requests, errors) = rows
        .iter()
        .fold((0, 0), |(requests, errors), row| (requests + row.requests, errors + row.errors));
    body.push_str("<nav><a href=\"/metrics\">metrics</a></nav>\n<h1>Heartbeat probe</h1>\n");
    body.push_str("<p class=\"soft\">What was asked in the last hour, the worst first</p>\n");
    body.push_str("<ul class=\"tiles\">\n");
    tile(&mut body, "", servers.len(), if servers.len() == 1 { "server" } else { "servers" });
    tile(&mut body, "", rows.len(), if rows.len() == 1 { "path" } else { "paths" });
    tile(&mut body, "", requests, "requests");
    let class = if errors == 0 { "good" } else { "fault" };
    tile(&mut body, class, errors, if errors == 1 { "error" } else { "errors" });
    body.push_str("</ul>\n");
    if rows.is_empty() {
        body.push_str("<p>Nothing has been asked yet.</p>\n");
    } else {
        table(&mut body, &rows);
    }
    if beyond > 0 {
        add!(body, "<p>There are more paths than this page has rows; /metrics has all.</p>\n");
    }
    document("Heartbeat probe", REFRESH_S, &body)
}

fn table(body: &mut String, rows: &[Row]) {
    body.push_str(
        "<div class=\"scroll\"><table class=\"cards long\">\n<thead><tr><th>server and path</th>\
         <th>last hour</th>\
         <th class=\"number\">p50</th><th class=\"number\">p99</th>\
         <th class=\"number\">throughput</th><th class=\"number\">requests</th>\
         <th class=\"number\">errors</th><th>last error</th></tr></thead>\n<tbody>\n",
    );
    let now = Timestamp::now();
    for row in rows {
        add!(
            body,
            "<tr><td class=\"wide says\">{}<small>{}</small></td><td class=\"wide\">",
            Escaped(&row.path),
            Escaped(&row.server),
        );
        chart(body, row);
        let micros = |value: Option<u64>| value.map_or_else(String::new, words::micros);
        let throughput = row.throughput_bps.map_or_else(String::new, words::bits_per_second);
        let level = if row.errors > 0 { "fault" } else { "good" };
        let errors = match row.errors {
            0 => "0".to_owned(),
            errors => format!("{errors} ({})", words::share(row.error_share())),
        };
        add!(
            body,
            "</td><td class=\"number\" data-name=\"p50\">{}</td>\
             <td class=\"number\" data-name=\"p99\">{}</td>\
             <td class=\"number\" data-name=\"throughput\">{throughput}</td>\
             <td class=\"number\" data-name=\"requests\">{}</td>\
             <td class=\"number\" data-name=\"errors\"><span class=\"mark {level}\">{errors}</span>\
             </td>",
            micros(row.p50_us),
            micros(row.p99_us),
            row.requests,
        );
        body.push_str("<td class=\"wide says\">");
        if let Some((date, text)) = &row.last_error {
            let seconds = now.duration_since(*date).unsigned_abs().as_secs();
            add!(body, "{}<small>{}</small>", Escaped(text), words::ago(seconds));
        }
        body.push_str("</td></tr>\n");
    }
    body.push_str("</tbody>\n</table></div>\n");
}

fn chart(body: &mut String, row: &Row) {
    let points: Vec<_> = row
        .minutes
        .iter()
        .map(|minute| {
            minute.map_or_else(Point::default, |minute| Point {
                value: Some(minute.mean_us),
                top: minute.longest_us,
                is_error: minute.errors > 0,
            })
        })
        .collect();
    let longest = row.minutes.iter().flatten().map(|minute| minute.longest_us).fold(0.0, f64::max);
    let longest = words::micros(longest as u64);
    let title = format!("mean and longest duration by minute; the longest took {longest}");
    sparkline(body, &points, &title);
}

impl Row {
    fn error_share(&self) -> f64 {
        self.errors as f64 / self.requests.max(1) as f64
    }
}

const REFRESH_S: u32 = 10;
