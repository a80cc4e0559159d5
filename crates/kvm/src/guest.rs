//! What the guest agent says. Every byte of it comes from inside the guest: nothing in it is believed to be there, of
//! the right type or of a sane size.

use crate::libvirt::{Fault, Lane, Libvirt, ours};
use crate::{domain_xml_read, xml::El};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use virga_model::vm::{AgentState, GuestFileSystem, GuestInfo};
use virga_model::{Error, VmId};
use virt::domain::Domain;

/// Seconds that an agent has for one answer.
const ANSWER_SECONDS: i32 = 2;
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Longest text that is taken over, in characters.
const TEXT_CHARS_MAX: usize = 255;
/// Most addresses and file systems that are taken over.
const LIST_MAX: usize = 64;

/// Asks the agent for everything; `agent: NotRunning` when it does not answer.
///
/// # Errors
/// When libvirt cannot be asked, or has no such domain.
pub async fn info(libvirt: &Arc<Libvirt>, vm: VmId) -> Result<GuestInfo, Error> {
    const WHAT: &str = "The guest agent could not be asked";
    let limit = Duration::from_secs(15);
    let asked = libvirt
        .call(Lane::Guest, limit, WHAT, move |conn| {
            let Some(d) = ours(conn, vm)? else { return Err(crate::libvirt::no_domain(WHAT, vm).into()) };
            // The channel's state costs nothing; a guest without an agent is not waited for.
            if !d.is_active()? || !domain_xml_read::agent_connected(&El::parse(&d.xml_desc(0)?)?) {
                return Ok(GuestInfo::default());
            }
            let Some(version) = ask(&d, "guest-info") else { return Ok(GuestInfo::default()) };
            let mut info = GuestInfo { agent: AgentState::Connected, agent_version: text(version.get("version")), ..Default::default() };
            if let Some(v) = ask(&d, "guest-network-get-interfaces") {
                info.ips = addresses(&v);
            }
            if let Some(v) = ask(&d, "guest-get-host-name") {
                info.host_name = text(v.get("host-name"));
            }
            if let Some(v) = ask(&d, "guest-get-osinfo") {
                (info.os, info.kernel) = os(&v);
            }
            if let Some(v) = ask(&d, "guest-get-fsinfo") {
                info.file_systems = file_systems(&v);
            }
            Ok(info)
        })
        .await?;
    if asked.agent == AgentState::Connected && asked.file_systems.is_empty() {
        // As a guest says nothing of file systems that are held. Nobody is at it but whoever has the VM's lock, which is
        // waited for: what is still held then was left by an agent that ended in the middle.
        let after = libvirt.guarded(vm, Lane::Guest, limit, WHAT, move |conn| {
            if let Some(d) = ours(conn, vm)? {
                thaw(&d);
            }
            Ok(())
        });
        if let Err(e) = after.await {
            tracing::debug!(%vm, error = %e, "it was not found out whether the guest's file systems are held");
        }
    }
    Ok(asked)
}

/// Seconds that a guest has to bring its file systems to rest.
const FREEZE_SECONDS: i32 = 10;
/// Times that a guest is asked to let its file systems go on.
const THAW_TRIES: u32 = 5;

/// Asks the guest to write what it has cached and to hold its file systems. Whoever calls this calls [`thaw`] after it,
/// however it ends.
///
/// # Errors
/// `Conflict` when the agent does not answer or does not do it.
pub fn freeze(d: &Domain) -> Result<(), Fault> {
    let why = |e: String| {
        Fault::from(
            Error::conflict(format!("The guest's file systems could not be brought to rest: {e}."))
                .with_hint("A consistent snapshot needs the guest agent (qemu-guest-agent) in the guest; take an ordinary one, or install and start it."),
        )
    };
    if !answers(d)? {
        return Err(why("its guest agent does not answer".into()));
    }
    let question = serde_json::json!({"execute": "guest-fsfreeze-freeze"}).to_string();
    match d.qemu_agent_command(&question, FREEZE_SECONDS, 0) {
        Ok(answer) if reply(&answer).is_some() => Ok(()),
        Ok(_) => {
            thaw(d);
            Err(why("its guest agent gave no sensible answer".into()))
        }
        Err(e) => {
            // It may have done it all the same.
            thaw(d);
            Err(why(e.message().chars().filter(|c| virga_model::name::printable(*c)).take(TEXT_CHARS_MAX).collect()))
        }
    }
}

/// Lets held file systems go on; harmless when they are not held or there is no agent.
pub fn thaw(d: &Domain) {
    let connected = d.xml_desc(0).ok().and_then(|x| El::parse(&x).ok()).is_some_and(|x| domain_xml_read::agent_connected(&x));
    if !connected {
        return;
    }
    for _ in 0..THAW_TRIES {
        match ask(d, "guest-fsfreeze-status").as_ref().and_then(Value::as_str) {
            Some("frozen") => drop(ask(d, "guest-fsfreeze-thaw")),
            _ => return,
        }
    }
    tracing::warn!("a guest's file systems are held, and it does not let them go on; looking again with its next report");
}

/// Whether the agent answers now.
///
/// # Errors
/// When libvirt cannot be asked.
pub fn answers(d: &Domain) -> Result<bool, Fault> {
    Ok(domain_xml_read::agent_connected(&El::parse(&d.xml_desc(0)?)?) && ask(d, "guest-ping").is_some())
}

