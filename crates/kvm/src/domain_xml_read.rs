//! What we read back from a domain's XML. People edit it (`virsh edit`), so everything may be missing.

use crate::domain_xml::NAMESPACE;
use crate::xml::El;
use sha2::{Digest, Sha256};

/// Generation in our metadata; none when the domain is not ours.
#[must_use]
pub fn generation(domain: &El) -> Option<i64> {
    let metadata = domain.one("metadata")?;
    let vm = metadata.children.iter().find(|e| {
        let (prefix, local) = e.name.split_once(':').unwrap_or(("", &e.name));
        let binding = if prefix.is_empty() { "xmlns".to_string() } else { format!("xmlns:{prefix}") };
        local == "vm" && [e, metadata, domain].iter().find_map(|x| x.get(&binding)) == Some(NAMESPACE)
    })?;
    // Ours even when somebody spoilt the number: then it is older than every order.
    Some(vm.get("generation").and_then(|g| g.parse().ok()).unwrap_or(0))
}

/// Digest of a definition, over its meaning and not its white space.
#[must_use]
pub fn digest(domain: &El) -> String {
    let mut h = Sha256::new();
    add(domain, &mut h);
    hex::encode(h.finalize())
}

/// Every part with its length before it, so that no two trees give the same bytes.
fn add(e: &El, h: &mut Sha256) {
    let mut part = |t: &str| {
        h.update((t.len() as u64).to_be_bytes());
        h.update(t.as_bytes());
    };
    part(&e.name);
    part(&e.attrs.len().to_string());
    for (n, v) in &e.attrs {
        part(n);
        part(v);
    }
    part(&e.text);
    part(&e.children.len().to_string());
    for c in &e.children {
        add(c, h);
    }
}

/// `kvm` or `tcg`.
#[must_use]
pub fn accelerator(domain: &El) -> &'static str {
    if domain.get("type") == Some("kvm") { "kvm" } else { "tcg" }
}

/// Machine type.
#[must_use]
pub fn machine(domain: &El) -> Option<&str> {
    domain.at(&["os", "type"])?.get("machine")
}

/// Memory in bytes, hot-added modules included.
#[must_use]
pub fn memory_bytes(domain: &El) -> Option<u64> {
    let e = domain.one("memory")?;
    let n: u64 = e.text.parse().ok()?;
    let unit = match e.get("unit").unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KiB" | "k" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        "TiB" | "T" => 1 << 40,
        _ => return None,
    };
    n.checked_mul(unit)
}

/// The device with that alias.
#[must_use]
pub fn device<'a>(domain: &'a El, alias: &str) -> Option<&'a El> {
    domain.one("devices")?.children.iter().find(|d| d.one("alias").and_then(|a| a.get("name")) == Some(alias))
}

/// The files of a disk from the one that is written down to the last that it stands on.
#[must_use]
pub fn sources(disk: &El) -> Vec<String> {
    let mut out = Vec::new();
    let mut at = Some(disk);
    while let Some(file) = at.and_then(|e| e.one("source")).and_then(|s| s.get("file")) {
        out.push(file.to_string());
        at = at.and_then(|e| e.one("backingStore"));
    }
    out
}

/// Pseudo terminal of the first serial port of a running domain.
#[must_use]
pub fn serial_pty(live: &El) -> Option<&str> {
    let serial = live.one("devices")?.many("serial").find(|s| s.get("type") == Some("pty"))?;
    serial.one("source")?.get("path").filter(|p| p.starts_with("/dev/"))
}

/// Socket of the screen of a running domain.
#[must_use]
pub fn vnc_socket(live: &El) -> Option<&str> {
    let vnc = live.one("devices")?.many("graphics").find(|g| g.get("type") == Some("vnc"))?;
    vnc.many("listen").find_map(|l| l.get("socket")).or_else(|| vnc.get("socket"))
}

/// Whether the guest agent holds its end of the channel open.
#[must_use]
pub fn agent_connected(live: &El) -> bool {
    live.one("devices").is_some_and(|d| {
        d.many("channel").filter_map(|c| c.one("target")).any(|t| t.get("name") == Some("org.qemu.guest_agent.0") && t.get("state") == Some("connected"))
    })
}

/// The disks and optical drives of a domain, in their order.
pub fn disks(domain: &El) -> impl Iterator<Item = &El> {
    domain.one("devices").into_iter().flat_map(|d| d.many("disk"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(xml: &str) -> El {
        El::parse(xml).unwrap()
    }

    #[test]
    fn metadata_is_found_whatever_prefix_people_give_it() {
        let ours = |m: &str| generation(&parse(&format!("<domain><metadata>{m}</metadata></domain>")));
        assert_eq!(ours("<virga:vm xmlns:virga='https://virga.dev/xmlns/vm/1' generation='7'/>"), Some(7));
        assert_eq!(ours("<x:vm xmlns:x='https://virga.dev/xmlns/vm/1' generation='8'></x:vm>"), Some(8));
        assert_eq!(ours("<vm xmlns='https://virga.dev/xmlns/vm/1' generation='9'/>"), Some(9));
        assert_eq!(ours("<vm xmlns='https://virga.dev/xmlns/vm/1' generation='many'/>"), Some(0));
        assert_eq!(ours("<virga:vm xmlns:virga='https://example.org/' generation='7'/>"), None);
        assert_eq!(ours("<virga:vm generation='7'/>"), None);
        assert_eq!(generation(&parse("<domain/>")), None);
    }

    #[test]
    fn the_digest_sees_changes_and_not_white_space() {
        let a = digest(&parse("<domain><a b='1'>x</a></domain>"));
        assert_eq!(a, digest(&parse("<domain>\n  <a b=\"1\">x</a>\n</domain>")));
        for other in
            ["<domain><a b='2'>x</a></domain>", "<domain><a b='1'>y</a></domain>", "<domain><a b='1'>x</a><c/></domain>", "<domain><a><b>1</b>x</a></domain>"]
        {
            assert_ne!(a, digest(&parse(other)), "{other}");
        }
    }

    #[test]
    fn what_is_missing_or_absurd_is_missing() {
        for xml in [
            "<domain/>",
            "<domain><devices/></domain>",
            "<domain><devices><serial type='pty'/><graphics type='vnc'/><channel/></devices><memory unit='parsec'>1</memory></domain>",
        ] {
            let d = parse(xml);
            assert!(serial_pty(&d).is_none() && vnc_socket(&d).is_none() && memory_bytes(&d).is_none() && machine(&d).is_none());
            assert!(!agent_connected(&d) && device(&d, "ua-1").is_none());
        }
        let d = parse("<domain><memory unit='GiB'>99999999999999</memory><devices><serial type='pty'><source path='/etc/shadow'/></serial></devices></domain>");
        assert!(memory_bytes(&d).is_none() && serial_pty(&d).is_none());
    }
}
