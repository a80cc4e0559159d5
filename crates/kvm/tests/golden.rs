//! The domain XML of some specifications, byte by byte. `UPDATE_GOLDEN=1` writes the files anew; look at the diff.
//! `real.rs` lets a real libvirt judge the same files.

mod specs;

use virga_kvm::domain_xml::domain;
use virga_kvm::xml::El;

#[test]
fn domains_are_written_as_before() {
    let folder = std::path::PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("tests/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for (name, order, host) in specs::all() {
        let xml = domain(&order, &host).and_then(|e| e.to_xml()).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let path = folder.join(format!("{name}.xml"));
        if update {
            std::fs::write(&path, &xml).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default() != xml {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "these differ from tests/golden (UPDATE_GOLDEN=1 writes them anew): {wrong:?}");
}

#[test]
fn hostile_values_stay_values() {
    let (_, mut order, host) = specs::all().into_iter().find(|(n, _, _)| *n == "minimal-bios").unwrap();
    for evil in ["</title><devices><hostdev/></devices>", "a\"b'c&d<e>", "\u{0}\u{1}\u{1b}[31m", "]]><x/>", "${HOME}$(id)\n\n"] {
        order.name = evil.to_string();
        let host = virga_kvm::domain_xml::HostView { domain_name: evil.to_string(), ..host.clone() };
        let xml = domain(&order, &host).unwrap().to_xml().unwrap();
        let back = El::parse(&xml).unwrap();
        assert!(back.at(&["devices", "hostdev"]).is_none() && back.one("devices").unwrap().one("disk").is_some(), "{xml}");
        let shown: String = evil.chars().map(|c| if c < ' ' && c != '\n' { '\u{fffd}' } else { c }).collect();
        assert_eq!(back.one("title").unwrap().text, shown.trim());
    }
}

#[test]
fn what_a_host_cannot_do_is_said() {
    use virga_model::vm::CpuMode;
    let (_, order, host) = specs::all().into_iter().find(|(n, _, _)| *n == "minimal-bios").unwrap();
    let mut o = order.clone();
    o.spec.cpu.mode = CpuMode::HostPassthrough;
    let e = domain(&o, &host).unwrap_err();
    assert!(e.message.contains("needs KVM") && e.hint.is_some(), "{e:?}");
    let mut o = order.clone();
    o.spec.firmware = virga_model::vm::Firmware::Uefi;
    assert!(domain(&o, &virga_kvm::domain_xml::HostView { uefi: None, ..host.clone() }).unwrap_err().message.contains("OVMF"));
    let mut o = order.clone();
    (o.spec.cpu.count, o.spec.cpu.max, o.spec.cpu.cores_per_socket) = (250, 250, 5);
    assert_eq!(domain(&o, &host).unwrap_err().violations[0].field, "cpu.cores_per_socket");
    let mut o = order.clone();
    o.images.clear();
    assert_eq!(domain(&o, &host).unwrap_err().violations[0].field, "images");
    let bad = virga_kvm::domain_xml::HostView { machine: "microvm".into(), ..host };
    assert_eq!(domain(&order, &bad).unwrap_err().violations[0].field, "machine");
}
