//! A private libvirtd for tests: a process tree in namespaces of its own (network, mounts, host name, processes).
//!
//! Only libvirt's own folders are private; everything else of the file system is as outside, so a store below the
//! lab's folder is seen by the tests and by QEMU alike, and libvirt is reached from outside through its socket. The
//! tree dies with the lab: at `Drop`, and also when the test process is killed. Settings are for a lab: a real host
//! keeps confinement, cgroups and a user of its own for QEMU.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A host of the lab.
pub struct Lab {
    folder: tempfile::TempDir,
    child: Child,
}

const SCRIPT: &str = r#"
set -e
R=$1
hostname "$2"
mkdir -p /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt
mount --bind "$R/run" /run/libvirt
mount --bind "$R/etc" /etc/libvirt
mount --bind "$R/lib" /var/lib/libvirt
mount --bind "$R/log" /var/log/libvirt
mount --bind "$R/cache" /var/cache/libvirt
mount -t sysfs sysfs /sys
ip link set lo up
# As on a real host, where QEMU's user may use it. With a /dev/kvm for root only libvirt finds KVM when it asks QEMU,
# then finds that QEMU's user has none, throws its knowledge away and asks again: a definition takes a minute.
if [ -c /dev/kvm ]; then
    mknod -m 666 "$R/kvm" c 10 232
    mount --bind "$R/kvm" /dev/kvm
fi
echo $$ > "$R/ready"
# Process 1 of the tree: it also reaps what libvirtd leaves behind. "halt" stops libvirtd for a while.
while :; do
    while [ -e "$R/halt" ]; do sleep 0.1; done
    libvirtd -p /run/libvirt/libvirtd.pid >>"$R/libvirtd.out" 2>&1 || :
    sleep 0.1
done
"#;

impl Lab {
    /// Starts a host and waits until its libvirtd answers.
    ///
    /// # Panics
    /// When it does not come up: the machine lacks something, and the message says what.
    pub fn start(name: &str) -> Lab {
        Lab::start_as(name, "root", "root")
    }

    /// As [`Lab::start`], with QEMU running as that user and group.
    ///
    /// # Panics
    /// As [`Lab::start`].
    pub fn start_as(name: &str, user: &str, group: &str) -> Lab {
        assert!(rustix_is_root(), "the lab makes namespaces: run the tests as root");
        let folder = tempfile::Builder::new().prefix("virga-").tempdir().expect("a temporary folder");
        let root = folder.path().to_path_buf();
        for f in ["run", "etc", "lib", "log", "cache"] {
            std::fs::create_dir(root.join(f)).expect("a folder of the lab");
        }
        // QEMU's user passes through.
        std::fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o711)).expect("permissions");
        let uuid = uuid::Uuid::new_v4();
        let libvirtd =
            format!("listen_tls = 0\nlisten_tcp = 0\nunix_sock_group = \"root\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\nhost_uuid = \"{uuid}\"\n");
        std::fs::write(root.join("etc/libvirtd.conf"), libvirtd).expect("libvirtd.conf");
        let qemu =
            format!("user = \"{user}\"\ngroup = \"{group}\"\nsecurity_driver = \"none\"\nnamespaces = []\ncgroup_controllers = []\nstdio_handler = \"file\"\n");
        std::fs::write(root.join("etc/qemu.conf"), qemu).expect("qemu.conf");
        let child = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--net",
                "--mount",
                "--uts",
                "--pid",
                "--fork",
                "--kill-child=KILL",
                "--mount-proc",
                "--propagation",
                "private",
            ])
            .args(["sh", "-c", SCRIPT, "lab"])
            .arg(&root)
            .arg(name)
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(root.join("lab.err")).expect("a log"))
            .spawn()
            .expect("setpriv and unshare (util-linux)");
        let lab = Lab { folder, child };
        lab.wait_up();
        lab
    }

    /// Waits until libvirtd answers.
    ///
    /// # Panics
    /// When it does not within 30 s.
    pub fn wait_up(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        while !self.virsh(&["version"]).status.success() {
            let log = |n: &str| std::fs::read_to_string(self.path().join(n)).unwrap_or_default();
            assert!(Instant::now() < end, "the lab's libvirtd does not answer:\n{}{}", log("lab.err"), log("libvirtd.out"));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The lab's folder; short enough for sockets.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where to connect to, also from outside.
    pub fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}/run/libvirt-sock", self.path().display())
    }

    /// Runs virsh against the lab's libvirtd.
    pub fn virsh(&self, args: &[&str]) -> Output {
        Command::new("virsh").args(["-q", "-c", &self.uri()]).args(args).stdin(Stdio::null()).output().expect("virsh (libvirt-clients)")
    }

    /// As [`Lab::virsh`], giving what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn virsh_ok(&self, args: &[&str]) -> String {
        let o = self.virsh(args);
        assert!(o.status.success(), "virsh {args:?}: {}", String::from_utf8_lossy(&o.stderr));
        String::from_utf8_lossy(&o.stdout).into_owned()
    }

    /// Process 1 of the lab, as seen from outside.
    fn init(&self) -> u32 {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let text = std::fs::read_to_string(children).unwrap_or_default();
        text.split_whitespace().next().and_then(|p| p.parse().ok()).expect("the lab runs")
    }

    /// A command that will run inside the lab.
    pub fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut c = Command::new("nsenter");
        c.args(["-t", &self.init().to_string(), "--net", "--mount", "--uts", "--pid", "--"]).arg(program);
        c
    }

    /// Ends libvirtd and keeps it down until [`Lab::libvirtd_up`]; guests go on.
    pub fn libvirtd_down(&self) {
        std::fs::write(self.path().join("halt"), "").expect("a file");
        self.signal("KILL");
    }

    /// Lets libvirtd run again.
    pub fn libvirtd_up(&self) {
        let _ = std::fs::remove_file(self.path().join("halt"));
        self.wait_up();
    }

    /// Sends a signal to the lab's libvirtd.
    pub fn signal(&self, signal: &str) {
        // The process ids are the lab's own: nothing outside can be hit.
        let script = format!("kill -{signal} $(cat /run/libvirt/libvirtd.pid)");
        let done = self.inside("sh").args(["-c", &script]).output().expect("nsenter");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// The same when it runs; nothing when it is just being started again.
    pub fn signal_if_up(&self, signal: &str) {
        let script = format!("kill -{signal} $(cat /run/libvirt/libvirtd.pid) 2>/dev/null");
        let _ = self.inside("sh").args(["-c", &script]).output();
    }

    /// A folder below the lab's.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // `--kill-child` takes process 1 of the lab along, and with it everything in it.
        let init = self.init();
        let _ = Command::new("kill").args(["-KILL", &init.to_string()]).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.path().join("log/qemu");
            for f in std::fs::read_dir(log).into_iter().flatten().flatten() {
                let text = std::fs::read_to_string(f.path()).unwrap_or_default();
                eprintln!("--- {}\n{}", f.path().display(), text.lines().rev().take(15).collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

fn rustix_is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// The tiny guest's disk.
///
/// # Panics
/// When it has not been built.
pub fn tiny_guest() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")));
    let folder = std::env::var_os("VIRGA_GUEST_DIR").map(PathBuf::from).unwrap_or_else(|| cache.unwrap_or_default().join("virga/guest"));
    let disk = folder.join("tiny.qcow2");
    assert!(disk.is_file(), "there is no {}: run scripts/guest-image.sh first", disk.display());
    disk
}