/// One question; none when the agent does not answer it in time or with sense.
fn ask(d: &Domain, command: &str) -> Option<Value> {
    let question = serde_json::json!({ "execute": command }).to_string();
    let answer = d.qemu_agent_command(&question, ANSWER_SECONDS, 0).ok()?;
    reply(&answer)
}

/// What is taken over of one answer to each of the questions.
pub(crate) fn understood(answer: &str) -> GuestInfo {
    let Some(v) = reply(answer) else { return GuestInfo::default() };
    let (os, kernel) = os(&v);
    let (ips, file_systems) = (addresses(&v), file_systems(&v));
    let (agent_version, host_name) = (text(v.get("version")), text(v.get("host-name")));
    GuestInfo { agent: AgentState::Connected, agent_version, ips, host_name, os, kernel, file_systems }
}

fn reply(answer: &str) -> Option<Value> {
    if answer.len() > ANSWER_BYTES_MAX {
        return None;
    }
    // serde_json limits the depth itself.
    match serde_json::from_str(answer).ok()? {
        Value::Object(mut o) => o.remove("return"),
        _ => None,
    }
}

fn text(v: Option<&Value>) -> Option<String> {
    let t: String = v?.as_str()?.chars().filter(|c| virga_model::name::printable(*c)).take(TEXT_CHARS_MAX).collect();
    (!t.is_empty()).then_some(t)
}

fn os(v: &Value) -> (Option<String>, Option<String>) {
    let name = text(v.get("pretty-name")).or_else(|| text(v.get("name")));
    (name, text(v.get("kernel-release")))
}

fn addresses(v: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for nic in v.as_array().into_iter().flatten().take(LIST_MAX) {
        for a in nic.get("ip-addresses").and_then(Value::as_array).into_iter().flatten().take(LIST_MAX) {
            let Some(ip) = a.get("ip-address").and_then(Value::as_str).and_then(|t| t.parse::<IpAddr>().ok()) else { continue };
            let local = match ip {
                IpAddr::V4(i) => i.is_link_local(),
                IpAddr::V6(i) => i.is_unicast_link_local(),
            };
            let shown = ip.to_string();
            if !ip.is_loopback() && !ip.is_unspecified() && !local && !out.contains(&shown) && out.len() < LIST_MAX {
                out.push(shown);
            }
        }
    }
    out
}

fn file_systems(v: &Value) -> Vec<GuestFileSystem> {
    let one = |f: &Value| {
        Some(GuestFileSystem {
            mount_point: text(f.get("mountpoint"))?,
            kind: text(f.get("type")).unwrap_or_default(),
            total_bytes: f.get("total-bytes").and_then(Value::as_u64),
            used_bytes: f.get("used-bytes").and_then(Value::as_u64),
        })
    };
    v.as_array().into_iter().flatten().take(LIST_MAX).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_real_answers() {
        let a = reply(
            r#"{"return":[{"name":"lo","ip-addresses":[{"ip-address-type":"ipv4","ip-address":"127.0.0.1","prefix":8}],"hardware-address":"00:00:00:00:00:00"},
            {"name":"eth0","ip-addresses":[{"ip-address-type":"ipv4","ip-address":"192.168.200.7","prefix":24},{"ip-address-type":"ipv6","ip-address":"fe80::1","prefix":64},
            {"ip-address-type":"ipv6","ip-address":"2001:db8::7","prefix":64}]}]}"#,
        );
        assert_eq!(addresses(&a.unwrap()), ["192.168.200.7", "2001:db8::7"]);
        let f = json!([{"name":"vda1","mountpoint":"/","type":"ext4","used-bytes":5,"total-bytes":10,"disk":[]},{"name":"x"}]);
        assert_eq!(file_systems(&f), [GuestFileSystem { mount_point: "/".into(), kind: "ext4".into(), total_bytes: Some(10), used_bytes: Some(5) }]);
        assert_eq!(os(&json!({"pretty-name":"Debian GNU/Linux 12 (bookworm)","kernel-release":"6.1.0"})).0.unwrap(), "Debian GNU/Linux 12 (bookworm)");
    }

    #[test]
    fn garbage_from_the_guest_is_harmless() {
        for bad in ["", "null", "[]", "{}", "{\"return\":", "{\"error\":{}}", "\u{0}", &"[".repeat(100_000)] {
            assert!(reply(bad).is_none(), "{}", bad.len());
        }
        for v in [json!(null), json!(1), json!("x"), json!([1, null, {"ip-addresses": 5}, {"ip-addresses": [{"ip-address": "not one"}, 7]}]), json!({"a": {}})]
        {
            assert!(addresses(&v).is_empty() && file_systems(&v).is_empty());
            assert_eq!(os(&v), (None, None));
        }
        let many: Vec<Value> = (0..1000).map(|i| json!({"ip-addresses":[{"ip-address": format!("10.0.{}.{}", i / 250, i % 250 + 1)}]})).collect();
        assert_eq!(addresses(&Value::Array(many)).len(), LIST_MAX);
        assert_eq!(text(Some(&json!("a\u{1b}[31m\n".repeat(1000)))).unwrap().chars().count(), TEXT_CHARS_MAX);
        assert_eq!(text(Some(&json!({}))), None);
    }
}
