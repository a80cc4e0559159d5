//! OVF packages (DSP0243): a tar (OVA) with an XML descriptor, disks, and a manifest of their digests (TPL-10, TPL-11, W-19).
//!
//! A package is a foreign file like any image, and is read the same way (`reliability.md` 2.9, I6 to I8): through [`ReadAt`],
//! within bounds, without trust in any number. Nothing is ever written under a name that a package says: names only tell which
//! member is which, members lie where they lie in the file, and a disk of a package is a piece of that file. Each disk is
//! inspected like an image of its own. What a descriptor wants of hardware becomes typed fields or a reason why not; nothing
//! of it is handed on as text.
//!
//! This module never does I/O, never resolves an entity, and never computes digests: it says which are promised.

mod descriptor;
mod hardware;
mod manifest;
mod tar;
mod units;
mod write;
mod xml;

use crate::error::Error;
use crate::image::reader::{Reader, Seen, answer, must, refuse};
use crate::image::{ImageFormat, Inspected, ReadAt, look};
use crate::vm::{DiskBus, Firmware, NicModel};
pub use manifest::{Algorithm, Digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub(crate) use tar::is_tar;
pub use tar::{BLOCK, end, header, padding};
pub use write::{Layout, Piece, WrittenDisk, descriptor as write_descriptor, layout, manifest as write_manifest};

/// Longest descriptor in bytes.
pub const DESCRIPTOR_BYTES_MAX: u64 = 4 << 20;
/// Longest manifest in bytes.
const MANIFEST_BYTES_MAX: u64 = 256 << 10;
/// Most members of a package.
pub const MEMBERS_MAX: usize = 64;
/// Longest name of a member in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 200;

/// What a package holds, as it was found when it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Package {
    /// The machine that the descriptor describes.
    pub machine: Machine,
    /// Its disks and media, in the order of the package.
    pub disks: Vec<PackageDisk>,
    /// Digests of its manifest, all of which were right; none: it has no manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Algorithm>,
}

/// A disk or a medium in a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PackageDisk {
    /// Name in the package; only for people.
    pub file: String,
    /// Format.
    pub format: ImageFormat,
    /// First byte in the package.
    pub offset: u64,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// Bytes that a guest sees.
    pub virtual_bytes: u64,
    /// Image of the library that the piece is; known once the package is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<crate::ImageId>,
}

/// The machine that a descriptor describes, in our words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Name, as it stands there.
    pub name: String,
    /// What its maker says of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// vCPUs.
    pub cpus: u32,
    /// Cores per socket; 0: not told.
    #[serde(default)]
    pub cores_per_socket: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// How it starts.
    #[serde(default)]
    pub firmware: Firmware,
    /// Disks, in the order in which a guest sees them.
    pub disks: Vec<MachineDisk>,
    /// Optical drives; each with the place in [`Package::disks`] of its medium.
    #[serde(default)]
    pub cdroms: Vec<Option<u32>>,
    /// Network interfaces.
    pub nics: Vec<MachineNic>,
    /// What was mapped to something else, or left out because nothing depends on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What Virga cannot give: while there is any, no VM is made of the package.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<String>,
}

impl Machine {
    /// The networks that its interfaces name, each once, in their order.
    #[must_use]
    pub fn networks(&self) -> Vec<&str> {
        let mut out: Vec<&str> = Vec::new();
        self.nics.iter().for_each(|n| {
            if !out.contains(&n.network.as_str()) {
                out.push(&n.network)
            }
        });
        out
    }
}

/// A disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MachineDisk {
    /// Place in [`Package::disks`] of its content; none: it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<u32>,
    /// Bytes that the guest sees.
    pub size_bytes: u64,
    /// Bus on which it is.
    pub bus: DiskBus,
}

/// A network interface of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MachineNic {
    /// Name of the network in the package.
    pub network: String,
    /// Hardware.
    pub model: NicModel,
    /// Address, when the package tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// A member of a package: where it lies, and what the manifest promises of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name.
    pub name: String,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
    /// The digest that it must have.
    pub digest: Option<Digest>,
}

/// A package with all of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// What it holds.
    pub package: Package,
    /// Every member, in the order of the file.
    pub members: Vec<Member>,
}

/// Reads a whole package of `file_bytes` bytes. The digests that its manifest promises are for the caller to compare.
///
/// # Errors
/// [`crate::ErrorCode::Invalid`] on `content`, saying why it is refused and what to do; what `file` says when it cannot be read.
pub fn read(file: &mut dyn ReadAt, file_bytes: u64) -> Result<Contents, Error> {
    answer(contents(&mut Reader::new(file, file_bytes, file_bytes)))?.ok_or_else(|| Error::internal("The inspector read behind the end of a package."))
}

/// Names of the files that a descriptor names, in its order.
///
/// # Errors
/// Invalid on `content` for a descriptor that is refused.
pub fn files(descriptor: &[u8]) -> Result<Vec<String>, Error> {
    match descriptor::Descriptor::parse(descriptor) {
        Ok(d) => Ok(d.files.into_iter().map(|f| f.href).collect()),
        Err(stop) => Err(stop.into_error()),
    }
}

