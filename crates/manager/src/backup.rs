//! Backup and restore of the manager's state: every row and the files of the state folder, in one archive
//! (`reliability.md` D4).
//!
//! The archive is a tar file: a text of rows for each table ([`virga_store::dump`]), the files with keys, and a manifest
//! with the SHA-256 of each. It is the same for both engines, and so it is also the way from one to the other. Content of
//! images is not in it: it is large, hosts have copies, and the manifest says which files to keep beside it.
//!
//! The archive holds the authority's key: whoever reads it can make certificates of managers and hosts. It is written with
//! mode 0600, never over another file, and nothing of a damaged one is used. What restored rows may do is decided in
//! [`virga_store::restored`]: nothing by themselves.

use crate::config::{BackupArgs, RestoreArgs, database_url};
use crate::managers;
use crate::state::wall_clock;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use virga_model::event::{AuditRecord, Event, Severity};
use virga_model::image::ImageState;
use virga_model::task::ObjectRef;
use virga_model::{ImageId, Time};
use virga_store::{Dialect, Page, Store, Tx, dump, restored};

/// Number of the archive's form; another one is refused.
const FORMAT: u32 = 1;
/// Largest file of the state folder that is taken along: keys and the like are small.
const FILE_BYTES_MAX: u64 = 16 << 20;
const MANIFEST: &str = "manifest.json";
const MANIFEST_SUM: &str = "manifest.sha256";
/// Files that a forced restore took the place of.
const REPLACED: &str = "replaced";

/// What is in an archive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Form of the archive.
    pub format: u32,
    /// When its rows were true.
    pub made_at: Time,
    /// Version of the program that made it.
    pub made_by: String,
    /// Version of the schema of its rows.
    pub schema: i64,
    /// Engine that they come from; any takes them.
    pub engine: String,
    /// Epoch of the database that they come from.
    pub epoch: i64,
    /// The members.
    pub members: Vec<Member>,
    /// Images whose content belongs to these rows and is not in the archive.
    pub images: Vec<ImageFile>,
}

/// A member of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `rows/TABLE.jsonl` or `state/FILE`.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256, hex.
    pub sha256: String,
    /// Rows, for a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// The content of an image, as a file in the folder `images`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFile {
    /// Name of the file.
    pub id: ImageId,
    /// Name of the image.
    pub name: String,
    /// Bytes.
    pub size_bytes: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

/// What a restore did.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What was restored.
    pub manifest: Manifest,
    /// What was made safe.
    pub counts: restored::Counts,
    /// Images whose content is not in the folder `images`.
    pub missing_images: Vec<ImageFile>,
}

/// Writes an archive of the state, while managers go on.
///
/// # Errors
/// When the output exists or cannot be written, or the state cannot be read.
pub async fn backup(args: &BackupArgs) -> Result<Manifest> {
    ensure!(args.state_dir.is_dir(), "the state folder {} does not exist", args.state_dir.display());
    ensure!(!args.output.exists(), "{} exists; give another --output or remove it", args.output.display());
    let store = Store::open(&database_url(args.database.as_deref(), &args.state_dir)?).await.context("the database cannot be opened")?;
    let made = write_archive(&store, &args.state_dir, &args.output, wall_clock()).await;
    store.close().await;
    made
}

