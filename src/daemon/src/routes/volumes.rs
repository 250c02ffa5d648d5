//! Volumes.

use super::Route;

/// The routes of this file.
pub const ROUTES: &[Route] = &[];
