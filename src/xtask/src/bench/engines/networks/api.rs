//! What the daemon itself takes, without the start of a client: asked by one `curl` on one connection.

use std::process::Command;

use super::super::engine::Engine;
use crate::command;
use crate::failure::{Doing as _, Failure, Outcome};

/// Milliseconds of each of a container's connects to these networks, one after the other.
pub fn connect(engine: &Engine, networks: &[String], container: &str) -> Outcome<Vec<f64>> {
    let (options, base) = engine.curl();
    let mut curl = Command::new("curl");
    let mut ask = |path: &str, body: Option<String>| {
        curl.args(["--silent", "--output", "/dev/null"]).args(&options);
        curl.args(["--write-out", "%{http_code} %{num_connects} %{time_total}\\n"]);
        if let Some(body) = body {
            curl.args(["--header", "Content-Type: application/json", "--data", &body]);
        }
        curl.args([&format!("{base}/{path}"), "--next"]);
    };
    ask("_ping", None);
    for network in networks {
        let body = serde_json::json!({ "Container": container });
        ask(&format!("networks/{network}/connect"), Some(body.to_string()));
    }
    ask("_ping", None);
    // Behind the last one nothing may follow.
    let mut words: Vec<_> = curl.get_args().collect();
    words.pop();
    let said = command::output(Command::new("curl").args(words))?;
    let mut taken = Vec::new();
    for (number, line) in said.lines().enumerate() {
        let [code, connects, seconds] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(Failure::new("curl", line));
        };
        if code != "200" || (number > 0 && connects != "0") {
            return Err(Failure::new(format!("{}: request {number}", engine.name), line));
        }
        taken.push(seconds.parse::<f64>().doing("curl")? * 1000.0);
    }
    // Between two pings.
    Ok(taken.into_iter().skip(1).take(networks.len()).collect())
}
