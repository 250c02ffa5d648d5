//! Control groups: v1, hybrid and v2, with the cgroupfs and the systemd driver.
//!
//! [`Layout::discover`] finds the hierarchies once; [`Layout::place`] decides on directories without touching
//! anything, so that the decision can be written to the state first; [`Placement::create`] makes them and sets the
//! limits. How a process gets in:
//!
//! 1. `let cgroup = placement.create(resources)?` and `let entry = cgroup.entry()?`;
//! 2. clone3 with `entry.unified` as `CLONE_INTO_CGROUP`; the child writes `"0"` to each of `entry.tasks`;
//! 3. `let cgroup = cgroup.adopt(pid)?` while the child still waits. With the systemd driver this is where the unit is
//!    started and the limits are set (a scope cannot be made without a process); otherwise it does nothing.

mod apply;
mod apply_v1;
mod apply_v2;
mod convert;
mod create;
mod devices;
mod devices_v1;
mod devices_v2;
mod dir;
mod enter;
mod freeze;
mod kill;
mod layout;
mod oom;
mod parent;
mod place;
mod remove;
mod stats;
mod systemd;

#[cfg(test)]
mod tests;

use std::cell::OnceCell;

use casemate_spec::{Error, Result};
use oci_spec::runtime::LinuxResources;

pub use self::enter::Entry;
pub use self::layout::Layout;
pub use self::oom::{OomNews, OomWatch};
pub use self::place::{Placement, Wish};
pub use self::stats::Stats;

use self::dir::Dir;

/// signal(7)
const SIGKILL: i32 = 9;

/// A container's cgroups, open.
#[derive(Debug)]
pub struct Cgroup {
    v1: Vec<V1>,
    unified: Option<Dir>,
    placement: Placement,
    /// Why a rootless container does without a cgroup that it was not asked to have.
    denied: Option<Error>,
    /// What [`Cgroup::adopt`] has yet to set under the systemd driver.
    pending: Option<(LinuxResources, devices::Rules)>,
    /// The v2 controllers that are usable in `unified`, read when first needed.
    enabled: OnceCell<Vec<String>>,
}

/// One v1 hierarchy's directory.
#[derive(Debug)]
struct V1 {
    controllers: Vec<String>,
    dir: Dir,
}

/// The side that carries a controller.
#[derive(Debug, Clone, Copy)]
enum Side<'a> {
    V1(&'a Dir),
    Unified(&'a Dir),
}

impl Cgroup {
    /// Whether there is no directory at all: a rootless container without delegation, or one that was removed.
    pub fn is_empty(&self) -> bool {
        self.v1.is_empty() && self.unified.is_none()
    }

    /// Where the directories are.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    fn empty(placement: &Placement) -> Self {
        Self {
            v1: Vec::new(),
            unified: None,
            placement: placement.clone(),
            denied: None,
            pending: None,
            enabled: OnceCell::new(),
        }
    }

    fn v1_dir(&self, controller: &str) -> Option<&Dir> {
        self.v1.iter().find(|v1| v1.controllers.iter().any(|c| c == controller)).map(|v1| &v1.dir)
    }

    /// Where a controller, by its v1 name, is to be found on this host.
    fn side(&self, controller: &str) -> Result<Option<Side<'_>>> {
        if let Some(dir) = self.v1_dir(controller) {
            return Ok(Some(Side::V1(dir)));
        }
        let Some(unified) = &self.unified else { return Ok(None) };
        let name = match controller {
            "blkio" => "io",
            "cpuacct" => "cpu",
            other => other,
        };
        Ok(self.has_unified(name)?.then_some(Side::Unified(unified)))
    }

    /// Whether a controller is enabled on the v2 side.
    fn has_unified(&self, name: &str) -> Result<bool> {
        let Some(unified) = &self.unified else { return Ok(false) };
        let enabled = match self.enabled.get() {
            Some(enabled) => enabled,
            None => {
                let text = unified.read("cgroup.controllers")?;
                self.enabled.get_or_init(|| text.split_whitespace().map(str::to_owned).collect())
            }
        };
        Ok(enabled.iter().any(|have| have == name))
    }
}
