//! Whether the recorded policy admits the bundle; what the bundle asks for and no run shows is added to it.

use std::path::Path;

use casemate_policy::judge;
use casemate_spec::{Error, Result};

use super::document::Document;
use super::seen::Seen;
use crate::birth::Bundle;
use crate::choice;
use crate::cli::Global;

/// Finds out whether a policy in this directory will be taken, before a long recording is for nothing.
///
/// # Errors
/// Others may write there, or we may not.
pub fn try_place(global: &Global, output: &Path) -> Result<()> {
    let name = format!("trial-{}.toml", std::process::id());
    super::store(output, &name, "extends = \"strict\"")?;
    let path = output.join(&name);
    let found = std::path::absolute(&path)
        .map_err(|error| Error::io(path.display().to_string(), &error))
        .and_then(|path| choice::Policies::on(global).find(&path.to_string_lossy()));
    std::fs::remove_file(&path).map_err(|error| Error::io(format!("remove {}", path.display()), &error))?;
    found.map(drop).map_err(|error| error.within("a policy recorded there would not be taken"))
}

/// Each round adds every remedy there is; another is needed only where a rule hides behind another.
const ROUNDS: usize = 4;

/// Writes the policy, has it judge the bundle, and takes over the remedies that it names, until it admits it. Gives
/// what was taken over.
///
/// # Errors
/// The policy cannot be written or read back.
pub fn settle(
    global: &Global,
    output: &Path,
    bundle: &Bundle,
    policy: &mut Document,
    seen: &mut Seen,
) -> Result<Vec<String>> {
    let mut admitted = Vec::new();
    for _round in 0..ROUNDS {
        super::store(output, "policy.toml", &policy.text())?;
        let path = std::path::absolute(output.join("policy.toml"))
            .map_err(|error| Error::io(output.display().to_string(), &error))?;
        let resolved = choice::Policies::on(global).find(&path.to_string_lossy())?;
        let config = casemate_spec::parse(&bundle.bytes)?;
        let Err(denied) = judge(config, &resolved, &bundle.facts) else { return Ok(admitted) };
        let mut news = false;
        for violation in denied.violations() {
            let reason = format!("asked by the bundle: {}: {}", violation.field, violation.asked);
            let Some(remedy) = &violation.remedy else { continue };
            if policy.admit(remedy, &reason) {
                admitted.push(remedy.clone());
                news = true;
            }
        }
        if !news {
            for violation in denied.violations() {
                seen.note(format!("the policy does not admit the bundle: {violation}"));
            }
            return Ok(admitted);
        }
    }
    super::store(output, "policy.toml", &policy.text()).map(|()| admitted)
}
