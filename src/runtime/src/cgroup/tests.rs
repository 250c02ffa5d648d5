//! The tests of this room on the real kernel.
