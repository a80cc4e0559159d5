//! `virsh`, used behind Virga's back on a running VM, never makes it lie or destroy.

use virga_tests::cloud::Cloud;

fn drift(vm: &serde_json::Value, what: &str) -> bool {
    vm["observed"]["drift"].as_array().is_some_and(|d| d.iter().any(|x| x["what"] == what))
}

#[test]
fn what_virsh_does_is_noticed_and_nothing_is_destroyed() {
    let cloud = Cloud::with_tiny_image("meddle");
    cloud.virga_ok(&["vm", "create", "demo", "--image", "tiny", "--memory", "128MiB", "--network", "nat", "--start"]);
    let disks = || std::fs::read_dir(cloud.path("agent/store/vms")).map(Iterator::count).unwrap_or(0);

    cloud.lab.virsh_ok(&["destroy", "demo"]);
    let vm = cloud.wait_vm("demo", "drift in power", |v| drift(v, "power"));
    assert_eq!((&vm["desired"], &vm["observed"]["state"]), (&"running".into(), &"stopped".into()), "shown as it is, and what was wanted");
    cloud.virga_ok(&["vm", "start", "demo"]);
    cloud.wait_vm("demo", "no drift", |v| !drift(v, "power") && v["observed"]["state"] == "running");

    let xml = cloud.lab.virsh_ok(&["dumpxml", "--inactive", "--security-info", "demo"]);
    let edited = cloud.lab.folder("edited.xml");
    std::fs::write(&edited, xml.replace("<on_crash>destroy</on_crash>", "<on_crash>restart</on_crash>")).expect("a file");
    cloud.lab.virsh_ok(&["define", &edited.display().to_string()]);
    cloud.wait_vm("demo", "drift in definition", |v| drift(v, "definition"));
    assert!(cloud.lab.virsh_ok(&["dumpxml", "--inactive", "demo"]).contains("<on_crash>restart"), "a foreign edit is left as it is");

    cloud.lab.virsh_ok(&["undefine", "demo", "--nvram"]);
    let vm = cloud.wait_vm("demo", "definition gone, guest running", |v| drift(v, "definition") && v["observed"]["state"] == "running");
    assert_eq!(vm["observed"]["state"], "running", "the guest goes on");
    assert_eq!(disks(), 1);
    cloud.lab.virsh_ok(&["destroy", "demo"]);
    cloud.wait_vm("demo", "no domain", |v| v["observed"]["state"] == "absent");
    assert_eq!(disks(), 1, "the disks of a VM that was undefined stay");
    cloud.virga_ok(&["vm", "start", "demo"]);
    cloud.wait_vm("demo", "running again, no drift", |v| v["observed"]["state"] == "running" && !drift(v, "definition"));

    // A domain that is not Virga's is shown as such and left alone.
    let foreign = cloud.lab.folder("foreign.xml");
    std::fs::write(&foreign, "<domain type='qemu'><name>foreign</name><memory>32768</memory><os><type>hvm</type></os></domain>").expect("a file");
    cloud.lab.virsh_ok(&["create", &foreign.display().to_string()]);
    virga_tests::cloud::wait_until("the foreign VM to be listed on its host", || {
        let host = cloud.json(&["host", "show", "meddle", "-o", "json"]);
        if host["facts"]["foreign_vms"].to_string().contains("foreign") { Ok(()) } else { Err(host["facts"]["foreign_vms"].to_string()) }
    });
    cloud.virga_ok(&["vm", "delete", "demo", "--yes", "--force"]);
    assert!(cloud.lab.virsh_ok(&["list", "--name"]).contains("foreign"));
}
