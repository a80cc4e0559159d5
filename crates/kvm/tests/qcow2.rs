//! Our inspector of image headers beside qemu-img: what ours accepts, qemu-img understands in the same way, or refuses.
//! Needs qemu-img (scripts/setup.sh).

use serde_json::Value;
use std::process::{Command, Stdio};
use virga_model::image::{ImageFormat, inspect};

/// A small generator (xorshift64*), the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % n
    }
}

/// What qemu-img says of a file, if it takes it. The format is given, as everywhere in the product.
fn qemu(path: &std::path::Path) -> Option<Value> {
    let o = Command::new("qemu-img").args(["info", "--output=json", "-f", "qcow2"]).arg(path).stdin(Stdio::null()).output().expect("qemu-img (qemu-utils)");
    o.status.success().then(|| serde_json::from_slice(&o.stdout).expect("JSON"))
}

fn put(data: &mut [u8], at: usize, bytes: &[u8]) {
    data[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Changes one to three things of a header: fields that matter, or any byte.
fn spoil(dice: &mut Dice, data: &mut [u8]) {
    for _ in 0..=dice.below(3) {
        match dice.below(10) {
            0 => put(data, 4, &u32::try_from(dice.below(5)).unwrap().to_be_bytes()),
            1 => put(data, 8, &(dice.below(3) * 0x200).to_be_bytes()),
            2 => put(data, 16, &u32::try_from(dice.below(40)).unwrap().to_be_bytes()),
            3 => put(data, 20, &u32::try_from(dice.below(24)).unwrap().to_be_bytes()),
            4 => put(data, 24, &(1u64 << dice.below(64)).to_be_bytes()),
            5 => put(data, 32, &u32::try_from(dice.below(4)).unwrap().to_be_bytes()),
            6 => put(data, 36, &u32::try_from(dice.below(1 << 20)).unwrap().to_be_bytes()),
            7 => put(data, 72, &(1u64 << dice.below(8)).to_be_bytes()),
            8 => put(data, 104, &[0x44, 0x41, 0x54, 0x41, 0, 0, 0, 8, b'/', b'e', b't', b'c', b'/', b'x', 0, 0]),
            _ => {
                let at = usize::try_from(dice.below(144)).unwrap();
                data[at] ^= 1 << dice.below(8);
            }
        }
    }
}

#[test]
fn our_inspector_and_qemu_img_agree() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.qcow2");
    let (mut dice, mut both, mut ours_only, mut refused) = (Dice(0x9e37_79b9_7f4a_7c15), 0, 0, 0);
    let mut wrong = Vec::new();
    for round in 0..400u32 {
        if round % 50 == 0 {
            let (size, cluster) = (["1M", "1G", "64G", "3T"][round as usize / 50 % 4], ["65536", "4096", "2097152"][round as usize / 50 % 3]);
            let options = format!("cluster_size={cluster},compat={}", if round % 100 == 0 { "1.1" } else { "0.10" });
            let made =
                Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", "-o", &options]).arg(&path).arg(size).status().expect("qemu-img (qemu-utils)");
            assert!(made.success());
            std::fs::copy(&path, dir.path().join("right.qcow2")).unwrap();
        }
        let mut data = std::fs::read(dir.path().join("right.qcow2")).unwrap();
        if round % 50 != 0 {
            spoil(&mut dice, &mut data);
        }
        std::fs::write(&path, &data).unwrap();
        let ours = inspect(&mut data.as_slice(), data.len() as u64).ok().filter(|i| i.format == ImageFormat::Qcow2);
        let theirs = qemu(&path);
        assert!(round % 50 != 0 || (ours.is_some() && theirs.is_some()), "a right image is accepted by both: {ours:?}");
        match (ours, theirs) {
            (Some(i), Some(info)) => {
                both += 1;
                let leads = info.get("backing-filename").is_some() || info.pointer("/format-specific/data/data-file").is_some() || info["encrypted"] == true;
                if leads || info["virtual-size"] != i.virtual_bytes {
                    wrong.push(format!("round {round}: {i:?} and {info}"));
                }
            }
            // It will be refused later, when it is converted, with its own words.
            (Some(_), None) => ours_only += 1,
            (None, _) => refused += 1,
        }
    }
    println!("qcow2 headers: {both} accepted by both, {ours_only} by our inspector only, {refused} refused");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(both > 20 && refused > 100);
}
