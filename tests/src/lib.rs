//! What the system tests stand on: a private host in namespaces ([`lab`]), and on it the programs as users run them
//! ([`cloud`]); or a simulated cloud ([`demo`]). Nothing here knows how the programs work inside.

pub mod chaos;
pub mod cloud;
pub mod demo;
pub mod guest;
pub mod images;
pub mod lab;
pub mod witness;
