//! Templates and clones on real QEMU: what a clone reads is what its source had, what it writes is its own, what is below it
//! is protected, and no file is left that no row knows; of running guests, and with manager and agent killed in between.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use virga_tests::cloud::{Cloud, wait_until};
use virga_tests::guest::{Writer, blocks};

/// Bytes that are written and looked at.
const LENGTH: &str = "1M";

fn noun(cloud: &Cloud, noun: &str, name: &str) -> Value {
    serde_json::from_str(&cloud.virga_ok(&[noun, "show", name, "-o", "json"])).expect("JSON")
}

fn id(v: &Value) -> String {
    v["id"].as_str().expect("an id").into()
}

/// The shared data store, where there is one.
const STORE: &str = "gold";

/// The file of a VM's or template's n-th disk that is written.
fn file(cloud: &Cloud, v: &Value, disk: usize) -> PathBuf {
    let spec = &v["spec"]["disks"][disk];
    let d = id(spec);
    let layers = &v["spec"]["layers"];
    // A disk that was made when the top was the top already is written in its base file.
    let name = match layers["top"].as_str().filter(|top| layers["since"][&d] != *top) {
        Some(layer) => format!("{d}.{layer}.qcow2"),
        None => format!("{d}.{}", spec["format"].as_str().unwrap_or("qcow2")),
    };
    let store = if spec["store"].is_null() { "agent/store/vms" } else { "gold/vms" };
    cloud.lab.folder(store).join(id(v)).join(name)
}

fn format(file: &Path) -> &str {
    file.extension().and_then(|e| e.to_str()).expect("an extension")
}

fn qemu_io(file: &Path, command: &str) -> bool {
    let o = Command::new("qemu-io").args(["-f", format(file), "-r", "-U", "-c", command]).arg(file).output().expect("qemu-io");
    let text = String::from_utf8_lossy(&o.stdout).into_owned() + &String::from_utf8_lossy(&o.stderr);
    let fine = o.status.success() && !text.contains("failed") && !text.contains("error");
    if !fine {
        eprintln!("qemu-io, {}: {text}", file.display());
    }
    fine
}

fn write(file: &Path, pattern: u8) {
    let o = Command::new("qemu-io").args(["-f", format(file), "-c", &format!("write -P {pattern} 0 {LENGTH}")]).arg(file).output().expect("qemu-io");
    assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
}

fn reads(file: &Path, pattern: u8) -> bool {
    qemu_io(file, &format!("read -P {pattern} 0 {LENGTH}"))
}

/// The files below a file.
fn chain(file: &Path) -> usize {
    let o = Command::new("qemu-img").args(["info", "-U", "--backing-chain", "--output=json"]).arg(file).output().expect("qemu-img");
    serde_json::from_slice::<Vec<Value>>(&o.stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&o.stderr))).len()
}

/// Every file of every VM is clean, and none is half made.
fn check_files(cloud: &Cloud) {
    for folder in std::fs::read_dir(cloud.path("agent/store/vms")).expect("the folder of VMs").flatten() {
        for f in std::fs::read_dir(folder.path()).expect("a VM's folder").flatten().map(|f| f.path()) {
            let name = f.file_name().unwrap_or_default().to_string_lossy().into_owned();
            assert!(!name.ends_with(".new"), "{name} is half made");
            if name.ends_with(".qcow2") {
                let o = Command::new("qemu-img").args(["check", "-q", "-U", "-f", "qcow2"]).arg(&f).output().expect("qemu-img");
                // A leaked cluster is what a killed program leaves; anything else is damage.
                assert!(o.status.success() || o.status.code() == Some(3), "{name}: {}", String::from_utf8_lossy(&o.stdout));
            }
        }
    }
}

/// What is refused, in the words of the refusal.
fn refused(cloud: &Cloud, args: &[&str]) -> String {
    let o = cloud.virga(args);
    assert!(!o.status.success(), "{args:?} was done");
    String::from_utf8_lossy(&o.stderr).into_owned()
}

