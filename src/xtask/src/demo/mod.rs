//! `demo`: a container whose bundle asks for no protection at all, what the default policy makes of it, and how one
//! rule is relaxed.

mod daemon;
mod host_view;
mod stage;

use std::fs;

use serde_json::{Value, json};

use crate::demo::stage::Stage;
use crate::failure::{Doing as _, Failure, Outcome};
use crate::{setup, workspace};

/// Shows everything, cleans up, and fails if the container could do what it must not.
pub fn run() -> Outcome {
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(
            "demo",
            "needs root: the container gets limits that only root can set here",
        ));
    }
    setup::packages(setup::DEMO)?;
    let programs = workspace::programs_under_test()?;
    let up = daemon::Up::start(&programs)?;
    let shown = up.show();
    up.clear().and(shown)?;
    let stage = Stage::build(programs.join("runtime"))?;
    let shown = show(&stage);
    stage.clear().and(shown)
}

fn show(stage: &Stage) -> Outcome {
    stage.title("A bundle that asks for no protection");
    stage.say(
        "a writable root, fourteen capabilities, no seccomp, no limits, nothing masked, the host's user ids",
    );
    stage.write(&stage.config(&["/bin/sh", "/inside.sh"]))?;
    stage.runtime(&["check", &stage.bundle()])?;

    stage.title("The same bundle at work, under the same policy: nobody had to name one");
    stage.runtime(&["run", "--bundle", &stage.bundle(), &stage.id])?;

    stage.title("Once more, seen from the host");
    stage.write(&stage.config(&["/bin/sleep", "3600"]))?;
    stage.runtime(&["run", "--detach", "--bundle", &stage.bundle(), &stage.id])?;
    let state: Value = serde_json::from_str(&stage.answer(&["state", &stage.id])?).doing("state")?;
    let pid = state["pid"].as_u64().ok_or_else(|| Failure::new("state", "no pid"))?;
    stage.say(&format!("{} is {}, process {pid} of the host", stage.id, state["status"]));
    host_view::print(pid)?;
    stage.show_line(&["state", &stage.id]);
    let ours = &state["casemate"];
    let count = ours["protections"].as_array().map_or(0, Vec::len);
    stage.say(&format!(
        "… \"casemate\": {{ \"policy\": {}, \"chosen\": {}, \"protections\": [ the {count} above, as enforced ] }}",
        ours["policy"], ours["chosen"]
    ));

    stage.title("One more process inside, a pause, and the end");
    stage.runtime(&["exec", &stage.id, "/bin/ps", "-o", "pid,args"])?;
    stage.runtime(&["pause", &stage.id])?;
    stage.runtime(&["list"])?;
    stage.runtime(&["resume", &stage.id])?;
    stage.runtime(&["delete", "--force", &stage.id])?;

    stage.title("How contained that is, and how contained it would have been to the letter");
    stage.runtime(&["grade", &stage.bundle()])?;
    stage.runtime(&["grade", &stage.bundle(), "--policy", "oci"])?;
    denial(stage)?;
    refusals(stage)
}

/// A container that wants the host's network, and a policy that differs from the default in that alone.
fn denial(stage: &Stage) -> Outcome {
    stage.title("What the policy denies, it explains");
    let mut config = stage.config(&["/bin/ls", "/sys/class/net"]);
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
    }
    stage.write(&config)?;
    stage.refused(&["run", "--bundle", &stage.bundle(), &stage.id])?;

    stage.title("One rule relaxed, for one container");
    let policy = stage.file("host-network.toml");
    let text = "extends = \"hardened\"\nnamespaces.shared_with_host = [\"network\"]\n";
    fs::write(&policy, text).doing(policy.display())?;
    stage.say("host-network.toml:");
    for line in text.lines() {
        stage.say(&format!("    {line}"));
    }
    let policy = policy.display().to_string();
    stage.runtime(&["--policy", &policy, "run", "--bundle", &stage.bundle(), &stage.id])
}

/// Configurations that cannot be: each is one line, and nothing is left of the attempt.
fn refusals(stage: &Stage) -> Outcome {
    stage.title("What no policy could admit");
    let mut wrong_type = stage.config(&["/bin/sh"]);
    wrong_type["process"]["args"] = json!(["/bin/sh", "-c", 7]);
    let mut host_setting = stage.config(&["/bin/sh"]);
    host_setting["linux"]["sysctl"] = json!({ "kernel.panic": "1" });
    for config in [wrong_type, host_setting] {
        stage.write(&config)?;
        stage.refused(&["run", "--bundle", &stage.bundle(), &stage.id])?;
    }
    Ok(())
}
