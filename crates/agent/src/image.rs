//! Brings images into the host's cache: each once, however many VMs ask, and going on where a broken transfer ended.

use futures::StreamExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use virga_crash::{Step, step};
use virga_model::order::{ImageRef, Progress};
use virga_model::{DataStoreId, ImageId};

use crate::host::{Host, Result};
use crate::link::Link;

/// Bytes between two words of progress.
const PROGRESS_BYTES: u64 = 4 << 20;

/// One lock for each image, so that twenty VMs fetch it once.
#[derive(Default)]
pub struct Fetches {
    locks: Mutex<HashMap<(Option<DataStoreId>, ImageId), Arc<tokio::sync::Mutex<()>>>>,
}

impl Fetches {
    /// Sees to it that `image` is in the cache of a data store (none: the local one).
    ///
    /// # Errors
    /// What the manager or the host says.
    pub async fn ensure(
        &self,
        host: &dyn Host,
        link: &dyn Link,
        (store, image): (Option<DataStoreId>, &ImageRef),
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            locks.entry((store, image.id)).or_default().clone()
        };
        let _one_at_a_time = lock.lock().await;
        if host.images(store).await?.contains(&image.id) {
            return Ok(());
        }
        let mut offset = host.image_partial_bytes(store, image).await?.min(image.size_bytes);
        let mut told = 0;
        let tell = |done| progress(Progress { step: "copying the image to the host".into(), done, total: image.size_bytes, unit: "bytes".into() });
        tell(offset);
        if offset < image.size_bytes {
            let mut content = link.fetch_image(image, offset).await?;
            while let Some(piece) = content.next().await {
                let piece = piece?;
                step(Step::ImageWrite, host.image_write(store, image, offset, &piece)).await?;
                offset += piece.len() as u64;
                if offset - told >= PROGRESS_BYTES {
                    told = offset;
                    tell(offset);
                }
            }
        }
        step(Step::ImageCommit, host.image_commit(store, image)).await
    }
}
