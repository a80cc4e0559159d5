//! Published flaws of peers that images, names and first-boot settings could have, each under its number (docs/dev/cve.md).

use virga_model::cloud_init::CloudInit;
use virga_model::image::{ImageFormat, inspect};
use virga_model::name;
use virga_model::network::NetworkSpec;
use virga_model::{Error, filter};
use virga_tests::images::{self, hostile};

/// The right image that is changed below.
fn with(changes: &[(usize, &[u8])]) -> Vec<u8> {
    images::with(images::qcow2(), changes)
}

fn seen(bytes: &[u8]) -> Result<ImageFormat, Error> {
    inspect(&mut &*bytes, bytes.len() as u64).map(|i| i.format)
}

#[track_caller]
fn refused(bytes: &[u8], why: &str) -> Error {
    let e = seen(bytes).expect_err(why);
    assert_eq!(e.violations[0].field, "content");
    assert!(e.message.contains(why), "{e}");
    e
}

#[test]
fn the_header_that_is_changed_below_is_right() {
    assert_eq!(seen(&with(&[])).unwrap(), ImageFormat::Qcow2);
}

#[test]
fn cve_2015_1850_an_image_with_a_backing_file_is_refused() {
    let e = refused(&with(&[(8, &0x300u64.to_be_bytes()), (16, &11u32.to_be_bytes()), (0x300, b"/etc/shadow")]), "backing file");
    assert!(!e.message.contains("shadow"), "what the image says is not shown");
}

#[test]
fn cve_2024_32498_an_external_data_file_is_refused() {
    refused(&with(&[(72, &4u64.to_be_bytes())]), "another file");
    refused(&with(&[(104, &0x4441_5441u32.to_be_bytes()), (108, &11u32.to_be_bytes()), (112, b"/etc/shadow")]), "another file");
}

#[test]
fn cve_2024_4467_a_json_file_name_is_never_opened() {
    let name = br#"json:{"driver":"file","filename":"/etc/shadow"}"#;
    refused(&with(&[(8, &0x300u64.to_be_bytes()), (16, &47u32.to_be_bytes()), (0x300, name)]), "backing file");
    refused(&with(&[(104, &0x4441_5441u32.to_be_bytes()), (108, &47u32.to_be_bytes()), (112, name)]), "another file");
}

#[test]
fn cve_2022_47951_a_vmdk_descriptor_is_refused() {
    let descriptor = b"# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 20480 FLAT \"/etc/shadow\" 0\n";
    refused(&[&descriptor[..], &[0; 1024]].concat(), "VMDK descriptor");
}

#[test]
fn cve_2024_40767_a_sparse_vmdk_leads_nowhere_either() {
    let flat = images::vmdk_descriptor("monolithicSparse", "ffffffff", "RW 2048 FLAT \"/etc/shadow\" 0");
    refused(&images::with_descriptor(images::vmdk_sparse(), &flat), "other files");
    // What tells of no capacity is a descriptor for QEMU, whatever its magic says.
    refused(&images::with(images::vmdk_sparse(), &[(12, &[0; 8])]), "no data of its own");
}

#[test]
fn cve_2015_5162_a_table_that_costs_memory_is_refused() {
    refused(&with(&[(36, &u32::MAX.to_be_bytes())]), "cluster table");
    refused(&with(&[(36, &1u32.to_be_bytes())]), "cluster table");
}

#[test]
fn cve_2013_4463_a_virtual_size_beyond_all_bounds_is_refused() {
    for size in [!511u64, 1 << 63, (64 << 40) + 512, 0, 513] {
        refused(&with(&[(24, &size.to_be_bytes())]), "virtual size");
    }
}

#[test]
fn cve_2014_0144_absurd_header_fields_are_refused() {
    for bits in [0u32, 8, 22, 63, 64, u32::MAX] {
        refused(&with(&[(20, &bits.to_be_bytes())]), "cluster size");
    }
    refused(&with(&[(4, &u32::MAX.to_be_bytes())]), "version");
    // Extensions without an end, with lengths that overflow.
    refused(&with(&[(104, &[0x12, 0x34, 0x56, 0x78, 0xff, 0xff, 0xff, 0xff])]), "without an end");
    refused(&with(&[(100, &u32::MAX.to_be_bytes())]), "impossible length");
}

#[test]
fn cve_2016_2140_the_format_comes_from_the_content_and_never_from_a_word() {
    // What a guest wrote at the beginning of its raw disk decides nothing but that it is refused.
    refused(&with(&[(8, &0x300u64.to_be_bytes())]), "backing file");
    assert_eq!(seen(&[0; 4096]).unwrap(), ImageFormat::Raw);
}

/// What the hostile set has of a flaw is refused.
#[track_caller]
fn set(flaw: &str, files: usize) {
    let of_flaw: Vec<_> = hostile::all().into_iter().filter(|h| h.flaw == flaw).collect();
    assert!(of_flaw.len() >= files, "{} files of {flaw}", of_flaw.len());
    of_flaw.iter().for_each(|h| drop(refused(&h.bytes, h.why)));
}

#[test]
fn cve_2013_1922_no_file_of_the_host_is_behind_an_image() {
    set("CVE-2013-1922", 1);
}

#[test]
fn cve_2013_2096_the_size_that_a_guest_sees_is_bounded() {
    set("CVE-2013-2096", 1);
}

#[test]
fn cve_2013_4469_a_small_file_does_not_become_a_large_one() {
    set("CVE-2013-4469", 3);
}

#[test]
fn cve_2014_0142_nothing_is_divided_by_what_a_file_says() {
    set("CVE-2014-0142", 4);
}

