//! A descriptor: the files and disks that it names, and the one machine that it describes.
//!
//! It is written in OVF 1.x or 2.x, or in oVirt's way of OVF 1 (`Section` and `Content` with an `xsi:type`).

use super::xml::El;
use super::{NAME_BYTES_MAX, ends, shown, units};
use crate::image::VIRTUAL_BYTES_MAX;
use crate::image::reader::{Seen, must, refuse};

/// Most files and disks of a descriptor, each.
const LIST_MAX: usize = super::MEMBERS_MAX;

/// A file that a descriptor names.
#[derive(Debug)]
pub(super) struct FileRef {
    id: String,
    /// Name of the member.
    pub(super) href: String,
    /// Bytes, if told.
    pub(super) size: Option<u64>,
}

/// A disk that a descriptor names.
#[derive(Debug)]
pub(super) struct DiskRef {
    id: String,
    file: Option<String>,
    /// Bytes that a guest sees; 0: not told.
    pub(super) capacity_bytes: u64,
    /// oVirt's word for its bus.
    pub(super) interface: String,
}

/// A descriptor.
#[derive(Debug)]
pub(super) struct Descriptor {
    /// Files.
    pub(super) files: Vec<FileRef>,
    /// Disks.
    pub(super) disks: Vec<DiskRef>,
    /// The machine.
    pub(super) system: El,
    /// Sections beside the machine that must be understood and are not.
    pub(super) unknown: Vec<String>,
    /// Translations of texts.
    strings: Vec<(String, String)>,
}

/// Sections beside the machine that change nothing of it.
const HARMLESS: [&str; 6] = ["References", "DiskSection", "NetworkSection", "DeploymentOptionSection", "Strings", "SharedDiskSection"];

/// What an element is: its name, or (oVirt) its type.
pub(super) fn kind(e: &El) -> &str {
    if matches!(e.name.as_str(), "Section" | "Content") {
        let word = e.get("type").unwrap_or_default();
        let word = word.rsplit_once(':').map_or(word, |(_, w)| w);
        return word.strip_suffix("_Type").unwrap_or(word);
    }
    &e.name
}

/// Whether an element must be understood: it must, unless it says that it need not be.
pub(super) fn required(e: &El) -> bool {
    !e.get("required").is_some_and(|r| matches!(r, "false" | "0"))
}

impl Descriptor {
    /// Reads a descriptor.
    pub(super) fn parse(bytes: &[u8]) -> Seen<Descriptor> {
        let root = El::parse(bytes)?;
        must(root.name == "Envelope", "is an OVA whose descriptor is no OVF envelope")?;
        let mut d = Descriptor { files: Vec::new(), disks: Vec::new(), system: El::default(), unknown: Vec::new(), strings: Vec::new() };
        let mut systems = Vec::new();
        for e in root.children {
            match kind(&e) {
                "References" => e.children.iter().filter(|f| f.name == "File").try_for_each(|f| d.file(f))?,
                "DiskSection" => e.children.iter().filter(|f| f.name == "Disk").try_for_each(|f| d.disk(f))?,
                "Strings" => d.translations(&e),
                "VirtualSystem" => systems.push(e),
                "VirtualSystemCollection" => {
                    return refuse("is an OVA with a collection of machines; export each of them by itself");
                }
                other if !HARMLESS.contains(&other) && required(&e) => d.unknown.push(shown(other)),
                _ => {}
            }
        }
        must(systems.len() <= 1, "is an OVA with several machines; export each of them by itself")?;
        let Some(system) = systems.pop() else { return refuse("is an OVA whose descriptor describes no machine") };
        d.system = system;
        d.check_links()?;
        Ok(d)
    }

    fn file(&mut self, f: &El) -> Seen<()> {
        must(self.files.len() < LIST_MAX, "is an OVA whose descriptor names more than 64 files")?;
        let (id, href) = (f.get("id").unwrap_or_default(), f.get("href").unwrap_or_default());
        if href.contains("://") || href.contains(['/', '\\']) || href == ".." {
            return refuse("is an OVA whose descriptor names a file by a path or an address; files lie in the package itself");
        }
        let right = !id.is_empty() && id.len() <= NAME_BYTES_MAX && !href.is_empty() && href.len() <= NAME_BYTES_MAX;
        must(right, "is an OVA whose descriptor names a file without an id or a name, or with one beyond all bounds")?;
        let twice = self.files.iter().any(|o| o.id == id || o.href.eq_ignore_ascii_case(href));
        must(!twice, "is an OVA whose descriptor names a file twice")?;
        let plain = f.get("compression").is_none_or(|c| c.is_empty() || c == "identity") && f.get("chunkSize").is_none();
        must(plain, "is an OVA with a file that is compressed or cut into chunks; export it without (the disks compress themselves)")?;
        let size = match f.get("size").filter(|s| !s.is_empty()) {
            Some(s) => match s.parse() {
                Ok(n) => Some(n),
                Err(_) => return refuse("is an OVA whose descriptor tells of a length that is no number"),
            },
            None => None,
        };
        self.files.push(FileRef { id: id.into(), href: href.into(), size });
        Ok(())
    }

