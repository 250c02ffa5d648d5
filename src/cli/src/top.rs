//! `top`: running containers, what they use, and how contained they are.

use std::collections::HashMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use casemate_spec::{Error, Result};
use clap::Args;
use hyper::Method;
use rustix::termios::isatty;
use serde_json::Value;

use crate::client::Client;
use crate::verbs::table;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(2);
/// Clears the screen, and begins at its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// `casemate top`
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Look twice, print once, and end
    #[arg(long)]
    once: bool,
}

/// Nanoseconds of processors used: by the container, by the host.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    container: f64,
    host: f64,
}

/// Shows containers until it is interrupted.
///
/// # Errors
/// The daemon says no.
pub async fn run(client: &Client, args: &TopArgs) -> Result<ExitCode> {
    let live = !args.once && isatty(rustix::stdio::stdout());
    let mut before: HashMap<String, Used> = HashMap::new();
    let mut policies: HashMap<String, [String; 2]> = HashMap::new();
    look(client, &mut before, &mut policies).await?;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let rows = look(client, &mut before, &mut policies).await?;
        if live {
            write!(std::io::stdout(), "{CLEAR}").map_err(|e| Error::io("standard output", &e))?;
        }
        table::print(["NAME", "POLICY", "GRADE", "CPU", "MEMORY", "LIMIT", "PIDS", "STATUS"], &rows)?;
        if args.once {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

async fn look(
    client: &Client,
    before: &mut HashMap<String, Used>,
    policies: &mut HashMap<String, [String; 2]>,
) -> Result<Vec<[String; 8]>> {
    let listed = client.call(Method::GET, "/containers/json", None).await?;
    let mut rows = Vec::new();
    let mut now = HashMap::new();
    for container in listed.as_array().into_iter().flatten() {
        let id = container["Id"].as_str().unwrap_or_default().to_owned();
        let path = format!("/containers/{id}/stats?stream=0&one-shot=1");
        // It may have ended since it was listed.
        let Ok(stats) = client.call(Method::GET, &path, None).await else { continue };
        if !policies.contains_key(&id) {
            policies.insert(id.clone(), policy(client, &id).await);
        }
        let used = Used {
            container: number(&stats["cpu_stats"]["cpu_usage"]["total_usage"]),
            host: number(&stats["cpu_stats"]["system_cpu_usage"]),
        };
        let processors = number(&stats["cpu_stats"]["online_cpus"]).max(1.0);
        let share = before.get(&id).map_or(0.0, |last| share(*last, used, processors));
        let [policy, grade] = policies.get(&id).cloned().unwrap_or_default();
        rows.push([
            container["Names"][0].as_str().unwrap_or_default().trim_start_matches('/').to_owned(),
            policy,
            grade,
            format!("{share:.1}%"),
            table::size(number(&stats["memory_stats"]["usage"])),
            table::size(number(&stats["memory_stats"]["limit"])),
            number(&stats["pids_stats"]["current"]).to_string(),
            container["Status"].as_str().unwrap_or_default().to_owned(),
        ]);
        now.insert(id, used);
    }
    *before = now;
    Ok(rows)
}

/// Which policy it is under, and the grade that it has by it.
async fn policy(client: &Client, id: &str) -> [String; 2] {
    let Ok(known) = client.call(Method::GET, &format!("/containers/{id}/json"), None).await else {
        return Default::default();
    };
    let ours = &known["Casemate"];
    let name = ours["Policy"].as_str().unwrap_or("?").to_owned();
    let grade = ours["Grade"].as_str().unwrap_or("?");
    let exposure = ours["Exposure"].as_f64().map_or_else(String::new, |exposure| format!(" ({exposure:.1})"));
    [name, format!("{grade}{exposure}")]
}

/// Per cent of one processor.
fn share(last: Used, now: Used, processors: f64) -> f64 {
    let host = now.host - last.host;
    if host > 0.0 { (now.container - last.container).max(0.0) / host * processors * 100.0 } else { 0.0 }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}
