//! How an agent speaks to its managers: reports up, image content down. A trait, so that the simulator needs no network.

use async_trait::async_trait;
use futures::stream::BoxStream;
use virga_model::order::{ImageRef, Report, ReportAck};

use crate::host::Result;

/// A manager, as an agent sees it. Any manager will do: there are no sessions.
#[async_trait]
pub trait Link: Send + Sync + 'static {
    /// Brings a report.
    ///
    /// # Errors
    /// Unavailable when no manager answered: the report is made anew next time.
    async fn report(&self, report: &Report) -> Result<ReportAck>;
    /// Content of an image from `offset` on.
    ///
    /// # Errors
    /// Unavailable, or not found.
    async fn fetch_image(&self, image: &ImageRef, offset: u64) -> Result<BoxStream<'static, Result<Vec<u8>>>>;
}
