//! A create without an engine: for tests and fuzzing of everything between a client's words and the broker's.

use std::sync::{Arc, Mutex};

use casemate_spec::wire::{self, HexId, NamespaceOf, UserEntry};
use serde_json::Value;

use super::{Asked, normal};
use crate::containers::state::{Settings as Named, State};
use crate::containers::wire::pure;
use crate::containers::{Config, Container, HostConfig, MountPoint, PointKind, check, log, merge, mounts};
use crate::files::volumes::{Backing, backing};
use crate::images::Defaults;
use crate::{Result, Settings};

/// What would be asked of the broker for this, on an image without layers; whoever is to be joined is there.
///
/// # Errors
/// What is asked makes no sense.
pub fn dry_run(config: Config, host_config: HostConfig, image: &Defaults) -> Result<wire::Container> {
    let mut asked = Asked { config, host_config, ..Asked::default() };
    normal::settle(&mut asked, &Settings::default())?;
    check::asked(&asked.config, &asked.host_config)?;
    merge::merge(&mut asked.config, image)?;
    check::asked(&asked.config, &asked.host_config)?;
    let wanted = mounts::wanted(&asked.config, &asked.host_config, Vec::new())?;
    let id = HexId::from_bytes([7; 32]);
    let container = Container {
        tenant: "tenant".parse()?,
        created: 0,
        image: id.clone(),
        layers: Vec::new(),
        config: asked.config,
        mounts: wanted.into_iter().map(|one| point(one, &id)).collect::<Result<_>>()?,
        user: UserEntry { uid: 0, gid: 0, groups: Vec::new(), home: "/".to_owned() },
        verdict: Value::Null,
        state: Mutex::new(State::default()),
        settings: Mutex::new(Named { name: "name".to_owned(), host_config: Arc::new(asked.host_config) }),
        id: id.clone(),
    };
    log::order(&container, &container.host_config().log_config)?;
    pure(&container, None, &|_, _| Ok(NamespaceOf::Container(id.clone())))
}

fn point(wanted: mounts::Wanted, id: &HexId) -> Result<MountPoint> {
    let volume = match wanted {
        mounts::Wanted::Point(point) => return Ok(point),
        mounts::Wanted::Volume(volume) => volume,
    };
    let backing: Backing = backing(&volume.options)?;
    let kind = PointKind::Volume {
        name: volume.name.unwrap_or_default(),
        place: id.clone(),
        anonymous: false,
        subpath: volume.subpath,
        backing,
    };
    let (destination, read_only, mode) = (volume.destination, volume.read_only, volume.mode);
    Ok(MountPoint { kind, destination, read_only, mode, listed: true })
}

#[cfg(test)]
mod tests {
    use casemate_spec::wire::{Ask, Request};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn within_bounds(config: Config, host_config: HostConfig) -> bool {
        let Ok(container) = dry_run(config, host_config, &Defaults::default()) else { return true };
        let id = HexId::from_bytes([7; 32]);
        let request = Request { number: 0, ask: Ask::Check { id, container: Box::new(container) } };
        request.check().inspect_err(|error| eprintln!("{error}")).is_ok()
    }

    #[test]
    fn what_is_accepted_is_within_the_brokers_bounds() {
        let host = |value: Value| serde_json::from_value::<HostConfig>(value).expect("read");
        let config = || serde_json::from_value::<Config>(json!({ "Cmd": ["true"] })).expect("read");
        for (odd, refused) in [
            (json!({ "NetworkMode": "none", "Binds": ["/a/../b:/c//d/./e", "vol:/v"] }), false),
            (json!({ "NetworkMode": "none", "MaskedPaths": ["relative"] }), true),
            (json!({ "NetworkMode": "none", "ReadonlyPaths": ["/a/../b"] }), true),
            (json!({ "NetworkMode": "none", "Sysctls": { "net.x": "a\0b" } }), true),
            (json!({ "NetworkMode": "none", "Annotations": { "a\0": "b" } }), true),
            (json!({ "NetworkMode": "none", "Binds": ["/a\nb:/c"] }), true),
            (
                json!({ "NetworkMode": "none", "Mounts": [{ "Type": "bind", "Source": "/a\0", "Target": "/b" }] }),
                true,
            ),
            (json!({ "NetworkMode": "none", "Tmpfs": { "/x": "mpol=bind" } }), false),
        ] {
            let text = odd.to_string();
            assert_eq!(
                dry_run(config(), host(odd.clone()), &Defaults::default()).is_err(),
                refused,
                "{text}"
            );
            assert!(within_bounds(config(), host(odd)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_leads_beyond(text in ".{0,24}", path in "[/a.:b,ro\\x00-]{0,16}") {
            let config = Config { cmd: serde_json::from_value(json!([text])).expect("words"), ..Config::default() };
            let host_config = HostConfig {
                network_mode: "none".to_owned(),
                binds: Some(vec![path.clone()]),
                masked_paths: Some(vec![path.clone()]),
                sysctls: Some([(text.clone(), path.clone())].into()),
                annotations: Some([(path, text)].into()),
                ..HostConfig::default()
            };
            prop_assert!(within_bounds(config, host_config));
        }
    }
}
