//! `openapi/v1.json` equals what the code says (ARCHITECTURE.md, invariant 7).

#[test]
fn the_checked_in_document_is_the_generated_one() {
    let path = std::path::PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../openapi/v1.json");
    let generated = virga_api::v1::openapi_json();
    if std::env::var_os("VIRGA_UPDATE").is_some() {
        std::fs::write(&path, &generated).expect("the document can be written");
    }
    let checked_in = std::fs::read_to_string(&path).expect("openapi/v1.json is there");
    assert!(checked_in == generated, "openapi/v1.json is not what the code says; run VIRGA_UPDATE=1 cargo nextest run -p virga-api and review the difference");
}