    fn disk(&mut self, e: &El) -> Seen<()> {
        must(self.disks.len() < LIST_MAX, "is an OVA whose descriptor names more than 64 disks")?;
        let id = e.get("diskId").unwrap_or_default();
        must(!id.is_empty() && id.len() <= NAME_BYTES_MAX, "is an OVA whose descriptor names a disk without an id, or with one beyond all bounds")?;
        must(!self.disks.iter().any(|o| o.id == id), "is an OVA whose descriptor names a disk twice")?;
        let parent = e.get("parentRef").is_some_and(|p| !p.is_empty() && p != "00000000-0000-0000-0000-000000000000");
        must(!parent, "is an OVA with a disk that holds only the differences to another; export it as a whole")?;
        // oVirt tells GiB in `size`.
        let (number, unit) = match e.get("capacity") {
            Some(c) => (c, e.get("capacityAllocationUnits").unwrap_or("byte")),
            None => (e.get("size").unwrap_or("0"), "byte * 2^30"),
        };
        let bytes = number.trim().parse::<u64>().ok().zip(units::bytes(unit)).and_then(|(n, u)| n.checked_mul(u));
        let Some(capacity_bytes) = bytes.filter(|b| *b <= VIRTUAL_BYTES_MAX) else {
            return refuse("is an OVA whose descriptor tells of a disk with a capacity that is no number of bytes, or over 64 TiB");
        };
        let file = e.get("fileRef").filter(|f| !f.is_empty()).map(str::to_string);
        let interface = e.get("disk-interface").unwrap_or_default().to_string();
        self.disks.push(DiskRef { id: id.into(), file, capacity_bytes, interface });
        Ok(())
    }

    /// Every file of a disk is named, and no file by two disks.
    fn check_links(&self) -> Seen<()> {
        for (i, d) in self.disks.iter().enumerate() {
            let Some(file) = &d.file else { continue };
            let known = self.file_of(file).is_some();
            must(known, "is an OVA with a disk whose file its descriptor does not name")?;
            must(!self.disks[..i].iter().any(|o| o.file.as_ref() == Some(file)), "is an OVA with two disks in one file")?;
        }
        Ok(())
    }

    /// The file of that id; oVirt puts the id of the disk before it.
    fn file_of(&self, id: &str) -> Option<&FileRef> {
        let last = id.rsplit_once('/').map_or(id, |(_, l)| l);
        self.files.iter().find(|f| f.id == id).or_else(|| self.files.iter().find(|f| f.id == last))
    }

    /// Whether the member of that name is a disk or a medium.
    pub(super) fn is_disk(&self, name: &str) -> bool {
        let of_disk = self.disks.iter().filter_map(|d| self.file_of(d.file.as_ref()?)).any(|f| f.href == name);
        of_disk || (ends(name, ".iso") && self.files.iter().any(|f| f.href == name))
    }

    /// The disk that an item names: `ovf:/disk/ID`, or (oVirt) the id of its file.
    pub(super) fn disk_at(&self, resource: &str) -> Option<&DiskRef> {
        let id = after(resource, "/disk/").unwrap_or(resource);
        let last = id.rsplit_once('/').map_or(id, |(_, l)| l);
        let by = |word: &str| self.disks.iter().find(|d| d.id == word || d.file.as_deref() == Some(word));
        by(id).or_else(|| by(last))
    }

    /// Name of the member that an item names: `ovf:/file/ID`, or by way of a disk.
    pub(super) fn member_at(&self, resource: &str) -> Option<&str> {
        match after(resource, "/file/") {
            Some(id) => self.file_of(id).map(|f| f.href.as_str()),
            None => self.disk_at(resource).and_then(|d| self.member_of(d)),
        }
    }

    /// Name of the member with a disk's content.
    pub(super) fn member_of(&self, disk: &DiskRef) -> Option<&str> {
        self.file_of(disk.file.as_ref()?).map(|f| f.href.as_str())
    }

    fn translations(&mut self, e: &El) {
        for m in e.children.iter().filter(|m| m.name == "Msg") {
            if let Some(id) = m.get("msgid") {
                self.strings.push((id.to_string(), m.text.clone()));
            }
        }
    }

    /// The text of an element, by way of its translation.
    pub(super) fn text_of<'a>(&'a self, e: &'a El) -> &'a str {
        let by_id = e.get("msgid").and_then(|id| self.strings.iter().find(|(i, _)| i == id));
        by_id.map_or(e.text.as_str(), |(_, t)| t.as_str())
    }
}

/// What stands behind `mark` in a host resource.
fn after<'a>(resource: &'a str, mark: &str) -> Option<&'a str> {
    resource.strip_prefix("ovf:").unwrap_or(resource).strip_prefix(mark)
}
