//! What a bench found, in the form that every bench of this repository prints.

use serde_json::{Value, json};

/// Which side of the goal is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The ratio may be this or more.
    AtLeast,
    /// The ratio may be this or less.
    AtMost,
}

/// One figure: ours beside a peer's of the same run.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Name.
    pub name: &'static str,
    /// What both numbers count.
    pub unit: &'static str,
    /// What the peer is.
    pub peer_is: &'static str,
    /// Ours.
    pub ours: f64,
    /// The peer's; for a fixed bar, the bar.
    pub peer: f64,
    /// Bound of the ratio.
    pub goal: f64,
    /// Which side of it is good.
    pub side: Goal,
}

impl Figure {
    /// Ours by the peer's.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.ours / self.peer
    }

    /// Whether the goal is met.
    #[must_use]
    pub fn met(&self) -> bool {
        match self.side {
            Goal::AtLeast => self.ratio() >= self.goal,
            Goal::AtMost => self.ratio() <= self.goal,
        }
    }

    /// As an object.
    #[must_use]
    pub fn json(&self) -> Value {
        let side = if self.side == Goal::AtLeast { "at least" } else { "at most" };
        json!({"name": self.name, "unit": self.unit, "peer_is": self.peer_is, "ours": self.ours, "peer": self.peer,
               "ratio": self.ratio(), "goal_is": side, "goal": self.goal, "met": self.met()})
    }

    /// As a line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let side = if self.side == Goal::AtLeast { "at least" } else { "at most" };
        let met = if self.met() { "met" } else { "NOT MET" };
        format!(
            "{:<22} ours {:>12.1}  peer {:>12.1} {}  ratio {:.3}  goal {side} {}: {met}   ({})",
            self.name,
            self.ours,
            self.peer,
            self.unit,
            self.ratio(),
            self.goal,
            self.peer_is
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_have_two_sides() {
        let f = Figure { name: "x", unit: "1/s", peer_is: "y", ours: 10.0, peer: 20.0, goal: 0.5, side: Goal::AtLeast };
        assert!(f.met() && Figure { side: Goal::AtMost, ..f.clone() }.met());
        assert!(!Figure { ours: 9.0, ..f.clone() }.met() && !Figure { ours: 11.0, side: Goal::AtMost, ..f.clone() }.met());
        assert!(f.json()["met"].as_bool().unwrap() && f.line().contains("ratio 0.500"));
    }
}
