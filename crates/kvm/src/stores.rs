//! Data stores that are folders: recognising them, signing them, and looking at them without hanging.
//!
//! A folder is the data store whose signature it carries, wherever it is mounted; a path alone says nothing
//! (reliability.md S12: a wrong, missing or read-only mount must be refused). A look runs on a thread of its own with a
//! limit. One that hangs (a file server that is away) is left to hang and not repeated: until it comes back, the data
//! store does not answer. Nothing here may ever make a folder that should be a mount, or replace a signature.

use crate::paths::Root;
use crate::volumes::{self, entries, name_of};
use crate::{Kvm, Result, blocking, files};
use async_trait::async_trait;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use virga_agent::host::Stores;
use virga_model::data_store::{DataStoreSpec, SIGNATURE_FILE, Signature, StoreFact, StoreProblem};
use virga_model::order::StoreRef;
use virga_model::{DataStoreId, Error};

/// How long a data store has to answer a look.
const LOOK: Duration = Duration::from_secs(3);
/// Largest signature that is read.
const SIGNATURE_BYTES_MAX: u64 = 4096;

/// What tells this host's files on their way from those of others on a data store: drawn once, kept in the local store.
pub(crate) fn mark(local: &Path) -> Result<String> {
    let path = local.join("mark");
    if let Ok(known) = std::fs::read_to_string(&path)
        && let Ok(id) = uuid::Uuid::parse_str(known.trim())
    {
        return Ok(id.simple().to_string());
    }
    let new = uuid::Uuid::new_v4();
    files::replace(&path, new.to_string().as_bytes(), 0o600, None)?;
    Ok(new.simple().to_string())
}

/// Where a data store's folder is; none: it is none, or the local one.
fn folder_of(spec: &DataStoreSpec) -> Option<PathBuf> {
    match spec {
        DataStoreSpec::Local => None,
        DataStoreSpec::SharedDirectory { path, .. } => Some(PathBuf::from(path)),
    }
}

/// Reads the signature of a folder; none: it carries none.
fn signature(root: &Root) -> std::io::Result<Option<Signature>> {
    use std::io::Read;
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let f = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(root.signature()) {
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => return Ok(None),
        other => other?,
    };
    let mut text = String::new();
    f.take(SIGNATURE_BYTES_MAX).read_to_string(&mut text)?;
    serde_json::from_str(&text).map(Some).map_err(std::io::Error::other)
}

/// Name of a file system by the number in its superblock (`statfs(2)`); empty for one that is not known here.
fn file_system(number: i64) -> &'static str {
    match number {
        0x6969 => "nfs",
        0x00c3_6400 => "ceph",
        0x7461_636f => "ocfs2",
        0x0116_1970 => "gfs2",
        0xff53_4d42 | 0xfe53_4d42 => "cifs",
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlayfs",
        0x6573_5546 => "fuse",
        0x2fc1_2fc1 => "zfs",
        _ => "",
    }
}

/// Looks at the data store, for as long as the file system takes.
fn look(id: DataStoreId, root: &Root) -> StoreFact {
    let at = root.folder().display();
    let failed = |e: &std::io::Error| match e.kind() {
        std::io::ErrorKind::ReadOnlyFilesystem => StoreFact::lost(id, StoreProblem::ReadOnly, format!("{at} is read-only")),
        _ => StoreFact::lost(id, StoreProblem::Failed, format!("{at} cannot be used: {e}")),
    };
    match signature(root) {
        Err(e) => return failed(&e),
        Ok(None) => return StoreFact::lost(id, StoreProblem::Missing, format!("{at} carries no {SIGNATURE_FILE}: the storage is not mounted there")),
        Ok(Some(s)) if s.id != id => {
            return StoreFact::lost(id, StoreProblem::Wrong, format!("{at} is another data store, {} ({})", s.name.escape_default(), s.id));
        }
        Ok(Some(_)) => {}
    }
    let folders = [root.images(), root.vms()];
    if let Err(e) = folders.iter().try_for_each(|f| rustix::fs::access(f, rustix::fs::Access::WRITE_OK)) {
        return failed(&e.into());
    }
    match rustix::fs::statfs(root.folder()) {
        Err(e) => failed(&e.into()),
        Ok(space) => {
            let block = u64::try_from(space.f_bsize).unwrap_or(0);
            StoreFact {
                store: id,
                problem: None,
                why: String::new(),
                total_bytes: space.f_blocks.saturating_mul(block),
                free_bytes: space.f_bavail.saturating_mul(block),
                file_system: file_system(space.f_type).to_string(),
            }
        }
    }
}

