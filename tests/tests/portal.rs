//! The portal in a real browser, before a real manager with a simulated fleet, and before a real guest: `web/e2e` says what
//! a person does and must see; this starts what it needs, and cleans up.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use virga_tests::cloud::{Cloud, program};
use virga_tests::demo::Demo;

/// The script of the portal, after it has built what the manager reads from its folder in debug builds.
fn built() -> PathBuf {
    // Nextest runs a test in the folder of its package.
    let root = std::env::current_dir().expect("a folder").join("..").canonicalize().expect("the repository");
    let script = root.join("scripts/web.sh");
    let built = Command::new(&script).arg("build").stdin(Stdio::null()).status().expect("bash");
    assert!(built.success(), "the portal is not built: scripts/web.sh build says why");
    script
}

/// Runs one of the browser's parts to its end.
fn browse(mut command: Command, part: &str, url: &str, state: &Path) {
    command.args(["run", "npm", "--prefix", "web", "run", "--silent", part]).stdin(Stdio::null());
    command.env("VIRGA_URL", url).env("VIRGA_DEMO_STATE", state).env("VIRGA_FLEET", program("virga-fleet"));
    command.env("NODE_EXTRA_CA_CERTS", state.join("manager/ca.pem"));
    let said = command.output().expect("npm");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(said.status.success(), "{}\n{}", text(&said.stdout), text(&said.stderr));
}

#[test]
fn the_portal_is_met_in_a_browser() {
    let script = built();
    let demo = Demo::start();
    browse(Command::new(script), "e2e", &demo.url, &demo.path(""));
}

#[test]
fn the_console_of_a_real_guest_is_seen_in_a_browser() {
    let script = built();
    let cloud = Cloud::with_tiny_image("portal");
    cloud.virga_ok(&["vm", "create", "demo", "--image", "tiny", "--cpus", "1", "--memory", "128MiB", "--network", "nat", "--start"]);
    cloud.wait_vm("demo", "running", |v| v["observed"]["state"] == "running");
    // In the lab's own network, where the manager listens.
    browse(cloud.lab.inside(script), "console", "https://127.0.0.1:8443", Path::new(&cloud.path("")));
}
