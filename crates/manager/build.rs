//! Lets optimised builds, which hold the portal, see that it was built anew. Other builds read it from its folder.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").is_ok_and(|p| p == "release") {
        println!("cargo::rerun-if-changed=../../web/dist");
    }
}