/// As [`backup`], from an open database.
///
/// # Errors
/// As [`backup`].
pub async fn write_archive(store: &Store, state_dir: &Path, output: &Path, now: Time) -> Result<Manifest> {
    let folder = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A temporary file has mode 0600 from its first byte.
    let cannot = || format!("{} cannot be written", output.display());
    let whole = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
    let mut archive = tar::Builder::new(BufWriter::new(whole.reopen().with_context(cannot)?));
    let mut tx = store.read().await?;
    let schema = dump::version(&mut tx).await?;
    let mut members = Vec::new();
    for table in dump::tables(schema) {
        let mut part = Part::new(folder)?;
        let rows = dump::rows(&mut tx, &table, |line| part.line(line)).await?;
        members.push(part.append(&mut archive, format!("rows/{table}.jsonl"), Some(rows))?);
    }
    let (epoch, images) = (restored::epoch(&mut tx).await?, images(&mut tx).await?);
    drop(tx);
    for (name, content) in state_files(state_dir)? {
        let mut part = Part::new(folder)?;
        part.write(&content)?;
        members.push(part.append(&mut archive, format!("state/{name}"), None)?);
    }
    let engine = if store.dialect() == Dialect::Postgres { "postgresql" } else { "sqlite" };
    let manifest = Manifest { format: FORMAT, made_at: now, made_by: env!("CARGO_PKG_VERSION").into(), schema, engine: engine.into(), epoch, members, images };
    let text = serde_json::to_vec_pretty(&manifest)?;
    append(&mut archive, MANIFEST, text.len() as u64, text.as_slice())?;
    let sum = crate::secret::sha256_hex(&text);
    append(&mut archive, MANIFEST_SUM, sum.len() as u64, sum.as_bytes())?;
    archive.into_inner()?.into_inner().map_err(|e| e.into_error())?.sync_all()?;
    whole.persist_noclobber(output).map_err(|e| e.error).with_context(cannot)?;
    File::open(folder)?.sync_all()?;
    Ok(manifest)
}

/// A member that is being written; its length and hash are known at its end.
struct Part {
    out: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Part {
    fn new(folder: &Path) -> Result<Part> {
        Ok(Part { out: BufWriter::new(tempfile::tempfile_in(folder)?), hash: Sha256::new(), bytes: 0 })
    }

    fn write(&mut self, data: &[u8]) -> std::io::Result<()> {
        self.hash.update(data);
        self.bytes += data.len() as u64;
        self.out.write_all(data)
    }

    fn line(&mut self, text: &str) -> std::io::Result<()> {
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }

    fn append(self, archive: &mut tar::Builder<impl Write>, name: String, rows: Option<u64>) -> Result<Member> {
        use std::io::Seek;
        let mut file = self.out.into_inner().map_err(|e| e.into_error())?;
        file.rewind()?;
        append(archive, &name, self.bytes, file)?;
        Ok(Member { name, bytes: self.bytes, sha256: hex::encode(self.hash.finalize()), rows })
    }
}

fn append(archive: &mut tar::Builder<impl Write>, name: &str, bytes: u64, content: impl Read) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_cksum();
    Ok(archive.append_data(&mut header, name, content)?)
}

async fn images(tx: &mut Tx) -> Result<Vec<ImageFile>> {
    let (mut out, mut after) = (Vec::new(), None);
    loop {
        let page = Page { limit: virga_store::PAGE_MAX, after, ..Page::default() };
        let paged = virga_store::image::list(tx, &page).await?;
        let ready = paged.items.into_iter().filter(|i| i.state == ImageState::Ready && i.part.is_none());
        out.extend(ready.map(|i| ImageFile { id: i.id, name: i.name, size_bytes: i.size_bytes, sha256: i.sha256 }));
        after = paged.next;
        if after.is_none() {
            return Ok(out);
        }
    }
}

/// The files of the state folder that cannot be made anew: keys, certificates, secrets. Not the database, whose rows are
/// taken from itself, and nothing that is under way.
fn state_files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let extension = Path::new(&name).extension().and_then(|e| e.to_str()).unwrap_or_default();
        let under_way = name.starts_with('.') || extension.starts_with("new-") || extension == REPLACED || name.ends_with("-wal") || name.ends_with("-shm");
        if under_way || !entry.file_type()?.is_file() || entry.metadata()?.len() > FILE_BYTES_MAX {
            continue;
        }
        let content = std::fs::read(entry.path()).with_context(|| format!("{} cannot be read", entry.path().display()))?;
        // A database, or another backup: neither belongs into a backup.
        if !content.starts_with(b"SQLite format 3\0") && content.get(257..262) != Some(b"ustar") {
            out.insert(name, content);
        }
    }
    Ok(out)
}

