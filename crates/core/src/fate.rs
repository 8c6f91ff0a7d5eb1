//! fate
