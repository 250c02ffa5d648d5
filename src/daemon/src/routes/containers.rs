//! Containers: create, inspect, list, start to remove.

use super::Route;

/// The routes of this file.
pub const ROUTES: &[Route] = &[];