#[test]
fn a_template_and_its_clones() {
    let cloud = Cloud::start("template");
    let blank = cloud.path("blank.qcow2");
    assert!(cloud.lab.inside("qemu-img").args(["create", "-q", "-f", "qcow2", &blank, "64M"]).status().expect("qemu-img").success());
    cloud.virga_ok(&["image", "import", "blank", &blank]);
    cloud.virga_ok(&["vm", "create", "golden", "--image", "blank", "--disk", "64MiB", "--memory", "64MiB"]);
    for disk in [0, 1] {
        write(&file(&cloud, &cloud.vm("golden"), disk), 0x11);
    }
    cloud.virga_ok(&["template", "create", "gold", "--vm", "golden", "--convert", "--yes"]);
    assert!(refused(&cloud, &["vm", "start", "gold"]).contains("template"));
    let template = noun(&cloud, "template", "gold");
    let xml = cloud.lab.virsh_ok(&["dumpxml", "--inactive", "gold"]);
    assert_eq!(xml.matches("<readonly/>").count(), 2, "{xml}");

    cloud.virga_ok(&["template", "deploy", "gold", "two-{n}", "--count", "3", "--kind", "linked"]);
    cloud.virga_ok(&["template", "deploy", "gold", "three", "--kind", "linked", "--form", "three_level"]);
    cloud.virga_ok(&["template", "deploy", "gold", "full", "--kind", "full"]);
    let of = |name: &str, disk| file(&cloud, &cloud.vm(name), disk);
    for (name, files) in [("two-1", 3), ("three", 4), ("full", 1)] {
        assert!(reads(&of(name, 0), 0x11) && reads(&of(name, 1), 0x11), "{name} reads what the template has");
        assert_eq!(chain(&of(name, 0)), files, "{name}");
    }
    let macs: Vec<String> = ["two-1", "two-2", "three", "full"].iter().map(|n| id(&cloud.vm(n)["spec"]["disks"][0])).collect();
    assert!((1..macs.len()).all(|n| !macs[n..].contains(&macs[n - 1])), "each has an identity of its own");

    // What one writes is its own, and is gone after a refresh.
    for name in ["two-1", "three", "full"] {
        write(&of(name, 0), 0x22);
    }
    assert!(reads(&of("two-2", 0), 0x11) && reads(&file(&cloud, &template, 0), 0x11));
    let normal = "normal";
    cloud.virga_ok(&["vm", "clone", "three", normal, "--kind", "normal"]);
    cloud.virga_ok(&["vm", "clone", "two-1", "normal-two", "--kind", "normal"]);
    cloud.virga_ok(&["vm", "clone", "three", "fresh", "--kind", "fresh"]);
    cloud.virga_ok(&["vm", "clone", "three", "current", "--kind", "linked"]);
    cloud.virga_ok(&["template", "create", "merged", "--vm", "three"]);
    for (name, pattern) in [(normal, 0x22), ("normal-two", 0x22), ("fresh", 0x11), ("current", 0x22)] {
        assert!(reads(&of(name, 0), pattern), "{name}");
    }
    assert_eq!((chain(&of(normal, 0)), chain(&of("normal-two", 0))), (4, 3), "they stand on the same base");
    let merged = file(&cloud, &noun(&cloud, "template", "merged"), 0);
    assert!(reads(&merged, 0x22) && chain(&merged) == 1, "all levels are merged");
    cloud.virga_ok(&["vm", "refresh", "two-1", "--yes"]);
    cloud.virga_ok(&["vm", "refresh", "three", "--yes"]);
    cloud.virga_ok(&["vm", "refresh", normal, "--yes"]);
    for name in ["two-1", "three", normal] {
        assert!(reads(&of(name, 0), 0x11), "{name} is at its restore point");
    }
    assert!(reads(&of("current", 0), 0x22), "what stands on the source's state keeps it");
    check_files(&cloud);

    // The parents are protected, and the refusal names who stands on them.
    let e = refused(&cloud, &["template", "delete", "gold", "--yes"]);
    assert!(e.contains("two-1") && e.contains("three"), "{e}");
    assert!(refused(&cloud, &["template", "convert", "gold"]).contains("two-1"));
    assert!(refused(&cloud, &["vm", "delete", "three", "--yes"]).contains("current"));
    for name in ["two-1", "two-2", "two-3", "current", normal, "normal-two", "fresh", "three"] {
        cloud.virga_ok(&["vm", "delete", name, "--yes"]);
    }
    cloud.virga_ok(&["template", "convert", "merged"]);
    cloud.virga_ok(&["template", "delete", "gold", "--yes"]);
    assert!(reads(&of("full", 0), 0x22) && reads(&of("full", 1), 0x11), "a full clone needs nobody");
    for name in ["full", "merged"] {
        cloud.virga_ok(&["vm", "delete", name, "--yes"]);
    }
    let left = std::fs::read_dir(cloud.path("agent/store/vms")).map(Iterator::count).unwrap_or(0);
    assert_eq!(left, 0, "no file is left");
}

