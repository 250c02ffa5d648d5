//! What a client may send to `POST /containers/create`: reading, checking and translating it ends without a panic, and
//! whatever is accepted is within what the broker takes.
#![no_main]

use casemate_engine::containers::{Config, HostConfig, dry_run};
use casemate_engine::images::Defaults;
use casemate_spec::wire::{Ask, HexId, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(config) = serde_json::from_slice::<Config>(bytes) else { return };
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let Ok(host_config) = serde_json::from_value::<Option<HostConfig>>(document["HostConfig"].clone()) else { return };
    let host_config = host_config.unwrap_or_default();
    let Ok(container) = dry_run(config, host_config, &Defaults::default()) else { return };
    let id = HexId::from_bytes([1; 32]);
    let request = Request { number: 0, ask: Ask::Check { id, container: Box::new(container) } };
    let text = serde_json::to_vec(&request).expect("JSON");
    // More than the broker reads at all is refused before it is sent.
    if text.len() <= casemate_spec::wire::LONGEST {
        request.check().expect("what is accepted is within bounds");
    }
});
