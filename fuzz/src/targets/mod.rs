//! The targets, by the kind of bytes that they get.

pub mod binary;
pub mod image;
pub mod json;
pub mod list;
pub mod package;
pub mod text;
pub mod xml;
