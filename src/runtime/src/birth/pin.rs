//! What was judged is what is opened. A path of the configuration is looked at twice, by the policy and by the birth, and
//! whoever owns a directory on the way can put a link there in between: so what the verdict was about is opened here, and
//! held, and the birth is given the descriptors.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use casemate_core::birth::Failure;
use casemate_core::plan::{From, House, Plan, Space};
use casemate_policy::HostFacts;
use casemate_spec::{Error, Result};
use oci_spec::runtime::Spec;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, open, openat2, stat};
use rustix::io::Errno;

use crate::plan::Given;

/// The root is the plan's first source.
const ROOT: usize = 0;

/// A plan whose sources and joined namespaces are descriptors.
#[derive(Debug)]
pub(super) struct Pinned {
    /// The plan to carry out; the one it was made of has the words.
    pub(super) plan: Plan,
    held: Vec<OwnedFd>,
}

impl Pinned {
    /// The plan as it is: for the bundle to the letter, where nothing was judged.
    pub(super) fn nothing(plan: &Plan) -> Self {
        Self { plan: plan.clone(), held: Vec::new() }
    }

    /// Opens what `facts` were gathered about, but what a store has `given`; relative paths of the configuration are the bundle's.
    ///
    /// # Errors
    /// A path leads elsewhere than when it was judged, or nowhere.
    pub(super) fn judged(
        plan: &Plan,
        given: Option<&Given>,
        spec: &Spec,
        facts: &HostFacts,
        bundle: &Path,
    ) -> Result<Self> {
        let mut pinned = Self::nothing(plan);
        for (space, path) in &mut pinned.plan.spaces.join {
            let opened = namespace(*space, path, facts)?;
            *path = by_number(&opened)?;
            pinned.held.push(opened);
        }
        // A caller without the host's rights has its child open what it may not: a descriptor of ours is of no use there.
        if !facts.in_user_namespace {
            pinned.sources(given, spec, facts, bundle)?;
        }
        Ok(pinned)
    }

    /// A failure in the words of the plan that was pinned.
    pub(super) fn named(&self, plan: &Plan, failure: Failure) -> Failure {
        let Failure::IdMap { path, errno } = failure else { return failure };
        let index = self.plan.sources.iter().position(|source| source.path.to_bytes() == path.as_bytes());
        let named = index.and_then(|index| plan.sources.get(index));
        let path = named.map_or(path, |source| source.path.to_string_lossy().into_owned());
        Failure::IdMap { path, errno }
    }

    fn sources(
        &mut self,
        given: Option<&Given>,
        spec: &Spec,
        facts: &HostFacts,
        bundle: &Path,
    ) -> Result<()> {
        let leads: BTreeMap<PathBuf, &PathBuf> =
            facts.sources.iter().map(|(source, lead)| (bundle.join(source), lead)).collect();
        let root = spec.root().as_ref().map(|root| bundle.join(root.path()));
        // What a store gives was not judged by its path, and is opened by whoever makes it.
        let made = |index: &usize| given.is_some_and(|given| given.makes(*index));
        for index in shown(&self.plan).into_iter().filter(|index| !made(index)) {
            let Some(source) = self.plan.sources.get_mut(index).filter(|source| source.instance.is_none())
            else {
                continue;
            };
            let planned = Path::new(OsStr::from_bytes(source.path.to_bytes()));
            // The plan names the root by where it led when it was planned, and binds as they are written.
            let asked = root.as_deref().filter(|_| index == ROOT).unwrap_or(planned);
            let judged = leads.get(asked).map_or(asked, |lead| lead.as_path());
            let opened = plainly(judged)?;
            source.path = by_number(&opened)?;
            self.held.push(opened);
        }
        Ok(())
    }
}

/// Opens a path that was judged: a link on it was not there then.
pub(super) fn plainly(judged: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat2(CWD, judged, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).map_err(|errno| {
        let error = Error::os(format!("open mount source {}", judged.display()), errno.raw_os_error());
        if errno != Errno::LOOP { error } else { error.hint("a symbolic link was put on the way") }
    })
}

/// Opens a namespace to join; one that is this process's own is the host's to give, and judged as that.
fn namespace(space: Space, path: &CStr, facts: &HostFacts) -> Result<OwnedFd> {
    let what = || format!("open {space} namespace {}", path.to_string_lossy());
    let failed = |errno: Errno| Error::os(what(), errno.raw_os_error());
    let opened = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    let theirs = fstat(&opened).map_err(failed)?;
    let own = stat(format!("/proc/self/ns/{}", space.file())).map_err(failed)?;
    let shared = (theirs.st_dev, theirs.st_ino) == (own.st_dev, own.st_ino);
    if shared && !was_judged_shared(facts, space) {
        return Err(Error::new(what(), "it leads to the host's own, and did not when it was judged"));
    }
    Ok(opened)
}

fn was_judged_shared(facts: &HostFacts, space: Space) -> bool {
    facts.host.shared.iter().any(|kind| crate::plan::space_kind(*kind) == space)
}

/// The sources that come from the configuration: the root, and what is bound for the container to see.
fn shown(plan: &Plan) -> Vec<usize> {
    let bound = plan.house.iter().filter_map(|step| match step {
        House::Root { .. } => Some(ROOT),
        House::Mount(mount) => match mount.from {
            From::Tree(index) => Some(index),
            From::New { .. } | From::Existing => None,
        },
        _ => None,
    });
    bound.collect()
}

fn by_number(opened: &OwnedFd) -> Result<CString> {
    CString::new(format!("/proc/self/fd/{}", opened.as_raw_fd()))
        .map_err(|_nul| Error::new("descriptor", "a NUL byte in its number"))
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxNamespaceType;

    use super::*;

    #[test]
    fn a_link_is_not_followed_after_the_verdict() {
        let dir = std::env::temp_dir().join(format!("casemate-pin-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("volume")).expect("make a directory");
        assert!(plainly(&dir.join("volume")).is_ok());
        std::fs::remove_dir(dir.join("volume")).expect("take it away");
        std::os::unix::fs::symlink("/etc", dir.join("volume")).expect("put a link there");
        let last = plainly(&dir.join("volume")).expect_err("the path itself is a link").to_string();
        let midway = plainly(&dir.join("volume/ssl")).expect_err("a link is on the way").to_string();
        std::fs::remove_dir_all(&dir).expect("clean up");
        assert!(last.contains("ELOOP") && midway.contains("ELOOP"), "{last}; {midway}");
    }

    #[test]
    fn the_hosts_own_namespace_is_joined_only_when_it_was_judged_to_be() {
        let mut facts = HostFacts::default();
        let own = c"/proc/self/ns/net";
        let refused = namespace(Space::Network, own, &facts).expect_err("nobody judged it").to_string();
        assert!(refused.contains("the host's own"), "{refused}");
        facts.host.shared.push(LinuxNamespaceType::Ipc);
        assert!(namespace(Space::Network, own, &facts).is_err(), "another kind was judged");
        facts.host.shared.push(LinuxNamespaceType::Network);
        assert!(namespace(Space::Network, own, &facts).is_ok());
    }
}
