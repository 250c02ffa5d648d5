//! Files in and out of containers: archive, changes, export.

use super::Route;

/// The routes of this file.
pub const ROUTES: &[Route] = &[];