/// As [`read`], for the inspector of images.
pub(crate) fn inspect(r: &mut Reader<'_>) -> Seen<Inspected> {
    let disks = contents(r)?.package.disks;
    let bytes = disks.iter().map(|d| d.virtual_bytes).fold(0, u64::saturating_add);
    Ok(Inspected { format: ImageFormat::Ova, virtual_bytes: bytes, size_by_geometry: false })
}

fn contents(r: &mut Reader<'_>) -> Seen<Contents> {
    // The descriptor comes first (DSP0243): what is wrong with it is told before the rest is there.
    let first = tar::first(r)?;
    must(ends(&first.name, ".ovf"), "is a tar archive whose first member is no descriptor (.ovf), so it is no OVA; unpack it and import what is in it")?;
    must(first.bytes <= DESCRIPTOR_BYTES_MAX, "is an OVA with a descriptor of more than 4 MiB")?;
    let text = r.vec(first.offset, usize::try_from(first.bytes).unwrap_or(0))?;
    let described = descriptor::Descriptor::parse(&text)?;
    let mut members = tar::members(r)?;
    only_what_belongs(&members, &described)?;
    let promised = members.iter().find(|m| ends(&m.name, ".mf")).map(|m| (m.offset, m.bytes));
    let manifest = match promised {
        Some((offset, bytes)) => {
            must(bytes <= MANIFEST_BYTES_MAX, "is an OVA with a manifest of more than 256 KiB")?;
            let text = r.vec(offset, usize::try_from(bytes).unwrap_or(0))?;
            manifest::promise(&text, &mut members)?
        }
        None => None,
    };
    let disks = disks(r, &members, &described)?;
    must(!disks.is_empty(), "is an OVA without a disk or a medium")?;
    let whole = disks.iter().map(|d| d.virtual_bytes).fold(0, u64::saturating_add);
    must(whole <= crate::image::VIRTUAL_BYTES_MAX, "is an OVA whose disks have a virtual size of over 64 TiB together")?;
    let machine = hardware::machine(&described, &disks)?;
    Ok(Contents { package: Package { machine, disks, manifest }, members })
}

/// Members that are neither descriptor, manifest, certificate nor named by the descriptor are not taken (I6).
fn only_what_belongs(members: &[Member], described: &descriptor::Descriptor) -> Seen<()> {
    for (i, m) in members.iter().enumerate() {
        let own = i == 0 || ends(&m.name, ".mf") || ends(&m.name, ".cert");
        if !own && !described.files.iter().any(|f| f.href == m.name) {
            return refuse(format!("is an OVA with the member \"{}\", which its descriptor does not name", shown(&m.name)));
        }
    }
    for end in [".ovf", ".mf", ".cert"] {
        must(members.iter().filter(|m| ends(&m.name, end)).count() <= 1, "is an OVA with several descriptors, manifests or certificates")?;
    }
    for f in &described.files {
        let Some(m) = members.iter().find(|m| m.name == f.href) else {
            return refuse(format!("is an OVA without the file \"{}\" that its descriptor names; is the file complete?", shown(&f.href)));
        };
        if f.size.is_some_and(|s| s != m.bytes) {
            return refuse(format!("is an OVA whose descriptor tells of another length of \"{}\" than it has; is the file complete?", shown(&m.name)));
        }
    }
    Ok(())
}

/// Inspects the members that are disks or media, each as a file of its own.
fn disks(r: &mut Reader<'_>, members: &[Member], described: &descriptor::Descriptor) -> Seen<Vec<PackageDisk>> {
    let mut out = Vec::new();
    for m in members.iter().filter(|m| described.is_disk(&m.name)) {
        let mut part = r.part(m.offset, m.bytes);
        // Looked at first: a package within a package within a package has no end.
        if part.holds(0, 512) && tar::is_tar(&part.array::<512>(0)?) {
            return refuse("is an OVA within an OVA");
        }
        let seen = look(&mut part);
        let left = part.left();
        r.spent(left);
        let seen = seen.map_err(|s| s.within(&format!("is an OVA whose disk \"{}\"", shown(&m.name))))?;
        out.push(PackageDisk {
            file: m.name.clone(),
            format: seen.format,
            offset: m.offset,
            size_bytes: m.bytes,
            virtual_bytes: seen.virtual_bytes,
            image: None,
        });
    }
    Ok(out)
}

/// Whether a name has this ending, in whatever case.
fn ends(name: &str, ending: &str) -> bool {
    name.len() > ending.len() && name.get(name.len() - ending.len()..).is_some_and(|e| e.eq_ignore_ascii_case(ending))
}

/// A foreign text for a message: short, and without what plays tricks on a terminal.
fn shown(text: &str) -> String {
    crate::name::shown(text).to_string()
}

#[cfg(test)]
mod tests;
