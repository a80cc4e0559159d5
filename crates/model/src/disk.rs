//! What a disk may do: limits on its operations and bytes (QOS-08).
//!
//! Only values and their rules. It must never say how a limit is kept: hosts do that.

use crate::error::{Check, Error};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Fewest operations in a second: below it a guest's own time limits end its writes.
pub const IOPS_MIN: u64 = 10;
/// Fewest bytes in a second, for the same reason.
pub const BYTES_PER_S_MIN: u64 = 1 << 20;
/// Longest burst in seconds.
pub const BURST_S_MAX: u64 = 3600;

/// Limits of a disk. What is left out is not limited. Reads and writes are limited together or each by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskLimits {
    /// Operations in a second, reads and writes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<u64>,
    /// Reads in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_iops: Option<u64>,
    /// Writes in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_iops: Option<u64>,
    /// Bytes in a second, read and written together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<u64>,
    /// Bytes read in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes_per_s: Option<u64>,
    /// Bytes written in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_bytes_per_s: Option<u64>,
    /// Operations in a second during a burst; more than `iops`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst_iops: Option<u64>,
    /// Bytes in a second during a burst; more than `bytes_per_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst_bytes_per_s: Option<u64>,
    /// Seconds that a burst lasts at most; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst_s: Option<u64>,
}

impl DiskLimits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == DiskLimits::default()
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Invalid`] with every violation, each naming its field.
    pub fn check(&self) -> Result<(), Error> {
        let mut c = Check::new();
        for (name, value, least) in [
            ("iops", self.iops, IOPS_MIN),
            ("read_iops", self.read_iops, IOPS_MIN),
            ("write_iops", self.write_iops, IOPS_MIN),
            ("bytes_per_s", self.bytes_per_s, BYTES_PER_S_MIN),
            ("read_bytes_per_s", self.read_bytes_per_s, BYTES_PER_S_MIN),
            ("write_bytes_per_s", self.write_bytes_per_s, BYTES_PER_S_MIN),
        ] {
            let range = least..=i64::MAX.unsigned_abs();
            c.that(value.is_none_or(|v| range.contains(&v)), name, format!("must be at least {least}, or left out for no limit"));
        }
        c.that(self.iops.is_none() || (self.read_iops, self.write_iops) == (None, None), "iops", "cannot stand beside read_iops or write_iops");
        let apart = (self.read_bytes_per_s, self.write_bytes_per_s);
        c.that(self.bytes_per_s.is_none() || apart == (None, None), "bytes_per_s", "cannot stand beside read_bytes_per_s or write_bytes_per_s");
        for (name, burst, of, always) in
            [("burst_iops", self.burst_iops, "iops", self.iops), ("burst_bytes_per_s", self.burst_bytes_per_s, "bytes_per_s", self.bytes_per_s)]
        {
            let more = burst.is_none_or(|b| always.is_some_and(|a| b > a) && b <= i64::MAX.unsigned_abs());
            c.that(more, name, format!("must be more than {of}, which must be given"));
        }
        let bursts = self.burst_iops.is_some() || self.burst_bytes_per_s.is_some();
        let length = self.burst_s.is_none_or(|s| bursts && (1..=BURST_S_MAX).contains(&s));
        c.that(length, "burst_s", format!("must be 1 to {BURST_S_MAX}, beside burst_iops or burst_bytes_per_s"));
        c.done()
    }
}

impl std::fmt::Display for DiskLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rate = |v: u64| format!("{} a second", crate::size::human(v));
        let parts = [
            self.iops.map(|v| format!("{v} operations a second")),
            self.read_iops.map(|v| format!("{v} reads a second")),
            self.write_iops.map(|v| format!("{v} writes a second")),
            self.bytes_per_s.map(rate),
            self.read_bytes_per_s.map(|v| format!("{} read", rate(v))),
            self.write_bytes_per_s.map(|v| format!("{} written", rate(v))),
        ];
        let text: Vec<String> = parts.into_iter().flatten().collect();
        f.pad(&if text.is_empty() { "none".into() } else { text.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_checked_with_their_fields() {
        let ok = DiskLimits { iops: Some(500), burst_iops: Some(2000), burst_s: Some(30), read_bytes_per_s: Some(10 << 20), ..DiskLimits::default() };
        assert!(ok.check().is_ok() && !ok.is_none());
        assert_eq!(ok.to_string(), "500 operations a second, 10 MiB a second read");
        assert!(DiskLimits::default().check().is_ok() && DiskLimits::default().is_none());
        let none = DiskLimits::default();
        for (bad, field) in [
            (DiskLimits { iops: Some(1), ..none }, "iops"),
            (DiskLimits { iops: Some(100), write_iops: Some(100), ..none }, "iops"),
            (DiskLimits { bytes_per_s: Some(1 << 20), read_bytes_per_s: Some(1 << 20), ..none }, "bytes_per_s"),
            (DiskLimits { burst_iops: Some(100), ..none }, "burst_iops"),
            (DiskLimits { iops: Some(100), burst_iops: Some(100), ..none }, "burst_iops"),
            (DiskLimits { iops: Some(100), burst_s: Some(5), ..none }, "burst_s"),
            (DiskLimits { iops: Some(u64::MAX), ..none }, "iops"),
        ] {
            let e = bad.check().expect_err(field);
            assert_eq!(e.violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), [field], "{bad:?}");
        }
    }
}
