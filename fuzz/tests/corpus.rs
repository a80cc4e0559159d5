//! Every input of every corpus, and two thousand mutations for each target, the same on every machine.

use std::path::PathBuf;
use virga_fuzz::mutate::{Dice, mutate};
use virga_fuzz::run::{STACK_BYTES, call, corpus};
use virga_fuzz::{TARGETS, Target};

/// Mutations for each target.
const MUTATIONS: u64 = 2000;

fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("corpus")
}

fn stands(target: &'static Target) {
    let seeds = corpus(&root(), target).unwrap();
    let work = move || {
        let mut dice = Dice::new(7);
        let mut findings = Vec::new();
        for i in 0..seeds.len() as u64 + MUTATIONS {
            let data = match seeds.get(usize::try_from(i).unwrap()) {
                Some(s) => s.clone(),
                None => {
                    let from = seeds[dice.below(seeds.len())].clone();
                    mutate(&mut dice, &from, &seeds, target.words)
                }
            };
            if let Err(why) = call(target, &data) {
                findings.push(format!("{} input {i} ({} bytes: {:?}): {why}", target.name, data.len(), String::from_utf8_lossy(&data[..data.len().min(300)])));
            }
        }
        findings
    };
    let findings = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap().join().unwrap();
    assert!(findings.is_empty(), "\n{}\n", findings[..findings.len().min(5)].join("\n"));
}

#[test]
fn inputs_of_text_targets_are_stood() {
    ["filter", "size-and-time", "query", "credentials", "join-file", "contexts", "events"].iter().for_each(|n| stands(virga_fuzz::target(n).unwrap()));
}

#[test]
fn inputs_of_json_targets_are_stood() {
    ["requests", "specifications", "cloud-init", "node-documents", "guest-agent"].iter().for_each(|n| stands(virga_fuzz::target(n).unwrap()));
}

#[test]
fn inputs_of_binary_and_xml_targets_are_stood() {
    ["image-header", "screenshot", "domain-xml", "capabilities"].iter().for_each(|n| stands(virga_fuzz::target(n).unwrap()));
}

#[test]
fn inputs_of_image_targets_are_stood() {
    ["image-qcow2", "image-vmdk", "image-vhd", "image-iso", "image-raw"].iter().for_each(|n| stands(virga_fuzz::target(n).unwrap()));
}

#[test]
fn inputs_of_the_vhdx_target_are_stood() {
    stands(virga_fuzz::target("image-vhdx").unwrap());
}

#[test]
fn inputs_of_package_targets_are_stood() {
    ["ova-tar", "ovf", "ovf-manifest"].iter().for_each(|n| stands(virga_fuzz::target(n).unwrap()));
}

#[test]
fn inputs_of_the_list_target_are_stood() {
    stands(virga_fuzz::target("list").unwrap());
}

/// A target that is in none of the tests above would never be run.
#[test]
fn every_target_has_a_corpus_of_few_kilobytes() {
    assert_eq!(TARGETS.len(), 7 + 5 + 4 + 6 + 1 + 3, "give the new target a place in one of the tests above");
    for t in TARGETS {
        let bytes: usize = corpus(&root(), t).unwrap().iter().map(Vec::len).sum();
        assert!(bytes < 100_000, "{}: {bytes} bytes", t.name);
    }
}

#[test]
fn the_runner_finds_a_planted_fault() {
    fn planted(data: &[u8]) -> u64 {
        assert!(!data.windows(2).any(|w| w == b"\0\0"), "two NULs");
        u64::from(data.first().copied().unwrap_or_default())
    }
    const TARGET: Target = Target { name: "filter", about: "planted", run: planted, words: &["\0"] };
    let out = std::env::temp_dir().join(format!("virga-fuzz-{}", std::process::id()));
    let report = virga_fuzz::run::run(&TARGET, &root(), &out, 1, std::time::Duration::from_secs(2)).unwrap();
    assert_eq!(report.findings.len(), 1);
    let found = std::fs::read(&report.findings[0]).unwrap();
    assert!(found.windows(2).any(|w| w == b"\0\0"));
    std::fs::remove_dir_all(&out).unwrap();
}