/// Clones of disks of other kinds than the usual one, and on data stores: what is copied keeps its kind and goes where it is
/// told, a difference lies where its base lies, and a hundred come of one request.
#[test]
fn clones_on_data_stores() {
    use std::os::unix::fs::MetadataExt;
    const MIB: u64 = 1 << 20;
    let cloud = Cloud::start("stores");
    std::fs::create_dir(cloud.path(STORE)).expect("a folder");
    cloud.virga_ok(&["data-store", "create", STORE, "--directory", &cloud.path(STORE), "--backing", "san"]);
    wait_until("the host to reach the data store", || {
        let hosts = noun(&cloud, "data-store", STORE)["hosts"].clone();
        if hosts[0]["reachable"] == true { Ok(()) } else { Err(hosts.to_string()) }
    });
    let disks = ["--disk", "64MiB,format=raw,provisioning=thick_lazy,store=local", "--disk", "64MiB,store=gold"];
    cloud.virga_ok(&[&["vm", "create", "golden", "--memory", "64MiB"], &disks[..]].concat());
    for disk in [0, 1] {
        write(&file(&cloud, &cloud.vm("golden"), disk), 0x11);
    }
    cloud.virga_ok(&["template", "create", "base", "--vm", "golden", "--convert", "--yes"]);
    cloud.virga_ok(&["template", "deploy", "base", "linked", "--kind", "linked"]);
    cloud.virga_ok(&["template", "deploy", "base", "there", "--data-store", STORE]);
    cloud.virga_ok(&["template", "deploy", "base", "here", "--data-store", "local"]);
    let linked = cloud.vm("linked");
    let kinds = |v: &Value, disk: usize| (v["spec"]["disks"][disk]["format"].clone(), v["spec"]["disks"][disk]["store"].is_null());
    assert_eq!((kinds(&linked, 0), kinds(&linked, 1)), (("qcow2".into(), true), ("qcow2".into(), false)), "a difference lies where its base lies");
    for (name, local) in [("there", false), ("here", true)] {
        let v = cloud.vm(name);
        assert_eq!((kinds(&v, 0), kinds(&v, 1)), (("raw".into(), local), ("qcow2".into(), local)), "{name}");
        let taken = std::fs::metadata(file(&cloud, &v, 0)).expect("the raw file").blocks() * 512;
        assert!(taken >= 64 * MIB, "{name}: a thick disk has its space, not {taken} bytes");
    }
    for name in ["linked", "there", "here"] {
        for disk in [0, 1] {
            assert!(reads(&file(&cloud, &cloud.vm(name), disk), 0x11), "{name} {disk}");
        }
    }
    assert_eq!(chain(&file(&cloud, &linked, 0)), 2, "on the raw file");
    let e = refused(&cloud, &["template", "deploy", "base", "x", "--kind", "linked", "--data-store", STORE]);
    assert!(e.contains("data_store") && e.contains("full"), "{e}");
    // Merged by a full clone of it: the difference on the raw file and what it stands on.
    write(&file(&cloud, &linked, 0), 0x22);
    cloud.virga_ok(&["vm", "clone", "linked", "merged", "--data-store", STORE]);
    let merged = file(&cloud, &cloud.vm("merged"), 0);
    assert!(reads(&merged, 0x22) && chain(&merged) == 1);

    // A guest starts from a difference on a raw file; its own writes are not the template's.
    cloud.virga_ok(&["vm", "start", "linked"]);
    cloud.virga_ok(&["vm", "shutdown", "linked", "--force", "--yes"]);

    let task = cloud.virga_ok(&["template", "deploy", "base", "many-{nnn}", "--count", "100", "--kind", "linked", "--no-wait"]);
    let seen = std::cell::RefCell::new(Vec::new());
    wait_until("a hundred clones", || {
        let t: Value = serde_json::from_str(&cloud.virga_ok(&["task", "show", task.trim(), "-o", "json"])).expect("JSON");
        seen.borrow_mut().push(t["progress"]["done"].as_u64().unwrap_or(0));
        if t["state"] == "succeeded" { Ok(()) } else { Err(t["progress"].to_string()) }
    });
    let seen = seen.into_inner();
    assert!(seen.iter().any(|n| (1..100).contains(n)), "the task tells how far it is: {seen:?}");
    assert!(refused(&cloud, &["template", "delete", "base", "--yes"]).contains("many-"));
    assert!(reads(&file(&cloud, &cloud.vm("many-100"), 1), 0x11));
    cloud.virga_ok(&["vm", "delete", "--filter", "name ~ many-", "--yes"]);
    for name in ["linked", "there", "here", "merged"] {
        cloud.virga_ok(&["vm", "delete", name, "--yes"]);
    }
    wait_until("all clones to be gone", || match noun(&cloud, "template", "base")["clones"].as_u64() {
        Some(0) => Ok(()),
        n => Err(format!("{n:?}")),
    });
    cloud.virga_ok(&["template", "delete", "base", "--yes"]);
    for folder in ["agent/store/vms", "gold/vms"] {
        assert_eq!(std::fs::read_dir(cloud.path(folder)).map(Iterator::count).unwrap_or(0), 0, "{folder}: no file is left");
    }
}