/// Restores an archive into an empty state folder and an empty database; with `force` in the place of what is there.
///
/// # Errors
/// When the archive is damaged (the member is named) or of a newer version, when something is there already, or a manager
/// serves it. Then nothing was changed.
pub async fn restore(args: &RestoreArgs) -> Result<Restored> {
    crate::serve::prepare_folder(&args.state_dir)?;
    let spool = tempfile::Builder::new().prefix(".restore-").tempdir_in(&args.state_dir)?;
    let manifest = unpack(&args.input, spool.path())?;
    let files = wanted_files(&manifest, spool.path())?;
    check_folder(&args.state_dir, &files, args.force)?;
    let store = Store::open_bare(&database_url(args.database.as_deref(), &args.state_dir)?).await.context("the database cannot be opened")?;
    let done = restore_into(&store, args, manifest, spool.path(), files).await;
    store.close().await;
    done
}

async fn restore_into(store: &Store, args: &RestoreArgs, manifest: Manifest, spool: &Path, files: BTreeMap<String, PathBuf>) -> Result<Restored> {
    let now = wall_clock();
    nobody_serves(store, now).await?;
    let mut tx = dump::begin(store, manifest.schema, args.force).await?;
    for table in dump::tables(manifest.schema) {
        let path = spool.join("rows").join(format!("{table}.jsonl"));
        let file = File::open(path).with_context(|| format!("the archive has no rows of table {table}"))?;
        dump::load(&mut tx, &table, BufReader::new(file).lines()).await?;
    }
    dump::finish(&mut tx).await?;
    let counts = restored::make_safe(&mut tx, now).await?;
    tell(&mut tx, &manifest, &counts, now).await?;
    // First the files, then the rows: a restore that is broken off here is repeated with the same archive.
    for (name, from) in &files {
        let (target, content) = (args.state_dir.join(name), std::fs::read(from)?);
        if target.exists() && std::fs::read(&target)? != content {
            std::fs::rename(&target, args.state_dir.join(format!("{name}.{REPLACED}")))?;
        }
        write_private(&target, &content)?;
    }
    tx.commit().await?;
    let folder = args.state_dir.join("images");
    let missing_images = manifest.images.iter().filter(|i| !folder.join(i.id.to_string()).exists()).cloned().collect();
    Ok(Restored { manifest, counts, missing_images })
}

/// Reads the whole archive into `spool`; nothing of it is used before every hash was found right.
fn unpack(input: &Path, spool: &Path) -> Result<Manifest> {
    let damaged = |why: String| anyhow::anyhow!("the archive {} is damaged: {why}", input.display());
    let file = File::open(input).with_context(|| format!("{} cannot be read", input.display()))?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    let mut found: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry.map_err(|e| damaged(format!("it cannot be read to its end ({e})")))?;
        let name = entry.path().ok().and_then(|p| p.to_str().map(String::from)).unwrap_or_default();
        ensure!(is_member(&name), damaged("it has a member that does not belong into a backup".into()));
        let target = spool.join(&name);
        std::fs::create_dir_all(target.parent().unwrap_or(spool))?;
        let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target).map_err(|e| damaged(format!("member {name}: {e}")))?;
        let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0u64, vec![0; 1 << 16]);
        loop {
            let n = entry.read(&mut buffer).map_err(|e| damaged(format!("member {name} cannot be read ({e})")))?;
            if n == 0 {
                break;
            }
            hash.update(&buffer[..n]);
            bytes += n as u64;
            out.write_all(&buffer[..n])?;
        }
        found.insert(name, (bytes, hex::encode(hash.finalize())));
    }
    let text = std::fs::read(spool.join(MANIFEST)).map_err(|_| damaged("it has no manifest; its end is missing".into()))?;
    let sum = std::fs::read_to_string(spool.join(MANIFEST_SUM)).map_err(|_| damaged("it has no hash of the manifest; its end is missing".into()))?;
    ensure!(sum == crate::secret::sha256_hex(&text), damaged(format!("{MANIFEST} does not have the SHA-256 {sum}")));
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| damaged(format!("{MANIFEST}: {e}")))?;
    ensure!(manifest.format == FORMAT, "the archive has form {}, of a newer virga-manager than this one", manifest.format);
    for m in &manifest.members {
        match found.remove(&m.name) {
            None => bail!(damaged(format!("member {} is missing", m.name))),
            Some((bytes, sha256)) if bytes != m.bytes || sha256 != m.sha256 => {
                bail!(damaged(format!("member {} has SHA-256 {sha256}, and the manifest says {}", m.name, m.sha256)))
            }
            Some(_) => {}
        }
    }
    let more = found.into_keys().find(|n| n != MANIFEST && n != MANIFEST_SUM);
    ensure!(more.is_none(), damaged(format!("member {} is not in the manifest", more.unwrap_or_default())));
    Ok(manifest)
}

