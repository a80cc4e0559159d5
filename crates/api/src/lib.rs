//! The two wires of Virga: the public REST API `v1` and the `node` protocol between managers and agents.
//!
//! Only shapes and names live here; no behaviour. `openapi/v1.json` is generated from [`v1::VirgaApi`], the CLI's and
//! the portal's clients are made from that document.

pub mod node;
pub mod v1;
