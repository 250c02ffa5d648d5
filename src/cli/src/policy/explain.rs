//! `policy explain`: asks the daemon, and shows people its answer.

use std::io::Write as _;
use std::process::ExitCode;

use casemate_spec::{Error, Result};
use clap::{Args, Parser, ValueEnum};
use hyper::Method;
use serde_json::{Value, json};

use crate::client::{Client, NOT_FOUND};
use crate::verbs::{RunArgs, body, escaped, table};

/// The exit status of an answer that is no; the runtime's for a bundle that is denied.
const DENIED: u8 = 3;

/// For the help.
pub const EXAMPLES: &str = "\
Examples:
  casemate policy explain web
  casemate policy explain -- --policy strict -v data:/data registry.example/app
  casemate policy explain --as 'casemate://acme/anna?groups=developer' container.start web
  casemate policy explain --as 'casemate://acme/anna?groups=developer' container.create -- --privileged busybox";

/// `casemate policy explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Whether somebody may do ACTION with OBJECT: a certificate's identity, casemate://TENANT/USER?groups=A,B
    #[arg(long = "as", value_name = "IDENTITY", requires = "words")]
    identity: Option<String>,
    /// Form of the answer
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "table")]
    format: Format,
    /// A container; with --as, an action and what it is about
    #[arg(value_name = "CONTAINER | ACTION [OBJECT]", num_args = 0..=2, required_unless_present = "flags")]
    words: Vec<String>,
    /// A container that is to be: flags, image and command as `casemate run` has them
    #[arg(last = true, value_name = "FLAGS IMAGE")]
    flags: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// What stands after `--`.
#[derive(Debug, Parser)]
#[command(name = "casemate policy explain --", no_binary_name = true)]
struct Planned {
    #[command(flatten)]
    run: RunArgs,
}

/// Asks, and shows the answer. Exit status 3 when it is no.
///
/// # Errors
/// The daemon cannot tell, or may not.
pub async fn run(client: &Client, args: &ExplainArgs) -> Result<ExitCode> {
    let planned = match args.flags.is_empty() {
        true => None,
        false => Some(planned(&args.flags)?),
    };
    let answer = match (&args.identity, args.words.as_slice(), planned) {
        (Some(identity), [action, rest @ ..], planned) => {
            let question = json!({
                "Identity": identity, "Action": action, "Object": rest.first(), "Container": planned,
            });
            client.call(Method::POST, "/casemate/authorization", Some(&question)).await?
        }
        (None, [], Some(planned)) => plan(client, &planned).await?,
        (None, [container], None) => {
            let path = format!("/casemate/containers/{}/policy", escaped(container));
            client.call(Method::GET, &path, None).await?
        }
        _ => {
            let error =
                Error::new("policy explain", "expected one container, or -- and a run's flags and image");
            return Err(error.hint("an ACTION with an OBJECT goes with --as").exit(2));
        }
    };
    match args.format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&answer);
            say(&format!("{}\n", text.map_err(|error| Error::new("answer", error.to_string()))?))?;
        }
        Format::Table => show(&answer)?,
    }
    Ok(if is_yes(&answer) { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
}

fn planned(flags: &[String]) -> Result<Value> {
    let planned = Planned::try_parse_from(flags);
    let planned = planned.map_err(|error| {
        let text = error.to_string();
        Error::new("policy explain", text.trim_start_matches("error: ").trim_end().to_owned()).exit(2)
    })?;
    Ok(body(&planned.run))
}

async fn plan(client: &Client, planned: &Value) -> Result<Value> {
    let answer = client.call(Method::POST, "/casemate/containers/policy", Some(planned)).await;
    answer.map_err(|error| match error.exit_code() {
        NOT_FOUND => error.hint("what becomes of a container depends on its image: `casemate pull` it first"),
        _ => error,
    })
}

fn is_yes(answer: &Value) -> bool {
    let allowed = [&answer["Allowed"], &answer["Authorization"]["Allowed"]];
    allowed.iter().all(|allowed| **allowed != Value::Bool(false))
        && answer["Judgement"]["verdict"] != "denied"
}

fn show(answer: &Value) -> Result<()> {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<11} {value}\n"));
    let verdict = |authorization: &Value| {
        let word = if authorization["Allowed"] == true { "allowed by" } else { "denied:" };
        format!("{word} {}", said(&authorization["Reason"]))
    };
    if let Some(name) = answer["Name"].as_str() {
        let id: String = said(&answer["Id"]).chars().take(12).collect();
        line("container", format!("{name} ({id})"));
    }
    if let Some(action) = answer["Action"].as_str() {
        line("principal", said(&answer["Principal"]));
        line("groups", list(&answer["Groups"]));
        line("action", format!("{action} on {}", said(&answer["Resource"])));
        line("verdict", verdict(answer));
    }
    if answer["Authorization"].is_object() {
        line("client", verdict(&answer["Authorization"]));
    }
    let judgement = &answer["Judgement"];
    if judgement.is_object() {
        let (name, chosen) = (said(&judgement["policy"]["name"]), said(&judgement["policy"]["chosen"]));
        line("policy", if chosen.contains(&name) { chosen } else { format!("{name}, {chosen}") });
        line("verdict", said(&judgement["verdict"]));
        if let Some(exposure) = judgement["grade"]["exposure"].as_f64() {
            line("grade", format!("{}, exposure {exposure:.1} of 10", said(&judgement["grade"]["word"])));
        }
    }
    say(&text)?;
    for violation in each(&judgement["violations"]) {
        say(&format!("\ndenied      {}: {}\n", said(&violation["field"]), said(&violation["asked"])))?;
        say(&format!("  rule      {}\n", said(&violation["rule"])))?;
        say(&format!("  allowed   {}\n", said(&violation["allowed"])))?;
        if let Some(remedy) = violation["remedy"].as_str() {
            say(&format!("  remedy    {remedy}\n"))?;
        }
    }
    let rows: Vec<_> = each(&judgement["protections"]).flat_map(protection).collect();
    if rows.is_empty() {
        return Ok(());
    }
    say("\n")?;
    table::print(["PROTECTION", "ASKED", "ENFORCED", "EXPOSURE", "RULE"], &rows)
}

