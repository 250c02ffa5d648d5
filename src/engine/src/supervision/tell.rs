//! Events of containers.

use std::collections::BTreeMap;

use crate::Engine;
use crate::containers::Container;

/// Publishes an event of a container, with its labels, image and name as Docker's have them, and what else is to be
/// known.
pub fn tell(engine: &Engine, container: &Container, action: impl Into<String>, more: &[(&str, String)]) {
    let attributes = attributes(container, more);
    engine.events.publish(&container.tenant, "container", action, container.id.as_str(), attributes);
}

/// The same of something that a container can have happen as often as it likes: whoever asks for what was before is not
/// told, so that it takes nobody else's place there.
pub fn tell_listeners(
    engine: &Engine,
    container: &Container,
    action: impl Into<String>,
    more: &[(&str, String)],
) {
    let attributes = attributes(container, more);
    engine.events.announce(&container.tenant, "container", action, container.id.as_str(), attributes);
}

fn attributes(container: &Container, more: &[(&str, String)]) -> BTreeMap<String, String> {
    let mut attributes = container.config.labels();
    attributes.insert("image".to_owned(), container.config.image.clone());
    attributes.insert("name".to_owned(), container.name());
    attributes.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    attributes
}