#[test]
fn a_guest_writes_on_while_it_is_cloned() {
    const VM: &str = "db";
    let mut cloud = Cloud::with_tiny_image("clone");
    cloud.virga_ok(&["vm", "create", VM, "--image", "tiny", "--disk", "64MiB", "--memory", "128MiB", "--network", "nat", "--start"]);
    let answers = |cloud: &Cloud, vm: &str| cloud.wait_vm(vm, "its guest agent to answer", |v| v["observed"]["guest"]["agent"] == "connected");
    answers(&cloud, VM);
    let writer = Writer::start(&cloud, VM, "/dev/vdb", 0);
    writer.wait_more(&cloud, 3);
    let held = |cloud: &Cloud, vm: &str| blocks(&file(cloud, &cloud.vm(vm), 1));
    let before = writer.acknowledged(&cloud);
    cloud.virga_ok(&["vm", "clone", VM, "linked", "--kind", "linked"]);
    cloud.virga_ok(&["vm", "clone", VM, "full"]);
    let after = writer.acknowledged(&cloud) + 1;
    for name in ["linked", "full"] {
        let n = held(&cloud, name);
        assert!((before..=after).contains(&n), "{name} holds {n} blocks, not {before} to {after}");
    }
    // Killed while it copies: the copy is made by whoever comes back.
    cloud.virga_ok(&["vm", "clone", VM, "late", "--no-wait"]);
    cloud.kill("virga-agent");
    cloud.kill("virga-manager");
    cloud.start_manager();
    cloud.start_agent();
    cloud.wait_vm("late", "the clone to be there", |v| v["observed"]["settled"] == true && v["observed"]["state"] == "stopped" && v["task"].is_null());
    assert!(held(&cloud, "late") >= after - 1);
    writer.wait_more(&cloud, 3);

    // The layer of the copies is merged again; that of the linked clone stays as long as it does.
    let layers = |cloud: &Cloud| cloud.vm(VM)["spec"]["layers"]["list"].as_array().map_or(0, Vec::len);
    wait_until("what nobody needs to be merged", || match layers(&cloud) {
        1 => Ok(()),
        n => Err(format!("{n} layers")),
    });
    cloud.virga_ok(&["vm", "start", "linked"]);
    answers(&cloud, "linked");
    assert!(refused(&cloud, &["vm", "delete", VM, "--force", "--yes"]).contains("linked"));
    cloud.virga_ok(&["vm", "refresh", "linked", "--yes"]);
    answers(&cloud, "linked");
    cloud.virga_ok(&["vm", "delete", "linked", "--force", "--yes"]);
    wait_until("the last layer to be merged", || match layers(&cloud) {
        0 => Ok(()),
        n => Err(format!("{n} layers")),
    });
    let last = writer.end(&cloud);
    cloud.wait_vm(VM, "the merge to have ended", |v| v["task"].is_null());
    cloud.virga_ok(&["vm", "shutdown", VM, "--force", "--yes"]);
    assert_eq!(held(&cloud, VM), last, "nothing that was acknowledged is lost");
    check_files(&cloud);
}
