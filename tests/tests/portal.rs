//! The portal in a real browser, before a real manager with a simulated fleet: `web/e2e` says what a person does and must
//! see; this starts what it needs, and cleans up.

use std::process::{Command, Stdio};
use virga_tests::cloud::program;
use virga_tests::demo::Demo;

#[test]
fn the_portal_is_met_in_a_browser() {
    // Nextest runs a test in the folder of its package.
    let root = std::env::current_dir().expect("a folder").join("..").canonicalize().expect("the repository");
    let script = root.join("scripts/web.sh");
    // In debug builds the manager reads the portal from its folder.
    let built = Command::new(&script).arg("build").stdin(Stdio::null()).status().expect("bash");
    assert!(built.success(), "the portal is not built: scripts/web.sh build says why");

    let demo = Demo::start();
    let mut browser = Command::new(&script);
    browser.args(["run", "npm", "--prefix", "web", "run", "--silent", "e2e"]).stdin(Stdio::null());
    browser.env("VIRGA_URL", &demo.url).env("VIRGA_DEMO_STATE", demo.path("")).env("VIRGA_FLEET", program("virga-fleet"));
    browser.env("NODE_EXTRA_CA_CERTS", demo.path("manager/ca.pem"));
    let said = browser.output().expect("npm");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(said.status.success(), "{}\n{}", text(&said.stdout), text(&said.stderr));
}