/// Only such names are written below the spool.
fn is_member(name: &str) -> bool {
    let plain = |n: &str| !n.is_empty() && !n.starts_with('.') && n.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    match name.split_once('/') {
        None => name == MANIFEST || name == MANIFEST_SUM,
        Some((folder, rest)) => (folder == "rows" || folder == "state") && plain(rest),
    }
}

fn wanted_files(manifest: &Manifest, spool: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let names = manifest.members.iter().filter_map(|m| m.name.strip_prefix("state/"));
    let files: BTreeMap<String, PathBuf> = names.map(|n| (n.to_string(), spool.join("state").join(n))).collect();
    ensure!(files.contains_key("ca.key"), "the archive holds no certificate authority");
    Ok(files)
}

fn check_folder(folder: &Path, files: &BTreeMap<String, PathBuf>, force: bool) -> Result<()> {
    for (name, from) in files {
        let target = folder.join(name);
        let other = target.exists() && std::fs::read(&target)? != std::fs::read(from)?;
        ensure!(!other || force, "{} exists already; give an empty --state-dir, or --force to replace what is there", target.display());
    }
    Ok(())
}

/// A manager that serves must not lose the ground under its feet.
async fn nobody_serves(store: &Store, now: Time) -> Result<()> {
    let mut tx = store.read().await?;
    if dump::version(&mut tx).await? < dump::newest_version() {
        return Ok(());
    }
    let rows = virga_store::manager::list(&mut tx, now.plus_seconds(-86_400)).await?;
    let serving = rows.iter().find(|r| managers::serves(r, now));
    if let Some(r) = serving {
        bail!("a manager serves this database ({}, seen {}); stop all managers, wait half a minute after a crash, then restore", r.node_address, r.seen_at);
    }
    Ok(())
}

async fn tell(tx: &mut Tx, manifest: &Manifest, counts: &restored::Counts, now: Time) -> Result<()> {
    let text = format!(
        "The state was restored from a backup of {}; epoch {}; {} VMs wait for their hosts' reports, {} tasks under way have failed.",
        manifest.made_at, counts.epoch, counts.vms, counts.tasks
    );
    let event = Event {
        id: 0,
        at: now,
        kind: "system.restored".into(),
        severity: Severity::Warning,
        object: ObjectRef::System,
        object_name: "installation".into(),
        owner: None,
        host: None,
        task: None,
        message: text.clone(),
    };
    virga_store::event::append(tx, &event).await?;
    let record = AuditRecord {
        id: 0,
        at: now,
        user: None,
        actor: "local administrator".into(),
        source: "local".into(),
        operation: "restore".into(),
        object: ObjectRef::System,
        object_name: "installation".into(),
        result: "ok".into(),
        request_id: String::new(),
        detail: text,
    };
    virga_store::audit::append(tx, &record).await?;
    Ok(())
}

fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_member_leaves_its_folder() {
        for good in ["manifest.json", "rows/vm.jsonl", "state/ca.key", "state/audit-key_1.pem"] {
            assert!(is_member(good), "{good}");
        }
        for bad in ["", "ca.key", "../x", "state/../x", "state//x", "rows/a/b", "/etc/passwd", "state/.x", "other/x"] {
            assert!(!is_member(bad), "{bad}");
        }
    }
}
