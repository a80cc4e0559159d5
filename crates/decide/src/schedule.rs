//! When a schedule's time has come, and which of its results have had theirs (G-08).
//!
//! The wall clock of a time zone is asked through [`Zone`], because only a machine with the database knows it.

use virga_model::Time;
use virga_model::schedule::{Keep, ScheduleRule, Weekday, minutes};

/// Seconds of a day.
const DAY_S: i64 = 86_400;
/// Days that are looked at for the next point: a week, one more on each side for what a zone shifts.
const DAYS_LOOKED_AT: i64 = 9;

/// The wall clock of a time zone.
pub trait Zone {
    /// Seconds that the wall clock shows at `at`, counted from 1970-01-01T00:00 of the wall clock.
    fn local(&self, at: Time) -> i64;
    /// When the wall clock shows so many seconds. A time that it leaves out comes when the clock has gone on by as much; of one
    /// that it shows twice the first counts.
    fn time(&self, local: i64) -> Time;
}

/// UTC.
#[derive(Clone, Copy, Debug)]
pub struct Utc;

impl Zone for Utc {
    fn local(&self, at: Time) -> i64 {
        at.0.div_euclid(1_000_000)
    }

    fn time(&self, local: i64) -> Time {
        Time(local * 1_000_000)
    }
}

/// The day of the week of a day since 1970-01-01, which was a Thursday.
fn weekday(day: i64) -> Weekday {
    use Weekday as W;
    const DAYS: [W; 7] = [W::Thursday, W::Friday, W::Saturday, W::Sunday, W::Monday, W::Tuesday, W::Wednesday];
    usize::try_from(day.rem_euclid(7)).ok().and_then(|i| DAYS.get(i)).copied().unwrap_or(W::Monday)
}

/// The first point of a rule after `after`; none for a rule without any.
#[must_use]
pub fn next(rule: &ScheduleRule, zone: &dyn Zone, after: Time) -> Option<Time> {
    let on_days = |at: &[String], wanted: &dyn Fn(Weekday) -> bool| {
        let today = zone.local(after).div_euclid(DAY_S);
        let days = (today - 1..today + DAYS_LOOKED_AT).filter(|d| wanted(weekday(*d)));
        let points = days.flat_map(|d| at.iter().filter_map(move |t| Some(d * DAY_S + i64::from(minutes(t)?) * 60)));
        points.map(|local| zone.time(local)).filter(|t| *t > after).min()
    };
    match rule {
        ScheduleRule::Hours { hours, minute } => {
            let (step, offset) = (i64::from((*hours).max(1)) * 3600, i64::from(*minute) * 60);
            let passed = (after.0.div_euclid(1_000_000) - offset).div_euclid(step);
            Some(Time(((passed + 1) * step + offset) * 1_000_000))
        }
        ScheduleRule::Day { at } => on_days(at, &|_| true),
        ScheduleRule::Week { days, at } => on_days(at, &|d| days.contains(&d)),
    }
}

/// Which of the results of one VM, given with the time of each, have had their time; oldest first.
#[must_use]
pub fn surplus<T: Copy>(results: &[(T, Time)], keep: Keep, now: Time) -> Vec<T> {
    let mut sorted: Vec<&(T, Time)> = results.iter().collect();
    sorted.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
    let goes = |place: usize, at: Time| {
        let many = keep.count.is_some_and(|n| place >= usize::try_from(n).unwrap_or(usize::MAX));
        // Were the newest to go by its age, a schedule that fails would end with nothing.
        let old = keep.days.is_some_and(|d| place > 0 && now.millis_since(at) > i64::from(d) * DAY_S * 1000);
        many || old
    };
    let mut out: Vec<T> = sorted.iter().enumerate().filter(|(i, (_, at))| goes(*i, *at)).map(|(_, (id, _))| *id).collect();
    out.reverse();
    out
}