/// Writes the signature, unless one is there; the first of two hosts wins, and the other reads what it wrote.
fn sign(root: &Root, store: &StoreRef) -> Result<()> {
    let at = root.folder();
    let cannot = |e: &std::io::Error| files::failed("Cannot use", at, e);
    if !at.is_dir() {
        return Err(
            Error::host(format!("There is no folder {} on this host.", at.display())).with_hint("Mount the storage there on every host, then try again.")
        );
    }
    if let Some(s) = signature(root).map_err(|e| cannot(&e))? {
        return ours(root, store, &s);
    }
    let strange = entries(at)?.into_iter().find(|p| name_of(p).is_none_or(|n| n != "lost+found" && !n.starts_with(SIGNATURE_FILE)));
    if let Some(p) = strange {
        let what = name_of(&p).unwrap_or("?").escape_default().to_string();
        return Err(Error::host(format!("The folder {} is not empty: {what} lies there.", at.display()))
            .with_hint("A new data store begins with an empty folder. Choose one below it, or clear it."));
    }
    let text = serde_json::to_vec(&Signature { id: store.id, name: store.name.clone() }).map_err(|e| Error::internal(e.to_string()))?;
    let new = volumes::Temporary(at.join(format!("{SIGNATURE_FILE}.{}.new", uuid::Uuid::new_v4().simple())));
    let mut f = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new.0).map_err(|e| cannot(&e))?;
    f.write_all(&text).and_then(|()| f.sync_all()).map_err(|e| cannot(&e))?;
    // A link, not a rename: it never replaces a signature.
    match std::fs::hard_link(&new.0, root.signature()) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        other => other.map_err(|e| cannot(&e))?,
    }
    drop(new);
    files::sync_folder(at)?;
    let found = signature(root).map_err(|e| cannot(&e))?;
    found.map_or_else(|| Err(Error::host("The signature is gone again.")), |s| ours(root, store, &s))
}

/// That a signature is this data store's; then its folders are made.
fn ours(root: &Root, store: &StoreRef, found: &Signature) -> Result<()> {
    if found.id != store.id {
        let other = found.name.escape_default();
        return Err(Error::conflict(format!("The folder {} is already data store {other} ({}).", root.folder().display(), found.id))
            .with_hint("Choose another folder. What another installation left there has to be removed by hand, when nobody needs it any more."));
    }
    // QEMU's user passes through them.
    files::folder(&root.images(), 0o711)?;
    files::folder(&root.vms(), 0o711)
}

/// Removes what makes a folder a data store; what else lies there stays.
fn unsign(root: &Root, store: &StoreRef) -> Result<()> {
    let cannot = |e: &std::io::Error| files::failed("Cannot use", root.folder(), e);
    match signature(root).map_err(|e| cannot(&e))? {
        Some(s) if s.id == store.id => {}
        // Another's, or gone: nothing of ours.
        _ => return Ok(()),
    }
    if let Some(f) = volumes::in_store(root, Some(store.id))?.first() {
        return Err(Error::conflict(format!("The disk {} of VM {} still lies on data store {}.", f.disk.id, f.disk.vm, store.name)));
    }
    files::remove_folder(&root.images())?;
    // Folders of VMs are empty by now; one that is not is left, with the folder around it.
    for f in entries(&root.vms())? {
        let _ = std::fs::remove_dir(f);
    }
    let _ = std::fs::remove_dir(root.vms());
    let _ = std::fs::remove_dir(root.shared());
    files::remove(&root.signature())?;
    files::sync_folder(root.folder())
}

impl Kvm {
    /// The folder of a data store, which a look has just found in order.
    pub(crate) async fn root(&self, store: Option<DataStoreId>) -> Result<Root> {
        let root = self.paths.root(store)?;
        let Some(id) = store else { return Ok(root) };
        let fact = self.store_look(id).await;
        match fact.problem {
            None => Ok(root),
            Some(StoreProblem::Wrong) => Err(Error::host(format!("The data store cannot be used: {}.", fact.why))),
            Some(_) => Err(Error::unavailable(format!("The data store cannot be used: {}.", fact.why))),
        }
    }

    async fn looked(&self, id: DataStoreId) -> StoreFact {
        let Ok(root) = self.paths.root(Some(id)) else {
            return StoreFact::lost(id, StoreProblem::Missing, "this host was not told where it is");
        };
        let stalled = StoreFact::lost(id, StoreProblem::Stalled, format!("{} does not answer", root.folder().display()));
        let Some(host) = self.me.upgrade() else { return stalled };
        if !self.looks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(id) {
            // Somebody looks at it right now, and will be done before long, or hangs.
            let waited = tokio::time::timeout(LOOK, async {
                while host.looks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(&id) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            if waited.await.is_err() || !host.looks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(id) {
                return stalled;
            }
        }
        let work = tokio::task::spawn_blocking(move || {
            let fact = look(id, &root);
            host.looks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&id);
            fact
        });
        match tokio::time::timeout(LOOK, work).await {
            Ok(Ok(fact)) => fact,
            _ => stalled,
        }
    }
}

#[async_trait]
impl Stores for Kvm {
    fn stores_know(&self, stores: &[StoreRef]) {
        for s in stores {
            if let Some(folder) = folder_of(&s.spec) {
                self.paths.know(s.id, folder, self.mark.clone());
            }
        }
    }