/// A row, of as many lines as its longest cell needs.
fn protection(row: &Value) -> Vec<[String; 5]> {
    let exposure = row["exposure"].as_f64().filter(|exposure| *exposure > 0.0);
    let cells = [
        lines(&said(&row["name"]), 24),
        lines(&said(&row["asked"]), 34),
        lines(&said(&row["enforced"]), 40),
        vec![exposure.map_or_else(String::new, |exposure| format!("{exposure:.1}"))],
        lines(&said(&row["rule"]), 40),
    ];
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    (0..height).map(|n| cells.each_ref().map(|cell| cell.get(n).cloned().unwrap_or_default())).collect()
}

/// Words, in lines that are no longer than `width` where a word is not.
fn lines(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last().map_or(0, |line| line.chars().count());
        if last > 0 && last + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn said(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> String {
    each(value).map(said).collect::<Vec<_>>().join(", ")
}

fn say(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("standard output", &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_wrapped_at_words() {
        assert_eq!(lines("a bb ccc dddd", 6), ["a bb", "ccc", "dddd"]);
        assert_eq!(lines("wordthatislong x", 4), ["wordthatislong", "x"]);
        assert_eq!(lines("", 4), [""]);
        let row = protection(
            &json!({ "name": "n", "asked": "a a", "enforced": "e", "rule": "r", "exposure": 0.0 }),
        );
        assert_eq!(row, [["n", "a a", "e", "", "r"].map(str::to_owned)]);
    }

    #[test]
    fn a_planned_container_is_what_run_would_ask_for() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let body = planned(&words("--privileged -v /etc:/e --policy strict busybox sh -c x")).expect("flags");
        assert_eq!(body["Image"], "busybox");
        assert_eq!(body["Cmd"], json!(["sh", "-c", "x"]));
        assert_eq!(body["HostConfig"]["Privileged"], true);
        assert_eq!(body["HostConfig"]["SecurityOpt"], json!(["casemate.policy=strict"]));
        let error = planned(&words("--flies busybox")).expect_err("no such flag");
        assert!(error.exit_code() == 2 && error.to_string().contains("--flies"), "{error}");
    }
}
