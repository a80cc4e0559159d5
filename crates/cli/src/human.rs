//! Numbers and times as people write and read them. Sizes are those of `virga_model::size`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use virga_model::Time;

pub(crate) use virga_model::size::{human as size, parse as parse_size};

/// Parses `30d`, `1h30m`, `120s`, `500ms` or plain seconds.
///
/// # Errors
/// A sentence that says what would be right.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not a duration: write for example 120s, 5m, 1h30m or 30d");
    let t = text.trim();
    if let Ok(seconds) = t.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut rest = t;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let after = &rest[digits..];
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let millis: u64 = match &after[..letters] {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)?;
        sum = sum.checked_add(part).ok_or_else(wrong)?;
        rest = &after[letters..];
    }
    if t.is_empty() { Err(wrong()) } else { Ok(sum) }
}

/// Whole seconds of a duration as the API wants them.
///
/// # Errors
/// When they do not fit.
pub(crate) fn parse_seconds(text: &str) -> Result<u32, String> {
    let d = parse_duration(text)?;
    let seconds = d.as_secs() + u64::from(d.subsec_nanos() > 0);
    u32::try_from(seconds).map_err(|_| format!("\"{text}\" is too long"))
}

/// Now, as the API counts.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// How long ago `then` is, roughly: `12s`, `5m`, `3h`, `2d`; `in 5m` for the future.
pub(crate) fn age(now: Time, then: Time) -> String {
    let millis = now.millis_since(then);
    let text = span(millis.unsigned_abs() / 1000);
    if millis < -999 { format!("in {text}") } else { text }
}

/// Seconds in the largest unit that says enough.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Bytes per second in IEC units.
pub(crate) fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", size(bytes_per_second.max(0.0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read() {
        assert_eq!(parse_duration("120s"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "x", "5 parsecs", "h", "-1s", "99999999999999999999d", "1.5h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_seconds("500ms"), Ok(1));
        assert!(parse_seconds("99999w").is_err());
    }

    #[test]
    fn ages_are_short() {
        let t = Time::parse("2026-01-01T00:00:00Z").expect("a time");
        assert_eq!(age(t.plus_seconds(5), t), "5s");
        assert_eq!(age(t.plus_seconds(300), t), "5m");
        assert_eq!(age(t.plus_seconds(3 * 3600), t), "3h");
        assert_eq!(age(t.plus_seconds(5 * 86_400), t), "5d");
        assert_eq!(age(t, t.plus_seconds(600)), "in 10m");
    }

    #[test]
    fn sizes_read_as_in_the_whole_product() {
        assert_eq!(parse_size("256MiB"), Ok(256 << 20));
        assert_eq!(parse_size("20GiB"), Ok(20 << 30));
        assert_eq!(size(1536 << 20), "1.5 GiB");
        assert!(parse_size("20 parsecs").is_err());
    }
}
