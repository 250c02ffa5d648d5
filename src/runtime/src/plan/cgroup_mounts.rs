//! `/sys/fs/cgroup`: one filesystem on v2, a directory of hierarchies on v1 and hybrid hosts.

use std::ffi::CString;
use std::path::Path;

use casemate_core::plan::{From, House, Link, Mount, Source, Space, Spaces};
use casemate_core::sys::mount::Change;
use casemate_spec::Result;
use casemate_spec::mount::{MountOptions, attr};

use super::mounts::changes;
use super::text::{c_string, place};
use super::{Building, Context, plain_source, remount};

impl Building {
    pub(super) fn cgroup(
        &mut self,
        destination: &Path,
        kind: &str,
        options: &MountOptions,
        context: &Context<'_>,
        spaces: &Spaces,
    ) -> Result<()> {
        match context.placement {
            Some(placement) if kind == "cgroup" && !placement.is_pure_v2() => {
                self.hierarchies(destination, options, context, spaces.makes(Space::Cgroup))
            }
            _ => self.unified(destination, options, context),
        }
    }

    fn unified(&mut self, destination: &Path, options: &MountOptions, context: &Context<'_>) -> Result<()> {
        let unified = context.placement.and_then(|placement| placement.paths().remove(""));
        let fallback = match unified {
            None => None,
            Some(path) => {
                let path = c_string(&path.to_string_lossy())?;
                Some(self.source(Source { path, optional: true, ..plain_source() }))
            }
        };
        let from = From::New { kind: c"cgroup2".into(), options: source_key(c"cgroup"), fallback };
        let at = place(&destination.to_string_lossy())?;
        let shown = "cgroup2".to_owned();
        self.house.push(House::Mount(Mount { from, at, changes: changes(options), copy_up: false, shown }));
        Ok(())
    }

    /// A tmpfs with one mount a hierarchy: a view of the container's own when it has a cgroup namespace, else a bind of
    /// its directory.
    fn hierarchies(
        &mut self,
        destination: &Path,
        options: &MountOptions,
        context: &Context<'_>,
        own_view: bool,
    ) -> Result<()> {
        let Some(placement) = context.placement else { return Ok(()) };
        let read_only = options.set & attr::RDONLY != 0;
        let flags = Change { set: options.set & !attr::RDONLY, ..Change::default() };
        let mode = vec![(c"mode".into(), Some(c"755".into())), (c"source".into(), Some(c"tmpfs".into()))];
        let from = From::New { kind: c"tmpfs".into(), options: mode, fallback: None };
        let at = place(&destination.to_string_lossy())?;
        let shown = "tmpfs for cgroups".to_owned();
        self.house.push(House::Mount(Mount {
            from,
            at: at.clone(),
            changes: vec![flags],
            copy_up: false,
            shown,
        }));
        for (controllers, mount, directory) in placement.hierarchies().filter(|(c, ..)| !c.is_empty()) {
            let Some(name) = mount.file_name().and_then(|name| name.to_str()) else { continue };
            let inner = destination.join(name);
            let from = if own_view {
                From::New { kind: c"cgroup".into(), options: view(controllers)?, fallback: None }
            } else {
                let path = c_string(&directory.to_string_lossy())?;
                From::Tree(self.source(Source { path, ..plain_source() }))
            };
            let shown = format!("cgroup {}", controllers.join(","));
            let inner = place(&inner.to_string_lossy())?;
            let own = vec![Change { set: options.set, ..Change::default() }];
            self.house.push(House::Mount(Mount { from, at: inner, changes: own, copy_up: false, shown }));
            self.links(destination, name, controllers)?;
        }
        if read_only {
            let change = Change { set: attr::RDONLY, ..Change::default() };
            self.house.push(remount(at, vec![change], "tmpfs for cgroups read-only".to_owned()));
        }
        for propagation in changes(options).into_iter().filter(|change| change.propagation != 0) {
            let at = place(&destination.to_string_lossy())?;
            self.house.push(remount(at, vec![propagation], "cgroup propagation".to_owned()));
        }
        Ok(())
    }

    /// Controllers that are mounted together are found under their own names too.
    fn links(&mut self, destination: &Path, name: &str, controllers: &[String]) -> Result<()> {
        for controller in
            controllers.iter().filter(|controller| *controller != name && !controller.contains('='))
        {
            let at = place(&destination.join(controller).to_string_lossy())?;
            self.house.push(House::Link(Link { at, target: c_string(name)?, replace: false }));
        }
        Ok(())
    }
}

fn view(controllers: &[String]) -> Result<Vec<(CString, Option<CString>)>> {
    let mut keys = source_key(c"cgroup");
    for controller in controllers {
        match controller.split_once('=') {
            Some((key, value)) => keys.push((c_string(key)?, Some(c_string(value)?))),
            None => keys.push((c_string(controller)?, None)),
        }
    }
    Ok(keys)
}

fn source_key(source: &std::ffi::CStr) -> Vec<(CString, Option<CString>)> {
    vec![(c"source".into(), Some(source.into()))]
}
