//! The target of lists: sort, filter and page token of a caller, all the way through the database.
//!
//! The first line is the sort field, the second the page token (`@` before it: not yet encoded), the rest the filter.

use super::text::FILTER_WORDS;
use crate::{Target, mark};
use std::sync::OnceLock;
use tokio::runtime::{Builder, Runtime};
use virga_model::filter;
use virga_model::role::Visible;
use virga_store::{Page, SortKey, Store, StoreError};

/// Lists.
pub const LIST: Target = Target { name: "list", about: "sort, filter and page token of a list, through the database", run: list, words: FILTER_WORDS };

fn store() -> &'static (Runtime, Store) {
    static STORE: OnceLock<(Runtime, Store)> = OnceLock::new();
    STORE.get_or_init(|| {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let store = runtime.block_on(Store::memory()).expect("a database");
        (runtime, store)
    })
}

fn list(data: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(3, '\n');
    let (sort, token, condition) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let Ok(filter) = Some(condition).filter(|c| !c.trim().is_empty()).map(filter::parse).transpose() else { return mark("no filter") };
    let (field, descending) = sort.strip_prefix('-').map_or((sort, false), |f| (f, true));
    let sort = if field.is_empty() { Vec::new() } else { vec![SortKey { field: field.into(), descending }] };
    let after = match token.strip_prefix('@') {
        Some(raw) => Some(base64url(raw.as_bytes())),
        None => Some(token.to_string()).filter(|t| !t.is_empty()),
    };
    let page = Page { limit: 10, after, sort, filter, total: true };
    let (runtime, store) = store();
    runtime.block_on(async {
        let mut tx = store.read().await.expect("a transaction");
        let vms = virga_store::vm::list(&mut tx, &page, virga_store::vm::Listed::All, &Visible::everything()).await;
        let mut tx = store.read().await.expect("a transaction");
        let images = virga_store::image::list(&mut tx, &page).await;
        mark(&format!("{} {}", outcome(vms.map(|p| p.items.len())), outcome(images.map(|p| p.items.len()))))
    })
}

/// A wrong request is the caller's fault; whatever the database itself says is ours.
fn outcome(r: Result<usize, StoreError>) -> String {
    match r {
        Ok(n) => format!("{n} rows"),
        Err(StoreError::Malformed(e)) => {
            assert!(!e.violations.is_empty() && e.message.len() < 1000, "{e}");
            e.message
        }
        Err(e) => panic!("{e}"),
    }
}

fn base64url(data: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for c in data.chunks(3) {
        let n = u32::from(c[0]) << 16 | u32::from(c.get(1).copied().unwrap_or(0)) << 8 | u32::from(c.get(2).copied().unwrap_or(0));
        let sextet = |shift: u32| char::from(LETTERS[(n >> shift & 63) as usize]);
        out.extend([18, 12, 6, 0].into_iter().take(c.len() + 1).map(sextet));
    }
    out
}
