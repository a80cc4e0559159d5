//! Watches the data stores that managers told this host of: can it reach each, is it the right one, how full is it.
//!
//! Every look is bounded, and all go at the same time: one that hangs never keeps the others, or a report, waiting. What is
//! found is only told; it must never touch a VM because a data store is gone.

use futures::StreamExt;
use std::sync::Arc;
use virga_model::ImageId;
use virga_model::data_store::StoreFact;

use crate::node::Node;

/// Milliseconds between two looks at a data store.
const LOOK_PERIOD_MS: u64 = 5_000;
/// Data stores that are looked at in the same moment.
const LOOKS_AT_ONCE: usize = 32;
/// Free space moves all the time; it is told in steps of so many bytes, a power of two.
const FREE_STEP_BYTES: u64 = 64 << 20;

/// Watches until the task is dropped. Without data stores it sleeps.
pub(crate) async fn watch(node: Arc<Node>) {
    loop {
        let stores = node.stores();
        if stores.is_empty() {
            node.stores_changed.notified().await;
            continue;
        }
        let host = node.host().clone();
        let looks = futures::stream::iter(stores).map(|s| {
            let host = host.clone();
            async move {
                let fact = host.store_look(s.id).await;
                let images = if fact.reachable() { host.images(Some(s.id)).await.ok() } else { None };
                (fact, images)
            }
        });
        let found: Vec<(StoreFact, Option<Vec<ImageId>>)> = looks.buffered(LOOKS_AT_ONCE).collect().await;
        let mut news = false;
        for (mut fact, images) in found {
            fact.free_bytes &= !(FREE_STEP_BYTES - 1);
            news |= node.note_store(fact, images);
        }
        if news {
            node.touch();
        }
        tokio::select! {
            biased;
            () = node.host().sleep_ms(LOOK_PERIOD_MS) => {}
            () = node.stores_changed.notified() => {}
        }
    }
}
