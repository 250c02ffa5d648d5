//! What a hostile daemon may say to the broker: reading and checking a request ends without a panic, and what is let
//! through is within bounds and can be written as the runtime's configuration.
#![no_main]

use casemate_broker::verbs;
use casemate_spec::wire::{Ask, Container, MountKind, Places};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = verbs::read(bytes) else { return };
    let verb = request.ask.verb();
    assert!(verb.wants.len() <= 2, "{}", verb.name);
    match &request.ask {
        Ask::Start { container, .. } | Ask::Check { container, .. } => write(container),
        Ask::Signal { signal, .. } => assert!((1..=64).contains(signal)),
        Ask::Processes { options, .. } => assert!(!options.iter().any(|option| option.contains([' ', '/', '$', ';']))),
        _ => {}
    }
});

fn write(container: &Container) {
    let volumes = container.mounts.iter().enumerate();
    let volumes = volumes.filter(|(_, mount)| matches!(mount.kind, MountKind::Volume { .. }));
    let places = Places { volumes: volumes.map(|(index, _)| (index, "/v".into())).collect(), ..Places::default() };
    // Only a namespace of a container that is not known stands against it.
    let Ok(written) = container.to_config(&places) else { return };
    assert!(written.spec.hooks().is_none());
    let linux = written.spec.linux().as_ref().expect("what is Linux's");
    assert!(linux.namespaces().iter().flatten().all(|namespace| namespace.path().is_none()));
    assert!(linux.uid_mappings().is_none() && linux.gid_mappings().is_none());
    let seccomp = linux.seccomp().as_ref();
    assert!(seccomp.is_none_or(|profile| profile.listener_path().is_none()));
    for mount in written.spec.mounts().iter().flatten() {
        let destination = mount.destination().to_str().expect("text");
        assert!(destination.starts_with('/') && !destination.split('/').any(|name| name == ".."), "{destination}");
    }
    for destination in &written.binds {
        let given = container.mounts.iter().find(|mount| mount.destination == *destination);
        assert!(given.is_some_and(|mount| matches!(mount.kind, MountKind::Volume { .. })), "{destination}");
    }
}
