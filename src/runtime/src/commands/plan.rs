//! `plan`: every step that creating a container would take, and none taken.

use std::fmt::Write;
use std::process::ExitCode;

use casemate_core::sys::landlock::abi;
use casemate_spec::{ContainerId, Error, Result};
use oci_spec::runtime::{Hook, Spec};

use crate::birth::{Bundle, has_own_ids, keeps_groups};
use crate::cgroup::{Layout, Placement, Wish};
use crate::cli::{Global, PlanArgs};
use crate::plan::{self, Context, Words};

/// Prints the plan of a bundle. The container's id, which names its control groups where the bundle does not, is
/// taken to be the bundle directory's name.
///
/// # Errors
/// Whatever `create` would refuse the bundle for.
pub fn plan(global: &Global, args: &PlanArgs) -> Result<ExitCode> {
    let bundle = Bundle::open(global, Some(&args.bundle))?;
    let name = bundle.path.file_name().unwrap_or_default().to_string_lossy();
    let id: ContainerId = name.parse().or_else(|_| "container".parse())?;
    let spec = &bundle.admitted.config().spec;
    let linux = spec.linux().as_ref();
    let wish = Wish {
        id: &id,
        path: linux.and_then(|linux| linux.cgroups_path().as_deref()),
        systemd: global.systemd_cgroup,
        rootless: global.is_rootless(),
    };
    let placement = Layout::discover()?.place(&wish)?;
    let context = Context {
        id: &id,
        bundle: &bundle.path,
        placement: Some(&placement),
        no_pivot: false,
        new_keyring: true,
        preserve_fds: 0,
        listen_fds: 0,
        window: None,
        in_user_namespace: global.is_confined(),
        keep_groups: keeps_groups(linux),
        // Which range it will be is known at create only.
        ids: has_own_ids(&bundle.admitted).then_some(bundle.chosen.host.ids.base),
        landlock_abi: abi(),
        store: bundle.store.as_ref(),
    };
    let planned = plan::plan(&bundle.admitted, &context)?;
    let mut text = String::new();
    placed(&mut text, spec, &placement)?;
    hooks(&mut text, "prestart", spec.hooks().as_ref().and_then(|hooks| hooks.prestart().as_deref()));
    hooks(
        &mut text,
        "createRuntime",
        spec.hooks().as_ref().and_then(|hooks| hooks.create_runtime().as_deref()),
    );
    write!(text, "{}", Words(&planned)).unwrap_or_default();
    hooks(&mut text, "poststart", spec.hooks().as_ref().and_then(|hooks| hooks.poststart().as_deref()));
    super::print(&text)
}

/// What is prepared before there is a process. Writing to a String does not fail.
fn placed(text: &mut String, spec: &Spec, placement: &Placement) -> Result<()> {
    for (controllers, _mount, path) in placement.hierarchies() {
        let controllers = if controllers.is_empty() { "unified".to_owned() } else { controllers.join(",") };
        writeln!(text, "placed   cgroup {controllers} {}", path.display()).unwrap_or_default();
    }
    if let Some(unit) = placement.unit() {
        writeln!(text, "placed   systemd unit {unit}").unwrap_or_default();
    }
    if let Some(resources) = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()) {
        let limits = serde_json::to_string(resources)
            .map_err(|error| Error::new("print limits", error.to_string()))?;
        writeln!(text, "placed   limits {limits}").unwrap_or_default();
    }
    Ok(())
}

fn hooks(text: &mut String, kind: &str, hooks: Option<&[Hook]>) {
    for hook in hooks.into_iter().flatten() {
        writeln!(text, "outside  run {kind} hook {}", hook.path().display()).unwrap_or_default();
    }
}
