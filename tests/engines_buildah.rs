//! Buildah.
