//! Watches the QEMU processes of a lab from outside, by `/proc`: which guest runs in which process, and whether one that
//! ended had been asked to.

use crate::cloud::Cloud;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(150);

/// A guest's process that ended without anybody having asked for it.
#[derive(Clone, Debug)]
pub struct Death {
    /// The guest.
    pub name: String,
    /// The process.
    pub process: u32,
    /// When it was first seen.
    pub since: SystemTime,
    /// When it was last seen.
    pub last: SystemTime,
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "guest {} (process {}) died and nobody had asked for it", self.name, self.process)
    }
}

struct Life {
    name: String,
    since: Instant,
    first: SystemTime,
    last: SystemTime,
}

#[derive(Default)]
struct Seen {
    /// Processes.
    alive: HashMap<u32, Life>,
    /// When somebody last asked for something that may end a guest's process.
    may_end: HashMap<String, Instant>,
    total: usize,
    deaths: Vec<Death>,
    twice: Vec<String>,
}

/// The witness; it ends when dropped.
pub struct Witness {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    folder: String,
}

impl Witness {
    /// Begins to watch.
    #[must_use]
    pub fn start(cloud: &Cloud) -> Witness {
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let folder = cloud.lab.path().display().to_string();
        let thread = std::thread::spawn({
            let (seen, stop, folder) = (seen.clone(), stop.clone(), folder.clone());
            move || wait_and_look(&seen, &stop, &folder)
        });
        Witness { seen, stop, thread: Some(thread), folder }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody asks now for something that may end the guest's present process.
    pub fn may_end(&self, name: &str) {
        self.lock().may_end.insert(name.into(), Instant::now());
    }

    /// Processes in which a guest runs now.
    #[must_use]
    pub fn processes(&self, name: &str) -> usize {
        guests(&self.folder).values().filter(|g| *g == name).count()
    }

    /// Processes seen so far.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.lock().total
    }

    /// Processes that ended without anybody having asked for it, so far.
    #[must_use]
    pub fn deaths(&self) -> Vec<Death> {
        self.lock().deaths.clone()
    }

    /// Guests that were seen in two processes, so far.
    #[must_use]
    pub fn twice(&self) -> Vec<String> {
        self.lock().twice.clone()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

fn wait_and_look(seen: &Mutex<Seen>, stop: &AtomicBool, folder: &str) {
    while !stop.load(Ordering::Relaxed) {
        look(&mut seen.lock().unwrap_or_else(PoisonError::into_inner), &guests(folder));
        std::thread::sleep(EVERY);
    }
}

fn look(seen: &mut Seen, now: &BTreeMap<u32, String>) {
    let Seen { alive, may_end, total, deaths, twice } = seen;
    alive.retain(|pid, life| {
        let lives = now.contains_key(pid);
        // An order that was given before the process was there cannot have ended it, but it may still have been under
        // way when the process was first seen.
        let asked = may_end.get(&life.name).is_some_and(|t| *t + Duration::from_secs(60) >= life.since);
        if lives {
            life.last = SystemTime::now();
        } else if !asked {
            deaths.push(Death { name: life.name.clone(), process: *pid, since: life.first, last: life.last });
        }
        lives
    });
    for (pid, name) in now {
        if !alive.contains_key(pid) {
            if let Some((other, _)) = alive.iter().find(|(_, l)| l.name == *name) {
                twice.push(format!("guest {name} runs twice: processes {other} and {pid}"));
            }
            let time = SystemTime::now();
            alive.insert(*pid, Life { name: name.clone(), since: Instant::now(), first: time, last: time });
            *total += 1;
        }
    }
}

/// The QEMU processes whose files lie in the lab's folder, with the names of their guests.
fn guests(folder: &str) -> BTreeMap<u32, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let words: Vec<&str> = line.split(|b| *b == 0).filter_map(|w| std::str::from_utf8(w).ok()).collect();
        let program = words.first().copied().unwrap_or_default();
        if !program.contains("qemu-system") || !words.iter().any(|w| w.contains(folder)) {
            continue;
        }
        let name = words.iter().find_map(|w| w.strip_prefix("guest=")).and_then(|w| w.split(',').next());
        // libvirt asks QEMU for its abilities too; such a process has no guest.
        if let Some(name) = name {
            found.insert(pid, name.to_string());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pid: u32, name: &str) -> BTreeMap<u32, String> {
        BTreeMap::from([(pid, name.to_string())])
    }

    #[test]
    fn a_death_nobody_asked_for_is_a_loss() {
        let mut seen = Seen::default();
        look(&mut seen, &one(7, "a"));
        look(&mut seen, &BTreeMap::new());
        assert_eq!(seen.deaths.len(), 1);
        seen.deaths.clear();
        look(&mut seen, &one(8, "a"));
        seen.may_end.insert("a".into(), Instant::now());
        look(&mut seen, &BTreeMap::new());
        assert!(seen.deaths.is_empty() && seen.total == 2);
    }

    #[test]
    fn a_guest_in_two_processes_is_a_loss() {
        let mut seen = Seen::default();
        look(&mut seen, &BTreeMap::from([(7, "a".to_string()), (8, "a".to_string())]));
        assert_eq!(seen.twice.len(), 1);
    }
}
