//! Tieline.
