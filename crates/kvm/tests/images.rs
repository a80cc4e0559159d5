//! Foreign images on a host for real: what is right arrives as the same disk, what is hostile is refused before any program
//! opens it, and what a program would be made to do reaches nothing. Needs qemu-img and strace (scripts/setup.sh).

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use virga_agent::host::*;
use virga_kvm::{Config, Kvm, foreign};
use virga_model::ImageId;
use virga_model::image::{ImageFormat, inspect};
use virga_model::order::ImageRef;
use virga_tests::images::{self, hostile};

/// Says where a traced test works; without it, it works in a folder of its own.
const FOLDER: &str = "VIRGA_TEST_FOLDER";

async fn open(folder: &Path) -> Arc<Kvm> {
    Kvm::open(Config { libvirt_uri: "test:///default".into(), store: folder.join("store"), run: folder.join("run") }).await.unwrap()
}

fn reference(bytes: &[u8], format: ImageFormat, virtual_bytes: u64) -> ImageRef {
    ImageRef { id: ImageId(uuid::Uuid::new_v4()), format, size_bytes: bytes.len() as u64, virtual_bytes, sha256: hex::encode(Sha256::digest(bytes)) }
}

/// Brings an image to the host the way a transfer does.
async fn import(k: &Kvm, bytes: &[u8], image: &ImageRef) -> Result<()> {
    for (i, piece) in bytes.chunks(4 << 20).enumerate() {
        k.image_write(None, image, (i as u64) * (4 << 20), piece).await.unwrap();
    }
    if bytes.is_empty() {
        k.image_write(None, image, 0, &[]).await.unwrap();
    }
    k.image_commit(None, image).await
}

