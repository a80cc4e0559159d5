//! Published flaws of peers that a host's agent could have, each under its number (docs/dev/cve.md).

mod specs;

use virga_kvm::domain_xml::domain;
use virga_kvm::foreign::guest_info;
use virga_kvm::xml::El;
use virga_model::cloud_init::CloudInit;
use virga_model::order::VmOrder;
use virga_model::vm::AgentState;

fn orders() -> impl Iterator<Item = (VmOrder, El)> {
    specs::all().into_iter().map(|(name, order, host)| {
        let xml = domain(&order, &host).unwrap_or_else(|e| panic!("{name}: {e}"));
        (order, xml)
    })
}

fn walk<'a>(e: &'a El, out: &mut Vec<&'a El>) {
    out.push(e);
    e.children.iter().for_each(|c| walk(c, out));
}

fn every(e: &El) -> Vec<&El> {
    let mut out = Vec::new();
    walk(e, &mut out);
    out
}

#[test]
fn cve_2015_5160_no_secret_is_in_the_definition_of_a_domain() {
    // The definition becomes QEMU's arguments, which every user of the host can read.
    for (_, mut order, host) in specs::all() {
        order.spec.cloud_init = Some(CloudInit { user_data: Some("password: canary-7f3a".into()), ..CloudInit::default() });
        let xml = domain(&order, &host).unwrap().to_xml().unwrap();
        assert!(!xml.contains("canary-7f3a") && !xml.contains("passwd="), "{xml}");
    }
}

#[test]
fn cve_2026_24708_every_disk_says_its_format() {
    for (order, xml) in orders() {
        let all = every(&xml);
        for disk in all.iter().filter(|e| e.name == "disk") {
            let format = disk.one("driver").and_then(|d| d.get("type"));
            assert!(matches!(format, Some("qcow2" | "raw")), "{}: {disk:?}", order.name);
        }
        // What lies below a disk says so, too, or QEMU would look.
        for below in all.iter().filter(|e| e.name == "backingStore" && !e.children.is_empty()) {
            assert!(below.one("format").and_then(|f| f.get("type")).is_some(), "{}: {below:?}", order.name);
        }
    }
}

#[test]
fn cve_2013_0335_a_screen_listens_on_a_socket_and_on_no_port() {
    for (order, xml) in orders() {
        for g in every(&xml).into_iter().filter(|e| e.name == "graphics") {
            assert!(g.get("port").is_none() && g.get("autoport").is_none(), "{}: {g:?}", order.name);
            assert!(virga_kvm::domain_xml_read::vnc_socket(&xml).is_some(), "{}", order.name);
        }
    }
}

#[test]
fn cve_2024_29008_a_definition_holds_nothing_but_what_we_write() {
    for (order, xml) in orders() {
        for e in every(&xml) {
            assert!(!e.name.starts_with("qemu:") && !matches!(e.name.as_str(), "hostdev" | "filesystem" | "commandline"), "{}: {}", order.name, e.name);
        }
    }
}

#[test]
fn cve_2013_1664_entities_of_a_document_are_not_resolved() {
    let bomb = "<!DOCTYPE a [<!ENTITY b 'xxxxxxxxxx'><!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'><!ENTITY d '&c;&c;&c;&c;&c;&c;&c;&c;'>]><a>&d;</a>";
    assert!(El::parse(bomb).map_or(0, |e| e.text.len()) < 16);
}

#[test]
fn cve_2013_1665_no_file_is_read_for_a_document() {
    let file = "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/hostname'>]><a c='&b;'>&b;</a>";
    if let Ok(e) = El::parse(file) {
        assert_eq!(e.text.trim_matches('\u{fffd}'), "");
    }
}

#[test]
fn cve_2019_20485_a_guest_agent_that_floods_is_not_believed() {
    let flood = format!(r#"{{"return":{{"host-name":"{}"}}}}"#, "x".repeat(2 << 20));
    assert_eq!(guest_info(&flood).agent, AgentState::NotRunning);
    let long = format!(r#"{{"return":{{"host-name":"{}"}}}}"#, "x".repeat(1 << 19));
    assert_eq!(guest_info(&long).host_name.unwrap().len(), 255);
    let deep = format!(r#"{{"return":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert_eq!(guest_info(&deep).agent, AgentState::NotRunning);
}

#[test]
fn cve_2012_2094_what_a_guest_says_plays_no_tricks_on_a_terminal() {
    let name = guest_info("{\"return\":{\"host-name\":\"a\\u001b]0;x\\u0007\\u202eb\\u200b\\r\\nc\"}}").host_name.unwrap();
    assert_eq!(name, "a]0;xbc");
}
