//! Time.

use crate::Kvm;
use async_trait::async_trait;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use virga_agent::host::Clock;
use virga_model::Time;

#[async_trait]
impl Clock for Kvm {
    fn now(&self) -> Time {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(d) => i64::try_from(d.as_micros()).unwrap_or(i64::MAX),
            Err(e) => -i64::try_from(e.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Time(micros)
    }

    fn monotonic_ms(&self) -> u64 {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
        seconds.saturating_mul(1000).saturating_add(u64::try_from(t.tv_nsec).unwrap_or(0) / 1_000_000)
    }

    async fn sleep_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}
