//! Images and ISOs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use virga_model::image::{ImageFormat, ImageState};
use virga_model::ovf::Package;
use virga_model::{ImageId, Time};

/// An image or ISO of the library.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// Identity.
    pub id: ImageId,
    /// Name, unique among images.
    pub name: String,
    /// State.
    pub state: ImageState,
    /// Format; known once ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ImageFormat>,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// Bytes that a guest sees.
    pub virtual_bytes: u64,
    /// Bytes that are there while the content is on its way through this manager, or has been broken off and waits to be gone on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrived_bytes: Option<u64>,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Grows with each change; the ETag.
    pub generation: i64,
    /// When it was made.
    pub created_at: Time,
    /// The package of which it is a piece; none: it has a file of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<ImageId>,
    /// What it holds, when it is a package (OVA); only where one image is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Package>,
}

/// Makes an image without content.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageCreate {
    /// Name, unique among images.
    pub name: String,
}

/// Parameters of an upload.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageContentQuery {
    /// SHA-256 of the content, hex; the upload is refused when it differs.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Format that the content is said to be of; the upload is refused when it is another. Left out, the content decides.
    #[serde(default)]
    pub format: Option<ImageFormat>,
    /// Byte of the content with which the body begins, to go on with an upload that broke off: `arrived_bytes` of the image, or
    /// fewer. `sha256` (of the whole) must be given then. Left out or 0: from the beginning.
    #[serde(default)]
    pub offset: Option<u64>,
}

/// Has the manager fetch the content of an image.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageFetch {
    /// Where it is: `https://` or `http://`, without user name and password.
    pub url: String,
    /// SHA-256 of the content, hex; it is refused when it differs. Needed for `http://`.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Format that the content is said to be of; it is refused when it is another. Left out, the content decides.
    #[serde(default)]
    pub format: Option<ImageFormat>,
}

/// Path of an image.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ImagePath {
    /// Name or id of the image.
    pub image: String,
}
