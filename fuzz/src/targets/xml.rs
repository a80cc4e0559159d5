//! Targets of XML that libvirt gives, and that people may have edited.

use crate::{Target, mark};
use virga_kvm::domain_xml_read as read;
use virga_kvm::xml::El;

const XML: &[&str] = &[
    "<domain",
    "</domain>",
    "<devices>",
    "</devices>",
    "<metadata>",
    "<memory unit='TiB'>",
    "<alias name='ua-1'/>",
    "<!DOCTYPE a [<!ENTITY b 'c'>]>",
    "&b;",
    "&#x1;",
    "&lt;",
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "<?xml",
    "?>",
    "xmlns:x='https://virga.dev/xmlns/vm/1'",
    "generation='7'",
    "/>",
    "'",
    "\"",
];

/// Definitions of domains.
pub const DOMAIN: Target = Target { name: "domain-xml", about: "domain definitions from libvirt", run: domain, words: XML };

fn elements(e: &El) -> usize {
    1 + e.children.iter().map(elements).sum::<usize>()
}

fn domain(data: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(data);
    let e = match El::parse(&text) {
        Ok(e) => e,
        Err(e) => return mark(&e.message),
    };
    let found = (read::generation(&e).is_some(), read::memory_bytes(&e).is_some(), read::machine(&e).is_some(), read::vnc_socket(&e).is_some());
    let more = (read::serial_pty(&e), read::agent_connected(&e), read::device(&e, "ua-1").is_some(), read::accelerator(&e), read::digest(&e).len());
    assert!(more.0.is_none_or(|p| p.starts_with("/dev/")));
    // What is written has the same elements, whatever stands in texts and attributes; and writing is stable.
    let written = e.to_xml().expect("a tree can be written");
    let back = El::parse(&written).unwrap_or_else(|e| panic!("what we write is XML: {e}\n{written}"));
    assert_eq!(elements(&back), elements(&e), "{written}");
    let again = El::parse(&back.to_xml().expect("a tree can be written")).expect("what we write is XML");
    assert_eq!(again, back);
    mark(&format!("{found:?} {} {} {}", more.1, more.2, more.3))
}

/// What libvirt can do.
pub const CAPABILITIES: Target = Target {
    name: "capabilities",
    about: "libvirt's capabilities",
    run: capabilities,
    words: &[
        "<capabilities>",
        "<host>",
        "<secmodel>",
        "<model>dac</model>",
        "<baselabel type='kvm'>",
        "+0:+0",
        ":",
        "<guest>",
        "<arch name='x86_64'>",
        "<domain type='kvm'/>",
    ],
};

fn capabilities(data: &[u8]) -> u64 {
    match El::parse(&String::from_utf8_lossy(data)) {
        Ok(e) => mark(&format!("{}", virga_kvm::foreign::capabilities(&e).0.is_some())),
        Err(e) => mark(&e.message),
    }
}
