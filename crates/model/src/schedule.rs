//! A schedule: what is done to VMs again and again, and for how long its results are kept (G-08).
//!
//! Only values and their rules; when a point in time comes is found by `decide::schedule`. One shape for all that is done by
//! schedule: another kind of work is one more variant of [`ScheduledWork`].

use crate::error::{Check, Error};
use crate::snapshot::SnapshotKind;
use crate::{ScheduleId, Time, UserId, VmId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most schedules of an installation: each is looked at every minute.
pub const SCHEDULES_MAX: u32 = 1000;
/// Most VMs that one run of a schedule works on.
pub const SCHEDULE_VMS_MAX: usize = 1000;
/// Most times a day.
pub const TIMES_MAX: usize = 24;
/// Most hours between two points.
pub const HOURS_MAX: u32 = 168;
/// Most results that are kept for each VM; below the most snapshots that a VM may have, so that people can take some, too.
pub const KEEP_MAX: u32 = 32;
/// Most days for which results are kept.
pub const KEEP_DAYS_MAX: u32 = 3660;
/// Longest pattern of names.
const PATTERN_MAX: usize = 63;
/// The pattern when none is given.
pub const PATTERN: &str = "{schedule}-{date}-{time}";

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weekday {
    /// Monday.
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
}

/// The points in time of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "every", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScheduleRule {
    /// Every so many hours, counted from midnight UTC of 1970-01-01, at a minute of the hour.
    Hours {
        /// Hours between two points, 1 to 168.
        hours: u32,
        /// Minute of the hour, 0 to 59.
        #[serde(default)]
        minute: u32,
    },
    /// Every day.
    Day {
        /// Times of the day, `HH:MM`, in the schedule's time zone.
        at: Vec<String>,
    },
    /// Every week.
    Week {
        /// On these days.
        days: Vec<Weekday>,
        /// Times of the day, `HH:MM`, in the schedule's time zone.
        at: Vec<String>,
    },
}

/// Minutes since midnight of `HH:MM`.
#[must_use]
pub fn minutes(text: &str) -> Option<u32> {
    let (h, m) = text.split_once(':')?;
    let number = |t: &str, below: u32| (t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit())).then(|| t.parse::<u32>().ok()).flatten().filter(|n| *n < below);
    Some(number(h, 24)? * 60 + number(m, 60)?)
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScheduledWork {
    /// A snapshot is taken.
    Snapshot {
        /// Which kind.
        #[serde(default)]
        kind: SnapshotKind,
    },
}

/// For how long results are kept. A result goes when one of the limits says so; the newest of a VM never goes by its age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// So many for each VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// For so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}

/// What people choose of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Whether it is at work.
    pub enabled: bool,
    /// Labels that a VM must have; for a schedule of many VMs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// When.
    pub rule: ScheduleRule,
    /// Time zone of the rule: a name of the IANA database (`Europe/Berlin`) or `UTC`.
    pub time_zone: String,
    /// What.
    pub work: ScheduledWork,
    /// For how long the results are kept.
    pub keep: Keep,
    /// Names of the results; `{schedule}`, `{date}` and `{time}` are replaced.
    pub name_pattern: String,
    /// After a time in which the manager was away, what was missed is made up for: once, however much was missed.
    pub catch_up: bool,
}

/// A schedule as the platform knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Identity.
    pub id: ScheduleId,
    /// Label for people, unique.
    pub name: String,
    /// Who made it; it works with this account's rights.
    pub owner: UserId,
    /// The one VM that it is about; none: those of the selector.
    pub vm: Option<VmId>,
    /// What people chose.
    pub spec: ScheduleSpec,
    /// The next point in time.
    pub next_at: Time,
    /// The last point at which it worked.
    pub last_at: Option<Time>,
    /// Grows with each change by people; the ETag.
    pub generation: i64,
    /// When it was made.
    pub created_at: Time,
}

