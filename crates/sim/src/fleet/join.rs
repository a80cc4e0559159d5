//! Joining: each machine buys its own certificate with its own one-time token, as a real one does. The fleet only gets the
//! tokens by itself, through the public API.

use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use virga_agent::host::Facts;
use virga_agent::identity::{self, Identity};
use virga_agent::wire;
use virga_model::Error;
use virga_model::order::JoinRequest;

use super::api::Api;
use super::machine::Machine;

/// Machines that join at the same time.
const AT_ONCE: usize = 16;

/// Lets these machines join; they will be called at `address`.
///
/// # Errors
/// What the manager says of the first that cannot join. Those that have joined stay joined.
pub async fn all(api: &Api, machines: &[Arc<Machine>], address: &str) -> Result<(), Error> {
    let joins: Vec<_> = machines.iter().map(|m| one(api, m, address)).collect();
    let mut joins = futures::stream::iter(joins).buffer_unordered(AT_ONCE);
    while let Some(done) = joins.next().await {
        done?;
    }
    Ok(())
}

async fn one(api: &Api, machine: &Machine, address: &str) -> Result<(), Error> {
    let answer = api.ok(Method::POST, "/v1/host-join-tokens", Some(&json!({"host_name": machine.name}))).await?;
    let file = answer["join_file"].as_str().map(identity::read_join_file);
    let file = file.ok_or_else(|| Error::internal(format!("The manager's answer holds no join file: {}", keys(&answer))))??;
    let request = identity::request()?;
    let facts = machine.host.facts().await?;
    let ask = JoinRequest { secret: file.secret.clone(), csr_pem: request.csr_pem.clone(), address: address.into(), facts };
    let answer = wire::join(&file.manager, &file.ca_pem, &ask).await?;
    machine.keep_identity(&Identity::joined(request, answer, &file.manager, address))
}

/// The names in an answer; its values may be secrets.
fn keys(answer: &Value) -> String {
    answer.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default()
}
