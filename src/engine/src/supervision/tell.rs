//! Events of containers.

use crate::Engine;
use crate::containers::Container;

/// Publishes an event of a container, with its labels, image and name as Docker's have them, and what else is to be
/// known.
pub fn tell(engine: &Engine, container: &Container, action: impl Into<String>, more: &[(&str, String)]) {
    let mut attributes = container.config.labels();
    attributes.insert("image".to_owned(), container.config.image.clone());
    attributes.insert("name".to_owned(), container.name());
    attributes.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    engine.events.publish(&container.tenant, "container", action, container.id.as_str(), attributes);
}
