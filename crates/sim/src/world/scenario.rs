//! Scenarios: what there is at the start, commands with simulated times, and the log that must come of it.
//!
//! A scenario is a folder with two small texts, `start` and `commands`; the third, `log.expect`, is written when it is
//! not there, and read by whoever reviews it. In all of them `#` begins a comment.
//!
//! `start`: `managers 2`, `host h1 64` (GiB of memory), and commands that are given, and have ended, before time zero.
//! `commands`: a time in seconds and a command each, and `300 end`; see [`super::command::Command`] for the words.

use super::command::Command;
use super::ctx::Settings;
use super::{Start, World, check, play};
use virga_model::Error;

/// Milliseconds in which what stands in `start` comes about.
const BEFORE_MS: u64 = 60_000;
/// Milliseconds between two looks of the checkers.
const LOOK_MS: u64 = 5_000;

/// A scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What there is.
    pub start: Start,
    /// What is done before time zero.
    pub before: Vec<Command>,
    /// What is done, by millisecond.
    pub commands: Vec<(u64, Command)>,
    /// When it ends, in milliseconds.
    pub end_ms: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The log.
    pub log: String,
    /// Invariants that did not hold.
    pub violations: Vec<String>,
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(n, l)| (n + 1, l.split('#').next().unwrap_or_default().trim())).filter(|(_, l)| !l.is_empty())
}

impl Scenario {
    /// Reads the two texts.
    ///
    /// # Errors
    /// The line, and what is wrong with it.
    pub fn parse(start: &str, commands: &str) -> Result<Scenario, String> {
        let mut s = Scenario { start: Start { managers: 1, hosts: Vec::new() }, before: Vec::new(), commands: Vec::new(), end_ms: 0 };
        for (n, line) in lines(start) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let bad = |why: String| format!("start, line {n}: {why}");
            match words.as_slice() {
                ["managers", m] => s.start.managers = m.parse().map_err(|_| bad("no number of managers".into()))?,
                ["host", name, gib] => s.start.hosts.push(((*name).into(), gib.parse().map_err(|_| bad("no number of GiB".into()))?)),
                _ => s.before.push(Command::parse(line).map_err(bad)?),
            }
        }
        for (n, line) in lines(commands) {
            let bad = |why: String| format!("commands, line {n}: {why}");
            let (at, command) = line.split_once(char::is_whitespace).ok_or_else(|| bad("a time and a command are needed".into()))?;
            let at_ms = at.parse::<f64>().map_err(|_| bad("no time in seconds".into())).map(|t| (t * 1000.0) as u64)?;
            if at_ms < s.end_ms {
                return Err(bad("times go on, never back".into()));
            }
            s.end_ms = at_ms;
            if command.trim() != "end" {
                s.commands.push((at_ms, Command::parse(command).map_err(bad)?));
            }
        }
        if s.start.hosts.is_empty() || s.end_ms == 0 {
            return Err("there must be a host, and an end".into());
        }
        Ok(s)
    }

    /// Plays it.
    ///
    /// # Errors
    /// When the world cannot be built.
    pub fn run(&self) -> Result<Outcome, Error> {
        let scenario = self.clone();
        play(move |turns| async move {
            let settings = Settings { seed: 1, plant: None, keep_log: true, lost_answers: 0 };
            let mut w = World::build(settings, &scenario.start, turns).await?;
            // Hosts report first; then what was there before is made.
            w.run_until(5_000).await;
            for c in &scenario.before {
                w.command(c).await;
                let now = w.ctx.now();
                w.run_until(now + 200).await;
            }
            w.run_until(BEFORE_MS).await;
            w.ctx.log.begin(BEFORE_MS);
            let mut memory = check::Memory::default();
            let mut commands = scenario.commands.iter().peekable();
            let mut next_look = BEFORE_MS;
            loop {
                let next = commands.peek().map_or(scenario.end_ms, |(at, _)| *at) + BEFORE_MS;
                w.run_until(next.min(next_look)).await;
                if w.ctx.now() >= next_look {
                    check::sample(&w.ctx, &mut memory).await?;
                    next_look += LOOK_MS;
                    continue;
                }
                match commands.next() {
                    Some((_, c)) => w.command(c).await,
                    None => break,
                }
            }
            w.finish().await?;
            Ok(Outcome { log: w.ctx.log.lines().join("\n") + "\n", violations: w.ctx.violations() })
        })
    }
}

impl World {
    /// Writes what there is at the end.
    async fn finish(&self) -> Result<(), Error> {
        self.ctx.say("end");
        let rows = check::rows(&self.ctx).await?;
        for line in rows {
            self.ctx.say(line);
        }
        for site in self.ctx.sites() {
            for (vm, state, persistent) in site.guests() {
                let how = if persistent { "" } else { ", without a definition" };
                self.ctx.say(format!("  {} has {vm} {state}{how}", site.name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Scenario;

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let good = "host h1 8 # a host\nvm create a";
        assert!(Scenario::parse(good, "1 vm start a\n# nothing\n2.5 power h1 off\n9 end").is_ok());
        for (start, commands, line) in
            [("host h1", "9 end", "start, line 1"), (good, "1 vm dance a\n9 end", "commands, line 1"), (good, "5 vm start a\n4 end", "commands, line 2")]
        {
            assert!(Scenario::parse(start, commands).unwrap_err().starts_with(line), "{start} {commands}");
        }
        assert!(Scenario::parse(good, "").is_err());
    }
}