/// Date and time of the wall clock as they stand in names: `20260131` and `0200`.
#[must_use]
pub fn stamp(zone: &dyn Zone, at: Time) -> (String, String) {
    let digits: String = Time(zone.local(at) * 1_000_000).to_string().chars().filter(char::is_ascii_digit).collect();
    (digits.get(..8).unwrap_or_default().into(), digits.get(8..12).unwrap_or_default().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Europe/Berlin in 2026: +1 h, from 29 March 01:00 UTC to 25 October 01:00 UTC +2 h.
    struct Berlin;

    fn at(text: &str) -> Time {
        Time::parse(text).unwrap()
    }

    impl Berlin {
        fn offset(t: Time) -> i64 {
            if (at("2026-03-29T01:00:00Z")..at("2026-10-25T01:00:00Z")).contains(&t) { 7200 } else { 3600 }
        }
    }

    impl Zone for Berlin {
        fn local(&self, t: Time) -> i64 {
            Utc.local(t) + Berlin::offset(t)
        }

        fn time(&self, local: i64) -> Time {
            let summer = Time((local - 7200) * 1_000_000);
            if Berlin::offset(summer) == 7200 { summer } else { Time((local - 3600) * 1_000_000) }
        }
    }

    fn day(t: &str) -> ScheduleRule {
        ScheduleRule::Day { at: vec![t.into()] }
    }

    #[test]
    fn hours_are_counted_from_midnight() {
        let rule = ScheduleRule::Hours { hours: 6, minute: 15 };
        assert_eq!(next(&rule, &Utc, at("2026-01-01T00:00:00Z")), Some(at("2026-01-01T00:15:00Z")));
        assert_eq!(next(&rule, &Utc, at("2026-01-01T00:15:00Z")), Some(at("2026-01-01T06:15:00Z")));
        assert_eq!(next(&rule, &Utc, at("2026-01-01T23:00:00Z")), Some(at("2026-01-02T00:15:00Z")));
    }

    #[test]
    fn days_follow_the_wall_clock_of_the_zone() {
        assert_eq!(next(&day("02:30"), &Berlin, at("2026-01-10T12:00:00Z")), Some(at("2026-01-11T01:30:00Z")));
        assert_eq!(next(&day("02:30"), &Berlin, at("2026-07-10T12:00:00Z")), Some(at("2026-07-11T00:30:00Z")));
        // The clock leaves 02:30 out: the run comes all the same, and the next day is in its place.
        assert_eq!(next(&day("02:30"), &Berlin, at("2026-03-28T12:00:00Z")), Some(at("2026-03-29T01:30:00Z")));
        assert_eq!(next(&day("02:30"), &Berlin, at("2026-03-29T01:30:00Z")), Some(at("2026-03-30T00:30:00Z")));
        // It shows 02:30 twice: the first counts, and there is no second.
        assert_eq!(next(&day("02:30"), &Berlin, at("2026-10-24T12:00:00Z")), Some(at("2026-10-25T00:30:00Z")));
        assert_eq!(next(&day("02:30"), &Berlin, at("2026-10-25T00:30:00Z")), Some(at("2026-10-26T01:30:00Z")));
    }

    #[test]
    fn weeks_have_their_days() {
        let rule = ScheduleRule::Week { days: vec![Weekday::Monday, Weekday::Friday], at: vec!["22:00".into(), "06:00".into()] };
        // 2026-01-01 was a Thursday.
        let mut t = at("2026-01-01T00:00:00Z");
        let mut seen = Vec::new();
        for _ in 0..5 {
            t = next(&rule, &Utc, t).unwrap();
            seen.push(t.to_string()[..16].to_string());
        }
        assert_eq!(seen, ["2026-01-02T06:00", "2026-01-02T22:00", "2026-01-05T06:00", "2026-01-05T22:00", "2026-01-09T06:00"]);
    }

    #[test]
    fn what_has_had_its_time_goes_oldest_first_and_the_newest_stays() {
        let now = at("2026-02-01T00:00:00Z");
        let results: Vec<(u32, Time)> = (0..5).map(|n| (n, now.plus_seconds(-i64::from(n) * DAY_S - 60))).collect();
        let keep = |count, days| Keep { count, days };
        assert_eq!(surplus(&results, keep(Some(2), None), now), [4, 3, 2]);
        assert_eq!(surplus(&results, keep(None, Some(3)), now), [4, 3]);
        assert_eq!(surplus(&results, keep(Some(1), Some(1)), now), [4, 3, 2, 1]);
        assert_eq!(surplus(&results, keep(None, Some(1)), now.plus_seconds(100 * DAY_S)), [4, 3, 2, 1]);
        assert!(surplus::<u32>(&[], keep(Some(1), None), now).is_empty());
    }

    #[test]
    fn names_carry_the_wall_clock() {
        assert_eq!(stamp(&Berlin, at("2026-07-10T23:30:00Z")), ("20260711".to_string(), "0130".to_string()));
    }
}