impl ScheduleSpec {
    /// Checks everything but the time zone, which only a machine with its database knows.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Invalid`] with every violation, each naming its field.
    pub fn check(&self) -> Result<(), Error> {
        let mut c = Check::new();
        match &self.rule {
            ScheduleRule::Hours { hours, minute } => {
                c.that((1..=HOURS_MAX).contains(hours), "rule.hours", format!("must be 1 to {HOURS_MAX}"));
                c.that(*minute < 60, "rule.minute", "must be 0 to 59");
            }
            ScheduleRule::Day { at } => times(&mut c, at),
            ScheduleRule::Week { days, at } => {
                c.that(!days.is_empty() && days.len() <= 7, "rule.days", "must be 1 to 7 days of the week");
                times(&mut c, at);
            }
        }
        c.that(self.keep.count.is_none_or(|n| (1..=KEEP_MAX).contains(&n)), "keep.count", format!("must be 1 to {KEEP_MAX}"));
        c.that(self.keep.days.is_none_or(|n| (1..=KEEP_DAYS_MAX).contains(&n)), "keep.days", format!("must be 1 to {KEEP_DAYS_MAX}"));
        c.that(self.keep != Keep::default(), "keep", "must have count, days or both: results that nobody removes fill the store");
        let zone_ok = !self.time_zone.is_empty()
            && self.time_zone.len() <= 64
            && !self.time_zone.contains("..")
            && self.time_zone.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+'));
        c.that(zone_ok, "time_zone", "must be a name such as Europe/Berlin, or UTC");
        c.that(self.name_pattern.len() <= PATTERN_MAX, "name_pattern", format!("must be at most {PATTERN_MAX} bytes"));
        let sample = self.named("s", "20260131", "0200");
        c.that(crate::name::check("name_pattern", &sample).is_ok(), "name_pattern", "must give names of letters, digits, '.', '_' and '-'");
        // Named as they stand here, not as those of a VM.
        let labels = crate::vm::check_labels(&self.selector);
        c.nested("selector", labels.map_err(|e| e.rename(|n| n.strip_prefix("labels").unwrap_or(n).trim_start_matches('.').to_string())));
        c.done()
    }

    /// The name of a result.
    #[must_use]
    pub fn named(&self, schedule: &str, date: &str, time: &str) -> String {
        self.name_pattern.replace("{schedule}", schedule).replace("{date}", date).replace("{time}", time)
    }
}

fn times(c: &mut Check, at: &[String]) {
    c.that((1..=TIMES_MAX).contains(&at.len()), "rule.at", format!("must be 1 to {TIMES_MAX} times"));
    for (i, t) in at.iter().enumerate() {
        c.that(minutes(t).is_some(), format!("rule.at[{i}]"), "must be a time of the day such as 02:30");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ScheduleSpec {
        ScheduleSpec {
            enabled: true,
            selector: BTreeMap::new(),
            rule: ScheduleRule::Day { at: vec!["02:00".into()] },
            time_zone: "Europe/Berlin".into(),
            work: ScheduledWork::Snapshot { kind: SnapshotKind::Ordinary },
            keep: Keep { count: Some(7), days: None },
            name_pattern: PATTERN.into(),
            catch_up: true,
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(spec().check().is_ok());
        type Edit = Box<dyn Fn(&mut ScheduleSpec)>;
        let cases: [(Edit, &str); 7] = [
            (Box::new(|s| s.rule = ScheduleRule::Hours { hours: 0, minute: 0 }), "rule.hours"),
            (Box::new(|s| s.rule = ScheduleRule::Day { at: vec!["25:00".into()] }), "rule.at[0]"),
            (Box::new(|s| s.rule = ScheduleRule::Week { days: vec![], at: vec!["02:00".into()] }), "rule.days"),
            (Box::new(|s| s.keep = Keep::default()), "keep"),
            (Box::new(|s| s.keep.count = Some(33)), "keep.count"),
            (Box::new(|s| s.time_zone = "../etc/passwd".into()), "time_zone"),
            (Box::new(|s| s.name_pattern = "a b".into()), "name_pattern"),
        ];
        for (edit, field) in cases {
            let mut s = spec();
            edit(&mut s);
            let e = s.check().expect_err(field);
            assert_eq!(e.violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), [field]);
        }
        assert_eq!((minutes("02:30"), minutes("2:30"), minutes("24:00"), minutes("+1:00")), (Some(150), None, None, None));
    }
}
