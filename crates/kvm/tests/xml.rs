//! The typed writer of XML over hostile names and texts: what is written is read as the same, and no value becomes an
//! element (`reliability.md` 2.10 J1).

mod specs;

use proptest::prelude::*;
use virga_kvm::domain_xml::{HostView, domain};
use virga_kvm::xml::El;

/// Pieces that mean something in XML, between any other characters.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("</a>".to_string()),
        Just("<b/>".to_string()),
        Just("]]>".to_string()),
        Just("<![CDATA[".to_string()),
        Just("<!--".to_string()),
        Just("-->".to_string()),
        Just("&amp;&#x41;&nope;".to_string()),
        Just("\"'".to_string()),
        Just("<?xml?>".to_string()),
        Just("<!DOCTYPE a>".to_string()),
        Just("\r\n\t".to_string()),
        "\\PC{0,8}",
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|p| p.concat())
}

/// As the writer says that it writes: what XML cannot hold is replaced.
fn writable(text: &str) -> String {
    let held = |c: char| matches!(c, '\t' | '\n' | '\r') || (c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{7f}'));
    text.chars().map(|c| if held(c) { c } else { '\u{fffd}' }).collect()
}

fn tree() -> impl Strategy<Value = El> {
    let leaf = (proptest::collection::vec(text(), 0..3), text()).prop_map(|(values, text)| {
        let e = El::new("leaf").text(writable(&text).trim());
        values.iter().enumerate().fold(e, |e, (i, v)| e.attr(&format!("a{i}"), writable(v)))
    });
    leaf.prop_recursive(4, 24, 4, |inner| proptest::collection::vec(inner, 0..4).prop_map(|children| El::new("branch").all(children)))
}

fn names(e: &El) -> Vec<String> {
    std::iter::once(e.name.clone()).chain(e.children.iter().flat_map(names)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_as_the_same(e in tree()) {
        let text = e.to_xml().unwrap();
        let back = El::parse(&text).unwrap();
        prop_assert_eq!(&back, &e, "{}", text);
    }

    #[test]
    fn no_name_of_a_vm_becomes_an_element(name in text(), index in 0usize..8) {
        let all = specs::all();
        let (_, order, host) = &all[index % all.len()];
        let plain = domain(order, host).unwrap();
        let evil = virga_model::order::VmOrder { name: name.clone(), ..order.clone() };
        let written = domain(&evil, &HostView { domain_name: name, ..host.clone() }).unwrap().to_xml().unwrap();
        prop_assert_eq!(names(&El::parse(&written).unwrap()), names(&plain));
    }
}
