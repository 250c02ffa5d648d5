//! What this engine answers clearly and does not do: swarm, plugins, sessions.

use super::Route;

/// The routes of this file.
pub const ROUTES: &[Route] = &[];