#[test]
fn cve_2014_0143_no_product_of_what_a_file_says_overflows() {
    set("CVE-2014-0143", 3);
}

#[test]
fn cve_2014_0145_no_table_of_snapshots_is_read() {
    set("CVE-2014-0145", 2);
}

#[test]
fn cve_2014_0146_no_snapshots_are_taken_over() {
    set("CVE-2014-0146", 1);
}

#[test]
fn cve_2014_0147_a_table_of_reference_counts_is_there() {
    set("CVE-2014-0147", 2);
}

#[test]
fn cve_2014_0148_blocks_and_sectors_of_a_vhdx_have_their_sizes() {
    set("CVE-2014-0148", 3);
}

#[test]
fn cve_2014_0222_the_first_version_of_qcow_is_not_taken() {
    set("CVE-2014-0222", 1);
}

#[test]
fn cve_2014_0223_nor_is_one_of_a_size_that_overflows() {
    set("CVE-2014-0223", 1);
}

#[test]
fn cve_2015_5163_no_device_of_the_host_is_behind_an_image() {
    set("CVE-2015-5163", 1);
}

#[test]
fn cve_2026_24709_the_format_of_a_backing_file_is_refused_without_the_file() {
    set("CVE-2026-24709", 1);
}

#[test]
fn cve_2021_40085_no_network_setting_holds_a_line_break() {
    for evil in ["br0\ndhcp-script=/tmp/x", "br0\r", "br0 up", "br0;id", "../br0", ""] {
        let ovs = NetworkSpec::Ovs { bridge: evil.into(), uplink: None, vlan: None };
        assert_eq!(ovs.check().unwrap_err().violations[0].field, "bridge", "{evil:?}");
        if !evil.is_empty() {
            let ovs = NetworkSpec::Ovs { bridge: "br0".into(), uplink: Some(evil.into()), vlan: None };
            assert_eq!(ovs.check().unwrap_err().violations[0].field, "uplink", "{evil:?}");
        }
        assert!(NetworkSpec::Nat { cidr: format!("10.0.0.0/24{evil}\n") }.check().is_err(), "{evil:?}");
    }
}

#[test]
fn cve_2019_9735_a_prefix_that_is_none_is_refused() {
    for cidr in ["0.0.0.0/33", "0.0.0.0/0", "10.0.0.0/-1", "10.0.0.0/24/8", "10.0.0.0", "10.0.0.256/24", "::/0", "10.0.0.0/024x"] {
        assert!(NetworkSpec::Nat { cidr: cidr.into() }.check().is_err(), "{cidr}");
    }
}

#[test]
fn cve_2018_1000095_a_name_holds_no_markup() {
    for evil in ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "a&lt;b", "javascript:alert(1)", "a'b"] {
        assert!(name::check("name", evil).is_err(), "{evil}");
    }
}

#[test]
fn cve_2012_1585_a_name_is_short() {
    assert!(name::check("name", &"x".repeat(64)).is_err() && name::check("name", &"x".repeat(63)).is_ok());
    let e = Error::not_found("VM", "x".repeat(1_000_000));
    assert!(e.message.len() < 300, "and what was typed does not fill logs");
}

#[test]
fn cve_2026_25077_no_name_is_an_option_or_a_path() {
    for evil in ["-rf", "--help", "../x", "/etc/passwd", ".", "..", ".hidden", "a/b", "a;b", "a b", "a\nb", "$(id)", "a`id`"] {
        assert!(name::check("name", evil).is_err(), "{evil:?}");
    }
}

#[test]
fn cve_2014_3708_a_filter_is_bounded() {
    let long = vec!["name = a"; filter::TERMS_MAX + 1].join(" or ");
    assert!(filter::parse(&long).is_err());
    assert!(filter::parse(&format!("name in ({})", vec!["a"; 300].join(","))).is_err());
    assert!(filter::parse(&"(".repeat(filter::DEPTH_MAX + 2)).is_err());
    assert!(filter::parse(&format!("name = \"{}\"", "a".repeat(filter::FILTER_BYTES_MAX))).is_err());
}

#[test]
fn cve_2017_15113_first_boot_settings_do_not_show_in_debug_text() {
    let settings = CloudInit { user_data: Some("password: hunter2".into()), network_config: Some("key: hunter2".into()), ..CloudInit::default() };
    let spec = format!("{settings:?} {:?}", Some(&settings));
    assert!(!spec.contains("hunter2"), "{spec}");
}

/// A package of the hostile set that stands for that flaw is refused, with that reason.
fn package_refused(flaw: &str, why: &str) {
    let set: Vec<_> = images::hostile::all().into_iter().filter(|h| h.flaw == flaw && h.what.starts_with("OV") && h.why.contains(why)).collect();
    assert!(!set.is_empty(), "{flaw}: {why}");
    for h in &set {
        refused(&h.bytes, why);
    }
}

#[test]
fn cve_2013_4179_entities_of_an_ovf_are_not_resolved() {
    package_refused("CVE-2013-4179", "document type");
    package_refused("CVE-2013-1664", "document type");
}

#[test]
fn cve_2013_4183_an_ovf_has_no_entities_of_its_own() {
    package_refused("CVE-2013-4183", "entities");
}

#[test]
fn cve_2021_21972_a_package_holds_no_path() {
    package_refused("CVE-2021-21972", "path");
}

#[test]
fn cve_2025_34028_nor_one_in_the_words_of_windows() {
    package_refused("CVE-2025-34028", "path");
}

#[test]
fn cve_2026_115375_a_package_holds_no_link() {
    package_refused("CVE-2026-115375", "link");
}
