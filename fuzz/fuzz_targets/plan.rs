//! From bytes to a plan: what the gate admits becomes a plan or an error of one line, and never a panic.
//!
//! Planning looks at the host (the root filesystem's path, the kernel's features) and changes nothing there.
#![no_main]

use std::path::Path;

use casemate_policy::{HostFacts, Policy, judge};
use casemate_runtime::plan::{Context, plan, visit};
use casemate_spec::{ContainerId, Error, config};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((flags, bytes)) = bytes.split_first() else { return };
    let Ok(config) = config::parse(bytes) else { return };
    let name = Policy::BUILTIN[usize::from(flags >> 5) % 4];
    let policy = Policy::builtin(name).expect("compiled in");
    let mut host = HostFacts::default();
    host.host.rootless = flags & 1 != 0;
    let admitted = match judge(config, &policy, &host) {
        Ok(admitted) => admitted,
        Err(denied) => return check(&Error::from(denied)),
    };
    let id: ContainerId = "fuzz".parse().expect("an id");
    let context = Context {
        id: &id,
        bundle: Path::new("/"),
        placement: None,
        no_pivot: flags & 2 != 0,
        new_keyring: flags & 4 != 0,
        preserve_fds: u32::from(flags >> 6),
        listen_fds: 0,
        window: None,
        in_user_namespace: flags & 8 != 0,
        keep_groups: flags & 16 != 0,
        ids: (flags & 32 != 0).then_some(100_000),
        landlock_abi: u32::from(flags & 7),
        store: None,
    };
    let spec = &admitted.config().spec;
    let planned = plan(&admitted, &context).map(|planned| format!("{:?}", planned.plan));
    let visited = visit(spec, admitted.confinement(), &context).map(|plan| format!("{plan:?}"));
    for result in [planned, visited] {
        if let Err(error) = result {
            check(&error);
        }
    }
});

fn check(error: &Error) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}");
}
