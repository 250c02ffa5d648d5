//! landlock(7): of all files, the network's parameters at most.

use std::error::Error as StdError;

use casemate_core::sys::landlock::abi;
use casemate_spec::{Error, Result};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, Scope,
};

const SETTINGS: &str = "/proc/sys/net";

/// The domain, or none where the kernel has no Landlock: then no file is root's own any more, at least.
///
/// # Errors
/// The kernel's.
pub fn rules(settings: bool) -> Result<Option<RulesetCreated>> {
    let abi = match abi() {
        0 => return Ok(None),
        number => ABI::from(i32::try_from(number).unwrap_or(0)),
    };
    let build = || -> Result<RulesetCreated, RulesetError> {
        // What this kernel knows is enforced, or nothing goes on.
        let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        ruleset = ruleset.handle_access(AccessFs::from_all(abi))?;
        // The sockets for names are bound, and nobody is connected to.
        if AccessNet::from_all(abi).contains(AccessNet::ConnectTcp) {
            ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
        }
        for scope in Scope::from_all(abi).iter() {
            ruleset = ruleset.scope(scope)?;
        }
        let rules = ruleset.create()?;
        // A kernel without the place has nothing to be set.
        let Some(place) = settings.then(|| PathFd::new(SETTINGS).ok()).flatten() else { return Ok(rules) };
        let kept: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile;
        rules.add_rule(PathBeneath::new(place, kept))
    };
    build().map(Some).map_err(|error| unsettled(&error))
}

/// There is no way back.
///
/// # Errors
/// The kernel's.
pub fn enter(rules: Option<RulesetCreated>) -> Result<()> {
    let Some(rules) = rules else { return Ok(()) };
    rules.no_new_privs(false).restrict_self().map(drop).map_err(|error| unsettled(&error))
}

/// The kernel's reason at the bottom of the crate's.
fn unsettled(error: &RulesetError) -> Error {
    let first: &(dyn StdError + 'static) = error;
    let mut causes = std::iter::successors(Some(first), |cause| (*cause).source());
    let errno = causes.find_map(|cause| cause.downcast_ref::<std::io::Error>()?.raw_os_error());
    match errno {
        Some(errno) => Error::os("enter the Landlock domain", errno),
        None => Error::new("enter the Landlock domain", error.to_string()),
    }
}
