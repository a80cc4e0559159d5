//! A host for tests that need a real one: libvirt, QEMU and the tiny guest.

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, Instant};
use virga_agent::host::*;
use virga_kvm::{Config, Kvm};
use virga_model::VmId;
use virga_model::image::inspect;
use virga_model::order::{ImageRef, VmOrder};
use virga_model::vm::*;
use virga_tests::lab::{Lab, tiny_guest};

pub async fn open(lab: &Lab) -> Arc<Kvm> {
    Kvm::open(Config { libvirt_uri: lab.uri(), store: lab.folder("store"), run: lab.folder("v") }).await.unwrap()
}

pub async fn until<F: AsyncFnMut() -> bool>(what: &str, seconds: u64, mut done: F) {
    let start = Instant::now();
    while !done().await {
        assert!(start.elapsed() < Duration::from_secs(seconds), "{what}: not within {seconds} s");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    eprintln!("{what}: {:.1} s", start.elapsed().as_secs_f32());
}

pub async fn state(k: &Kvm, vm: VmId) -> VmState {
    let all = k.domains().await.unwrap();
    all.ours.iter().find(|d| d.id == vm).map_or(VmState::Absent, |d| d.state)
}

pub async fn until_state(k: &Kvm, vm: VmId, s: VmState, seconds: u64) {
    until(&format!("{vm} {s}"), seconds, async || state(k, vm).await == s).await;
}

pub async fn until_agent(k: &Kvm, vm: VmId) -> GuestInfo {
    let mut info = GuestInfo::default();
    until("guest agent with an address", 120, async || {
        info = k.guest_info(vm).await.unwrap();
        info.agent == AgentState::Connected && !info.ips.is_empty()
    })
    .await;
    info
}

/// Puts an image into the cache the way a transfer does.
pub async fn import(k: &Kvm, bytes: &[u8], n: u128) -> ImageRef {
    let seen = inspect(&mut &*bytes, bytes.len() as u64).unwrap();
    let image = ImageRef {
        id: super::id(n),
        format: seen.format,
        size_bytes: bytes.len() as u64,
        virtual_bytes: seen.virtual_bytes,
        sha256: hex::encode(Sha256::digest(bytes)),
    };
    for (i, piece) in bytes.chunks(4 << 20).enumerate() {
        k.image_write(None, &image, (i as u64) * (4 << 20), piece).await.unwrap();
    }
    k.image_commit(None, &image).await.unwrap();
    image
}

pub async fn tiny_order(k: &Kvm, n: u128, name: &str) -> VmOrder {
    let image = import(k, &std::fs::read(tiny_guest()).unwrap(), 0xa0).await;
    let mut o = super::order(n, name);
    o.spec.disks[0].size_bytes = image.virtual_bytes.max(64 << 20);
    o.images = vec![image];
    o.spec.nics = vec![super::nic(n, 0xc0, NicModel::Virtio)];
    o
}

pub async fn make(k: &Kvm, o: &VmOrder) -> String {
    for n in &o.networks {
        k.network_ensure(n).await.unwrap();
    }
    for d in &o.spec.disks {
        k.disk_ensure(o.id, d, d.image.and_then(|i| o.images.iter().find(|r| r.id == i)), &|_| ()).await.unwrap();
    }
    k.define(o).await.unwrap()
}

/// Runs a command in the guest through its agent.
pub async fn in_guest(lab: &Lab, vm: VmId, script: &str) -> String {
    let ask = |v: Value| serde_json::from_str::<Value>(&lab.virsh_ok(&["qemu-agent-command", &vm.to_string(), &v.to_string()])).unwrap();
    let started = ask(serde_json::json!({"execute":"guest-exec","arguments":{"path":"/bin/sh","arg":["-c",script],"capture-output":true}}));
    let mut printed = None;
    until(&format!("{script} in the guest"), 30, async || {
        let s = ask(serde_json::json!({"execute":"guest-exec-status","arguments":{"pid":started["return"]["pid"]}}));
        printed = (s["return"]["exited"] == true).then(|| base64_lite::decode(s["return"]["out-data"].as_str().unwrap_or_default()));
        printed.is_some()
    })
    .await;
    printed.unwrap_or_default()
}

mod base64_lite {
    pub fn decode(text: &str) -> String {
        let value = |c: u8| match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let (mut bits, mut have, mut out) = (0u32, 0, Vec::new());
        for c in text.bytes().filter(|c| *c != b'=') {
            bits = bits << 6 | u32::from(value(c));
            have += 6;
            if have >= 8 {
                have -= 8;
                out.push((bits >> have) as u8);
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}