fn qemu_img(args: &[&str]) -> String {
    let o = Command::new("qemu-img").args(args).stdin(Stdio::null()).output().expect("qemu-img (qemu-utils)");
    assert!(o.status.success(), "qemu-img {args:?}: {}", String::from_utf8_lossy(&o.stderr));
    String::from_utf8_lossy(&o.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A disk of 4 MiB with data here and there, and zeros.
fn pattern(path: &Path) {
    let f = std::fs::File::create(path).unwrap();
    f.set_len(4 << 20).unwrap();
    for n in 0..9u8 {
        let block: Vec<u8> = (0..30_000u32).map(|i| (i / 7).to_le_bytes()[usize::from(n) % 4] ^ n).collect();
        f.write_all_at(&block, u64::from(n) * 450_000).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_formats_arrive_as_the_same_disk() {
    let dir = tempfile::tempdir().unwrap();
    let k = open(dir.path()).await;
    let raw = dir.path().join("disk.raw");
    pattern(&raw);
    for (format, driver, options) in [
        (ImageFormat::Vmdk, "vmdk", "subformat=streamOptimized"),
        (ImageFormat::Vmdk, "vmdk", "subformat=monolithicSparse"),
        (ImageFormat::Vmdk, "vmdk", "subformat=monolithicSparse,zeroed_grain=on"),
        (ImageFormat::Vhd, "vpc", "subformat=dynamic"),
        (ImageFormat::Vhd, "vpc", "subformat=dynamic,force_size=on"),
        (ImageFormat::Vhd, "vpc", "subformat=fixed"),
        (ImageFormat::Vhdx, "vhdx", "subformat=dynamic"),
        (ImageFormat::Vhdx, "vhdx", "subformat=fixed,block_size=1M"),
        (ImageFormat::Vhdx, "vhdx", "subformat=dynamic,block_size=16M"),
        (ImageFormat::Qcow2, "qcow2", "compat=0.10"),
        (ImageFormat::Qcow2, "qcow2", "compression_type=zstd,cluster_size=2M"),
        (ImageFormat::Qcow2, "qcow2", "extended_l2=on,preallocation=metadata"),
        (ImageFormat::Qcow2, "qcow2", "refcount_bits=1,lazy_refcounts=on,cluster_size=4k"),
    ] {
        let what = format!("{driver} {options}");
        let file = dir.path().join("disk.foreign");
        qemu_img(&["convert", "-f", "raw", "-O", driver, "-o", options, text(&raw), text(&file)]);
        let bytes = std::fs::read(&file).unwrap();
        let seen = inspect(&mut bytes.as_slice(), bytes.len() as u64).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(seen.format, format, "{what}");
        let image = reference(&bytes, format, seen.virtual_bytes);
        import(&k, &bytes, &image).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(k.images(None).await.unwrap().contains(&image.id), "{what}");
        let kept = dir.path().join("store/images").join(format!("{}.qcow2", image.id));
        qemu_img(&["compare", "-q", "-f", "raw", "-F", "qcow2", text(&raw), text(&kept)]);
        qemu_img(&["check", "-q", "-f", "qcow2", text(&kept)]);
        let info: Value = serde_json::from_str(&qemu_img(&["info", "--output=json", "-f", "qcow2", text(&kept)])).unwrap();
        assert_eq!(info["virtual-size"].as_u64(), Some(seen.virtual_bytes), "{what}");
        // Again: it is there already.
        k.image_commit(None, &image).await.unwrap();
        k.image_remove(image.id).await.unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join("store/images")).unwrap().count(), 0, "{what}: nothing is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_builders_of_tests_call_right_is_right_for_qemu_too() {
    let dir = tempfile::tempdir().unwrap();
    for (driver, bytes, size) in [
        ("qcow2", images::qcow2(), images::VIRTUAL_BYTES),
        ("qcow2", images::qcow2_v2(), images::VIRTUAL_BYTES),
        ("vmdk", images::vmdk_stream(), 1 << 20),
        ("vmdk", images::vmdk_sparse(), 1 << 20),
        ("vpc", images::vhd_fixed(), 4 << 20),
        ("vpc", images::vhd_dynamic(), 4 << 20),
        ("vhdx", images::vhdx(), images::VIRTUAL_BYTES),
    ] {
        let file = dir.path().join("right");
        std::fs::write(&file, bytes).unwrap();
        let info: Value = serde_json::from_str(&qemu_img(&["info", "--output=json", "-f", driver, text(&file)])).unwrap();
        assert_eq!(info["virtual-size"].as_u64(), Some(size), "{driver}");
        qemu_img(&["convert", "-f", driver, "-O", "raw", text(&file), text(&dir.path().join("out"))]);
    }
}

/// A folder for a test, which a tracing test may have chosen.
fn folder() -> (Option<tempfile::TempDir>, PathBuf) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return (None, folder.into());
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_path_buf();
    (Some(dir), path)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hostile_set_is_refused_on_a_host() {
    let (_kept, folder) = folder();
    let k = open(&folder).await;
    let (mut refused, set) = (0, hostile::all());
    for h in &set {
        // A manager that was taken over may say of it what it likes.
        let claims = [ImageFormat::Vmdk, ImageFormat::Qcow2, ImageFormat::Raw, ImageFormat::Vhd, ImageFormat::Vhdx];
        for claimed in claims.into_iter().take(if h.bytes.len() > 1 << 19 { 1 } else { 5 }) {
            let image = reference(&h.bytes, claimed, 1 << 20);
            let e = import(&k, &h.bytes, &image).await.expect_err(&h.what);
            assert!(e.message.contains("thrown away") && e.message.contains(h.why), "{}: {e}", h.what);
            refused += 1;
        }
    }
    assert!(k.images(None).await.unwrap().is_empty());
    assert_eq!(std::fs::read_dir(folder.join("store/images")).unwrap().count(), 0, "nothing is left");
    println!("{} hostile images, {refused} tries, all refused", set.len());
}

/// What reads files outside if it is obeyed: the format that `qemu-img` is told, and the file.
fn traps(secret: &str) -> Vec<(ImageFormat, &'static str, Vec<u8>)> {
    let flat = images::vmdk_descriptor("monolithicFlat", "ffffffff", &format!("RW 2048 FLAT \"{secret}\" 0"));
    let sparse = images::vmdk_descriptor("monolithicSparse", "ffffffff", &format!("RW 2048 FLAT \"{secret}\" 0"));
    let parent = images::vmdk_descriptor("monolithicSparse", "deadbeef", &format!("parentFileNameHint=\"{secret}\"\nRW 2048 SPARSE \"disk.vmdk\""));
    let json = format!(r#"json:{{"driver":"file","filename":"{secret}"}}"#);
    vec![
        (ImageFormat::Qcow2, "backing file", hostile::backed_by(secret)),
        (ImageFormat::Qcow2, "json: backing file", hostile::backed_by(&json)),
        (ImageFormat::Qcow2, "external data file", hostile::data_in(secret)),
        (ImageFormat::Qcow2, "json: data file", hostile::data_in(&json)),
        (ImageFormat::Qcow2, "backing file by NBD", hostile::backed_by("nbd://127.0.0.1:10809/x")),
        (ImageFormat::Qcow2, "backing folder", hostile::backed_by("fat:/etc")),
        (ImageFormat::Vmdk, "flat extent", [flat.as_bytes(), &[0; 4096]].concat()),
        (ImageFormat::Vmdk, "no capacity", images::with(images::with_descriptor(images::vmdk_sparse(), &sparse), &[(12, &[0; 8])])),
        (ImageFormat::Vmdk, "parent", images::with_descriptor(images::vmdk_sparse(), &parent)),
    ]
}

const MARK: &[u8] = b"what nobody may see";

/// The inspector is left out here: this is what holds if it ever misses something.
#[tokio::test(flavor = "multi_thread")]
async fn the_cage_holds_where_no_inspector_looked() {
    let (_kept, folder) = folder();
    let secret = folder.join("secret");
    std::fs::write(&secret, MARK.repeat(4096)).unwrap();
    let (from, to) = (folder.join("from"), folder.join("to"));
    for (format, what, bytes) in traps(text(&secret)) {
        std::fs::write(&from, &bytes).unwrap();
        let e = foreign::convert_uninspected(&from, format, 1 << 30, &to).await.expect_err(what);
        println!("{what}: {e}");
        let made = std::fs::read(&to).unwrap_or_default();
        assert!(!made.windows(MARK.len()).any(|w| w == MARK), "{what}");
    }
}

/// One call of a trace.
#[derive(Debug)]
struct Call {
    name: String,
    /// The first text in its arguments: a path, or an address.
    what: String,
    failed: bool,
    line: String,
}

/// Runs a test of this program under strace, in `folder`.
fn traced(test: &str, folder: &Path) -> Vec<Call> {
    let log = folder.with_extension("trace");
    let o = Command::new("strace")
        .args(["-f", "-qq", "-s", "4096", "-e", "trace=open,openat,openat2,creat,connect,execve,bind,mount,symlink,symlinkat,link,linkat", "-o"])
        .arg(&log)
        .arg("--")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder)
        // Where cargo would have libraries looked for first.
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::null())
        .output()
        .expect("strace");
    assert!(o.status.success(), "{}\n{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    let (mut calls, mut begun) = (Vec::new(), HashMap::new());
    for line in String::from_utf8_lossy(&std::fs::read(&log).unwrap()).lines() {
        let (pid, rest) = line.split_once(' ').unwrap();
        let mut whole = rest.trim().to_string();
        if let Some(start) = whole.strip_suffix("<unfinished ...>") {
            begun.insert(pid.to_string(), start.to_string());
            continue;
        }
        if whole.starts_with("<... ") {
            let Some(start) = begun.remove(pid) else { continue };
            whole = format!("{start}{}", whole.split_once("resumed>").map_or("", |(_, r)| r));
        }
        if let Some((name, args)) = whole.split_once('(') {
            let what = args.split('"').nth(1).unwrap_or(args).to_string();
            calls.push(Call { name: name.into(), what, failed: whole.contains(") = -1 "), line: whole.clone() });
        }
    }
    // A call that did not come back was begun all the same.
    calls.extend(begun.into_values().filter_map(|s| {
        let (name, args) = s.split_once('(')?;
        Some(Call { name: name.into(), what: args.split('"').nth(1).unwrap_or(args).to_string(), failed: false, line: s.clone() })
    }));
    calls
}

/// Places of the system that every program looks at.
fn of_the_system(path: &str) -> bool {
    let places = [
        "/usr/",
        "/lib/",
        "/lib64/",
        "/etc/ld.so.",
        "/proc/",
        "/sys/",
        "/dev/null",
        "/dev/urandom",
        "/dev/tty",
        "/etc/libvirt/",
        "/etc/ssl/",
        "/etc/localtime",
        "/etc/gcrypt/",
        "/etc/nsswitch.conf",
        "/etc/passwd",
    ];
    places.iter().any(|p| path.starts_with(p)) || ["/", ""].contains(&path)
}

fn outside<'a>(calls: &'a [Call], folder: &Path) -> Vec<&'a str> {
    let own = std::env::current_exe().unwrap();
    calls
        .iter()
        .filter(|c| c.name != "execve" && !Path::new(&c.what).starts_with(folder) && !of_the_system(&c.what) && Path::new(&c.what) != own)
        .map(|c| c.line.as_str())
        .collect()
}

#[test]
fn no_hostile_image_makes_a_host_open_anything_outside_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("work");
    std::fs::create_dir(&folder).unwrap();
    let calls = traced("the_hostile_set_is_refused_on_a_host", &folder);
    let opened = calls.iter().filter(|c| Path::new(&c.what).starts_with(&folder)).count();
    assert!(opened >= 3 * hostile::all().len(), "the trace shows the work: {opened} opens in the folder");
    let programs: Vec<_> = calls.iter().filter(|c| c.name == "execve").skip(1).collect();
    assert!(programs.is_empty(), "no program is given any of them: {programs:?}");
    let outside = outside(&calls, &folder);
    assert!(outside.is_empty(), "{outside:#?}");
    let names = ["shadow", "/dev/sd", "169.254", "environ", "10809", "cron", "nobody"];
    let followed: Vec<_> = calls.iter().filter(|c| names.iter().any(|n| c.line.contains(n))).collect();
    assert!(followed.is_empty(), "{followed:#?}");
    println!("{} calls traced, {opened} in the store, none outside, no program started", calls.len());
}

#[test]
fn what_a_caged_program_is_made_to_open_stays_shut() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("work");
    std::fs::create_dir(&folder).unwrap();
    let calls = traced("the_cage_holds_where_no_inspector_looked", &folder);
    let secret = folder.join("secret");
    let (shut, opened): (Vec<&Call>, Vec<&Call>) = calls.iter().filter(|c| c.name.starts_with("open") && Path::new(&c.what) == secret).partition(|c| c.failed);
    assert!(shut.len() >= 6 && shut.iter().all(|c| c.line.contains("EACCES")), "QEMU was made to try: {shut:#?}");
    assert!(opened.len() == 1 && opened[0].line.contains("O_CREAT"), "only the test itself, which made it: {opened:#?}");
    assert!(calls.iter().filter(|c| c.name == "connect").all(|c| c.failed), "no network");
    // The agent names the system's folders to the kernel (O_PATH), which opens nothing.
    let outside: Vec<_> =
        outside(&calls, &folder).into_iter().filter(|l| !l.contains(") = -1 ") && !l.contains("O_PATH") && !l.contains("AF_NETLINK")).collect();
    assert!(outside.is_empty(), "{outside:#?}");
    let programs: Vec<&str> = calls.iter().filter(|c| c.name == "execve").skip(1).map(|c| c.what.as_str()).collect();
    assert!(programs.len() == 2 * traps("").len() && programs.iter().all(|p| ["/usr/bin/prlimit", "/usr/bin/qemu-img"].contains(p)), "{programs:?}");
    println!("{} tries to open the file outside, all refused by the kernel", shut.len());
}
