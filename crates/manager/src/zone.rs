//! Time zones by their names: from the machine's database, else from the one that is built in.
//!
//! It must never guess: a name that is not known is an error.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use virga_decide::schedule::Zone;
use virga_model::{Error, Time};

/// A time zone.
#[derive(Clone, Debug)]
pub struct Named(TimeZone);

/// The time zone of that name.
///
/// # Errors
/// Invalid that names the field.
pub fn find(name: &str) -> Result<Named, Error> {
    let found = TimeZone::get(name).map(Named);
    found.map_err(|_| Error::invalid("time_zone", format!("\"{}\" is no time zone; use a name such as Europe/Berlin, or UTC", virga_model::name::shown(name))))
}

impl Zone for Named {
    fn local(&self, at: Time) -> i64 {
        let t = Timestamp::from_microsecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH);
        t.as_second() + i64::from(self.0.to_offset(t).seconds())
    }

    fn time(&self, local: i64) -> Time {
        let wall = Offset::UTC.to_datetime(Timestamp::from_second(local).unwrap_or(Timestamp::UNIX_EPOCH));
        let at = self.0.to_ambiguous_timestamp(wall).compatible();
        Time(at.map_or(local * 1_000_000, Timestamp::as_microsecond))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virga_decide::schedule::next;
    use virga_model::schedule::ScheduleRule;

    #[test]
    fn names_are_known_or_refused() {
        assert!(find("UTC").is_ok() && find("Asia/Shanghai").is_ok());
        let e = find("Europe/Nowhere").unwrap_err();
        assert_eq!(e.violations[0].field, "time_zone");
    }

    #[test]
    fn clocks_that_are_changed_neither_lose_nor_double_a_point() {
        let zone = find("Europe/Berlin").unwrap();
        let rule = ScheduleRule::Day { at: vec!["02:30".into()] };
        let mut t = Time::parse("2026-03-27T12:00:00Z").unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            t = next(&rule, &zone, t).unwrap();
            seen.push(t.to_string()[..16].to_string());
        }
        assert_eq!(seen, ["2026-03-28T01:30", "2026-03-29T01:30", "2026-03-30T00:30"]);
        assert_eq!(next(&rule, &zone, Time::parse("2026-10-25T00:30:00Z").unwrap()), Time::parse("2026-10-26T01:30:00Z"));
    }
}
