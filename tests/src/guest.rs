//! What runs inside a tiny guest: commands through its agent, and a writer whose blocks can be checked from outside.

use crate::cloud::{Cloud, wait_until};
use base64::Engine as _;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Bytes of a block that the writer writes at once.
const BLOCK: usize = 4096;

/// Runs a line of shell in a guest and gives what it printed.
///
/// # Errors
/// When the guest agent does not answer, or the program does not end in time.
pub fn sh(cloud: &Cloud, vm: &str, line: &str) -> Result<String, String> {
    let ask = |question: &Value| {
        let o = cloud.lab.virsh(&["qemu-agent-command", "--timeout", "10", vm, &question.to_string()]);
        if !o.status.success() {
            return Err(String::from_utf8_lossy(&o.stderr).into_owned());
        }
        serde_json::from_slice::<Value>(&o.stdout).map_err(|e| e.to_string())
    };
    let run = json!({"execute": "guest-exec", "arguments": {"path": "/bin/sh", "arg": ["-c", line], "capture-output": true}});
    let status = json!({"execute": "guest-exec-status", "arguments": {"pid": ask(&run)?["return"]["pid"]}});
    for _ in 0..200 {
        let s = ask(&status)?;
        if s["return"]["exited"] == true {
            let out = base64::engine::general_purpose::STANDARD.decode(s["return"]["out-data"].as_str().unwrap_or_default());
            return out.map(|o| String::from_utf8_lossy(&o).trim().to_string()).map_err(|e| e.to_string());
        }
    }
    Err(format!("{line}: does not end in the guest"))
}

/// A program in a guest that writes block after block to a raw disk, each with its number and a checksum, and notes a
/// number only when the disk has acknowledged it (fsync).
pub struct Writer {
    vm: String,
}

impl Writer {
    /// Starts one that goes on after block `from`; `device` is a disk of the guest (`/dev/vdb`).
    #[must_use]
    pub fn start(cloud: &Cloud, vm: &str, device: &str, from: u64) -> Writer {
        let script = format!(
            "cat > /tmp/writer <<'END'\n\
             i={from}\n\
             while [ -e /tmp/go ]; do\n\
             i=$((i+1)); t=$(printf 'virga %08d' $i)\n\
             printf '%s %s\\n' \"$t\" \"$(printf %s \"$t\" | crc32)\" > /tmp/block\n\
             dd if=/tmp/block of={device} bs={BLOCK} seek=$i conv=notrunc,sync,fsync 2>/tmp/writer.err || break\n\
             echo $i > /tmp/acknowledged.new; mv /tmp/acknowledged.new /tmp/acknowledged\n\
             done; touch /tmp/ended\n\
             END\n\
             rm -f /tmp/ended; touch /tmp/go; echo {from} > /tmp/acknowledged; sh /tmp/writer >/dev/null 2>&1 </dev/null & echo begun"
        );
        wait_until("the writer to begin", || match sh(cloud, vm, &script)?.as_str() {
            "begun" => Ok(()),
            other => Err(other.to_string()),
        });
        Writer { vm: vm.into() }
    }

    /// The last block that the disk has acknowledged.
    #[must_use]
    pub fn acknowledged(&self, cloud: &Cloud) -> u64 {
        wait_until("the writer's number", || sh(cloud, &self.vm, "cat /tmp/acknowledged")?.parse().map_err(|e| format!("{e}")))
    }

    /// Waits until so many blocks more are acknowledged: the guest's disks answer.
    pub fn wait_more(&self, cloud: &Cloud, blocks: u64) -> u64 {
        let from = self.acknowledged(cloud);
        wait_until("the writer to go on", || match self.acknowledged(cloud) {
            n if n >= from + blocks => Ok(n),
            n => Err(format!("{n} after {from}; {:?}", sh(cloud, &self.vm, "cat /tmp/writer.err"))),
        })
    }

    /// Ends it; the last block that is acknowledged.
    #[must_use]
    pub fn end(self, cloud: &Cloud) -> u64 {
        let line = "rm -f /tmp/go; while [ ! -e /tmp/ended ]; do usleep 50000; done; cat /tmp/acknowledged";
        wait_until("the writer to end", || sh(cloud, &self.vm, line)?.parse().map_err(|e| format!("{e}")))
    }
}

/// How many blocks a disk of a running guest holds, from `at_least` on.
#[must_use]
pub fn last_block(cloud: &Cloud, vm: &str, device: &str, at_least: u64) -> u64 {
    let line = format!("i={at_least}; while dd if={device} bs={BLOCK} skip=$((i+1)) count=1 2>/dev/null | grep -q ^virga; do i=$((i+1)); done; echo $i");
    wait_until("the last block", || sh(cloud, vm, &line)?.parse().map_err(|e| format!("{e}")))
}

/// Checks a disk file on which nobody writes: how many blocks it holds, from the first without a gap.
///
/// # Panics
/// When a block is spoilt, stands at another's place, or comes after a gap.
#[must_use]
pub fn blocks(file: &Path) -> u64 {
    let raw = file.with_extension("raw");
    let o = Command::new("qemu-img").args(["convert", "-f", "qcow2", "-O", "raw"]).arg(file).arg(&raw).output().expect("qemu-img");
    assert!(o.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&o.stderr));
    let content = std::fs::read(&raw).expect("the raw disk");
    std::fs::remove_file(&raw).expect("the raw disk");
    let mut last = 0;
    for (n, block) in content.chunks(BLOCK).enumerate().skip(1) {
        if block.iter().all(|b| *b == 0) {
            continue;
        }
        let text = format!("virga {n:08}");
        let whole = format!("{text} {}\n", crc32(text.as_bytes()));
        assert!(block.starts_with(whole.as_bytes()), "block {n} of {}: {:?}", file.display(), String::from_utf8_lossy(&block[..64]));
        assert_eq!(n as u64, last + 1, "a gap before block {n} of {}", file.display());
        last = n as u64;
    }
    last
}

/// CRC-32 as `crc32` prints it (ISO 3309).
fn crc32(data: &[u8]) -> String {
    let bit = |c: u32, _| if c & 1 == 0 { c >> 1 } else { c >> 1 ^ 0xEDB8_8320 };
    format!("{:08x}", !data.iter().fold(!0u32, |c, byte| (0..8).fold(c ^ u32::from(*byte), bit)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn sums_are_those_of_the_guest() {
        assert_eq!(super::crc32(b"123456789"), "cbf43926");
    }
}
