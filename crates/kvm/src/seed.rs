//! The NoCloud seed: a small ISO labelled `cidata` from which cloud-init in the guest reads its first-boot settings.
//!
//! It may hold secrets (passwords in user-data): the file is readable by root and QEMU's user only, and its content is
//! never part of an error or a log.

use crate::files;
use crate::paths::Paths;
use crate::{Result, files::Owner};
use hadris_iso::joliet::JolietLevel;
use hadris_iso::read::PathSeparator;
use hadris_iso::rrip::RripOptions;
use hadris_iso::write::options::{BaseIsoLevel, CreationFeatures, IsoFormatOptions};
use hadris_iso::write::{InputEntry, InputMetadata, InputTree, IsoImageWriter};
use std::io::Cursor;
use virga_model::Error;
use virga_model::cloud_init::CloudInit;
use virga_model::order::VmOrder;

/// Label by which cloud-init finds the seed.
const LABEL: &str = "cidata";
/// Bytes of the ISO beside its files.
const OVERHEAD_BYTES: usize = 512 * 1024;
/// Empty sectors behind the last file, as mkisofs makes them: readers look beyond the end for other file systems, and
/// busybox takes the error it gets there for "no file system at all".
const PADDING_SECTORS: usize = 150;
/// Bytes of a sector.
const SECTOR: usize = 2048;

/// Writes the VM's seed, or removes it when the VM has no first-boot settings.
pub fn write(paths: &Paths, order: &VmOrder, user: Option<Owner>) -> Result<()> {
    let path = paths.seed(order.id);
    let Some(ci) = &order.spec.cloud_init else { return files::remove(&path) };
    let iso = image(ci, &order.id.to_string(), &order.name)?;
    // Written anew only when it differs: a guest may be reading it.
    if std::fs::read(&path).is_ok_and(|old| old == iso) {
        return Ok(());
    }
    files::replace(&path, &iso, 0o600, user)
}

/// The ISO's bytes.
fn image(ci: &CloudInit, instance: &str, name: &str) -> Result<Vec<u8>> {
    let seed = ci.seed_files(instance, name);
    let bytes: usize = seed.iter().map(|(_, c)| c.len().next_multiple_of(SECTOR)).sum();
    let owned = InputMetadata { mode: Some(0o400), uid: Some(0), gid: Some(0), modified: Some(0), accessed: Some(0), ..InputMetadata::default() };
    let entries = seed.into_iter().map(|(n, c)| InputEntry::file(n, c.into_bytes()).with_metadata(owned)).collect();
    let options = IsoFormatOptions {
        volume_name: LABEL.to_string(),
        system_id: None,
        volume_set_id: None,
        publisher_id: None,
        preparer_id: None,
        application_id: None,
        sector_size: SECTOR,
        path_separator: PathSeparator::ForwardSlash,
        strict_charset: false,
        features: CreationFeatures {
            filenames: BaseIsoLevel::Level1 { supports_lowercase: false, supports_rrip: true },
            rock_ridge: Some(RripOptions::default()),
            joliet: Some(JolietLevel::Level3),
            ..CreationFeatures::default()
        },
    };
    let room = Cursor::new(vec![0u8; bytes + OVERHEAD_BYTES]);
    let done = IsoImageWriter::create(room, InputTree::new(PathSeparator::ForwardSlash, entries), options)
        .map_err(|_| Error::host("The cloud-init seed of the VM could not be written as an ISO."))?;
    let mut iso = done.into_inner();
    // The volume descriptor tells how many sectors there are (ECMA-119, 8.4.8).
    let sectors = iso.get(0x8050..0x8054).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes).unwrap_or(0);
    let length = usize::try_from(sectors).unwrap_or(0).saturating_mul(SECTOR);
    if length > 16 * SECTOR && length <= iso.len() {
        iso.resize(length + PADDING_SECTORS * SECTOR, 0);
    }
    Ok(iso)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hadris_iso::read::IsoImage;

    fn ci() -> CloudInit {
        CloudInit { user_data: Some(format!("#cloud-config\n# {}\n", "x".repeat(60_000))), network_config: Some("version: 2\n".into()), ..Default::default() }
    }

    #[test]
    fn the_seed_holds_the_three_files_under_their_long_names() {
        let iso = image(&ci(), "id-1", "web-1").unwrap();
        let open = IsoImage::open(Cursor::new(iso.clone())).unwrap();
        for name in ["meta-data", "user-data", "network-config"] {
            let found = open.root_dir().iter(&open).entries().filter_map(std::result::Result::ok).any(|e| e.matches_name(name));
            assert!(found, "{name}");
        }
        // The label as the kernel and blkid see it, and in Joliet's UCS-2.
        assert_eq!(&iso[0x8001..0x8006], b"CD001");
        assert_eq!(&iso[0x8028..0x802e], b"cidata");
        assert!(
            iso.windows(20).any(|w| w == "user-data\0".encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>().as_slice()
                || w[..18] == *"user-data".encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>()),
            "Joliet name"
        );
        assert!((300_000..600_000).contains(&iso.len()) && iso.len().is_multiple_of(SECTOR), "{}", iso.len());
    }

    #[test]
    fn the_same_settings_give_the_same_bytes() {
        let same = |a: &[u8], b: &[u8]| a.len() == b.len() && a.iter().zip(b).filter(|(x, y)| x != y).count() < 64;
        assert!(same(&image(&ci(), "i", "n").unwrap(), &image(&ci(), "i", "n").unwrap()));
    }
}