    async fn store_look(&self, store: DataStoreId) -> StoreFact {
        let fact = self.looked(store).await;
        self.paths.note(store, fact.reachable());
        fact
    }

    async fn store_ensure(&self, store: &StoreRef) -> Result<()> {
        store.spec.check()?;
        self.stores_know(std::slice::from_ref(store));
        let (root, local, store) = (self.paths.root(Some(store.id))?, self.paths.store.clone(), store.clone());
        blocking(move || {
            if root.folder().starts_with(&local) || local.starts_with(root.folder()) {
                return Err(Error::invalid("path", "lies within the agent's own store, or around it"));
            }
            sign(&root, &store)
        })
        .await
    }

    async fn store_remove(&self, store: &StoreRef) -> Result<()> {
        self.stores_know(std::slice::from_ref(store));
        let (root, id, store) = (self.paths.root(Some(store.id))?, store.id, store.clone());
        blocking(move || unsign(&root, &store)).await?;
        self.paths.note(id, false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Paths;
    use uuid::Uuid;
    use virga_model::data_store::Backing;

    fn store(n: u128, folder: &Path) -> (StoreRef, Root) {
        let id = DataStoreId(Uuid::from_u128(n));
        let spec = DataStoreSpec::SharedDirectory { path: folder.to_str().unwrap().into(), backing: Backing::Nas };
        let paths = Paths::new("/nowhere/store", "/nowhere/run");
        paths.know(id, folder.into(), format!("host{n}"));
        (StoreRef { id, name: format!("store-{n}"), spec }, paths.root(Some(id)).unwrap())
    }

    #[test]
    fn a_folder_is_the_store_whose_signature_it_carries() {
        let dir = tempfile::tempdir().unwrap();
        let (gold, root) = store(1, dir.path());
        assert_eq!(look(gold.id, &root).problem, Some(StoreProblem::Missing), "a missing mount is refused");
        sign(&root, &gold).unwrap();
        sign(&root, &gold).unwrap();
        let fact = look(gold.id, &root);
        assert!(fact.reachable() && fact.total_bytes > 0 && fact.free_bytes <= fact.total_bytes, "{fact:?}");
        // The same path, mounted from elsewhere.
        let (silver, same) = store(2, dir.path());
        let fact = look(silver.id, &same);
        assert_eq!(fact.problem, Some(StoreProblem::Wrong));
        assert!(fact.why.contains("store-1"), "{}", fact.why);
        assert!(sign(&same, &silver).unwrap_err().message.contains("already data store store-1"));
        unsign(&same, &silver).unwrap();
        assert!(look(gold.id, &root).reachable(), "another's signature is left alone");
        std::fs::write(root.signature(), "{").unwrap();
        assert_eq!(look(gold.id, &root).problem, Some(StoreProblem::Failed));
        std::fs::remove_file(root.signature()).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", root.signature()).unwrap();
        assert_eq!(look(gold.id, &root).problem, Some(StoreProblem::Failed), "a link is not followed");
    }

    #[test]
    fn a_store_begins_empty_and_ends_only_without_disks() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("other"), "x").unwrap();
        let (gold, root) = store(1, dir.path());
        assert!(sign(&root, &gold).unwrap_err().message.contains("not empty: other"));
        std::fs::remove_file(dir.path().join("other")).unwrap();
        std::fs::create_dir(dir.path().join("lost+found")).unwrap();
        sign(&root, &gold).unwrap();
        let vm = virga_model::VmId(Uuid::from_u128(7));
        std::fs::create_dir(root.vm(vm)).unwrap();
        let file = root.disk_there(vm, virga_model::DiskId(Uuid::from_u128(8)), None);
        std::fs::write(&file, "x").unwrap();
        assert!(unsign(&root, &gold).unwrap_err().message.contains("still lies on data store store-1"));
        std::fs::remove_file(&file).unwrap();
        std::fs::write(root.images().join("left"), "x").unwrap();
        unsign(&root, &gold).unwrap();
        unsign(&root, &gold).unwrap();
        let left: Vec<_> = entries(dir.path()).unwrap();
        assert_eq!(left, [dir.path().join("lost+found")]);
    }

    #[test]
    fn a_host_keeps_its_mark() {
        let dir = tempfile::tempdir().unwrap();
        let first = mark(dir.path()).unwrap();
        assert_eq!(mark(dir.path()).unwrap(), first);
    }
}
