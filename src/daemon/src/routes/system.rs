//! Ping, version, info, events, df.

use super::Route;

/// The routes of this file.
pub const ROUTES: &[Route] = &[];
