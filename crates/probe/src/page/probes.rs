//! The page of the loop: every server and path, the worst first. For programs it is JSON.

use jiff::Timestamp;
use serde_json::json;

use super::history::{History, LastError, Row};
use super::html::{Escaped, add, document, tile};
use super::sparkline::{Point, sparkline};
use super::words;

/// Renders the last hour of the loop.
pub(crate) fn probes(history: &History) -> String {
    let (rows, beyond) = history.rows();
    let mut body = String::new();
    let servers: std::collections::BTreeSet<_> = rows.iter().map(|row| &row.server).collect();
    let (requests, errors) = rows
        .iter()
        .fold((0, 0), |(requests, errors), row| (requests + row.requests, errors + row.errors));
    body.push_str(
        "<nav><a href=\"/probes.json\">JSON</a> <a href=\"/metrics\">metrics</a></nav>\n\
         <h1>Heartbeat probe</h1>\n",
    );
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

/// The same rows for programs. `left_out` is true if there are more paths than rows.
pub(crate) fn probes_json(history: &History) -> String {
    let (rows, beyond) = history.rows();
    json!({"probes": rows, "left_out": beyond > 0}).to_string() + "\n"
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
        if let Some(LastError { date, text }) = &row.last_error {
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
                value: Some(minute.mean_us as f64),
                top: minute.longest_us as f64,
                is_error: minute.errors > 0,
            })
        })
        .collect();
    let longest = row.minutes.iter().flatten().map(|minute| minute.longest_us).max();
    let longest = words::micros(longest.unwrap_or(0));
    let title = format!("mean and longest duration by minute; the longest took {longest}");
    sparkline(body, &points, &title);
}

const REFRESH_S: u32 = 10;
