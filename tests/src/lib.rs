//! Tieline.

pub mod lambda;
