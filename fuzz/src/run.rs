//! The runner for the stable compiler: corpus, mutations, limits, and what is kept of a finding.
//!
//! It is blind to coverage; inputs that led to a new kind of outcome are kept as a base for others while it runs. Before
//! each call the input is written to a file, so that also a crash that ends the process leaves its input behind.

use crate::Target;
use crate::mutate::{Dice, mutate};
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest time for one input.
pub const INPUT_TIME_MAX: Duration = Duration::from_secs(10);
/// Stack that a target has, in bytes: that of a runtime's thread.
pub const STACK_BYTES: usize = 2 << 20;
/// Address space that the process may have, in bytes.
pub const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// Most inputs that are kept as a base.
const BASE_MAX: usize = 2000;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Calls of the target.
    pub calls: u64,
    /// Different outcomes.
    pub outcomes: usize,
    /// Files with inputs that the target could not stand.
    pub findings: Vec<PathBuf>,
}

/// The corpus of a target: every file, by name.
///
/// # Errors
/// When the folder cannot be read or is empty.
pub fn corpus(root: &Path, target: &Target) -> Result<Vec<Vec<u8>>> {
    let folder = root.join(target.name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?.flatten().map(|e| e.path()).collect();
    files.sort();
    anyhow::ensure!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|f| std::fs::read(f).with_context(|| f.display().to_string())).collect()
}

/// One call, with panics caught; the mark, or what the panic said.
///
/// # Errors
/// The panic's message.
pub fn call(target: &Target, data: &[u8]) -> Result<u64, String> {
    std::panic::catch_unwind(|| (target.run)(data)).map_err(|p| {
        let text = p.downcast_ref::<String>().cloned().or_else(|| p.downcast_ref::<&str>().map(|s| (*s).to_string()));
        text.unwrap_or_else(|| "panicked".into())
    })
}

/// Runs `target` for a while, saving what it could not stand in `out`.
///
/// # Errors
/// When files cannot be written or the corpus cannot be read.
pub fn run(target: &'static Target, corpus_root: &Path, out: &Path, seed: u64, limit: Duration) -> Result<Report> {
    std::fs::create_dir_all(out)?;
    let seeds = corpus(corpus_root, target)?;
    let current = std::fs::File::create(out.join(format!("{}.current", target.name)))?;
    let folder = out.to_path_buf();
    let work = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || work(target, &seeds, &current, &folder, seed, limit))?;
    let report = work.join().map_err(|_| anyhow::anyhow!("the runner itself panicked"))??;
    std::fs::remove_file(out.join(format!("{}.current", target.name)))?;
    Ok(report)
}

fn work(target: &Target, seeds: &[Vec<u8>], current: &std::fs::File, out: &Path, seed: u64, limit: Duration) -> Result<Report> {
    let (mut base, mut seen, mut report) = (seeds.to_vec(), HashSet::new(), Report::default());
    let (mut dice, begun, mut said) = (Dice::new(seed), Instant::now(), HashSet::new());
    while begun.elapsed() < limit {
        let i = usize::try_from(report.calls).unwrap_or(usize::MAX);
        let data = match seeds.get(i) {
            Some(s) => s.clone(),
            None => {
                let from = base[dice.below(base.len())].clone();
                mutate(&mut dice, &from, &base, target.words)
            }
        };
        current.set_len(data.len() as u64)?;
        current.write_all_at(&data, 0)?;
        report.calls += 1;
        let began = Instant::now();
        let answer = call(target, &data);
        let why = match answer {
            Ok(mark) => {
                if seen.insert(mark) && base.len() < BASE_MAX {
                    base.push(data.clone());
                }
                (began.elapsed() > INPUT_TIME_MAX).then(|| format!("took {:?}", began.elapsed()))
            }
            Err(why) => Some(why),
        };
        // One file for each kind of finding.
        if let Some(why) = why.filter(|w| said.insert(crate::mark(w))) {
            let path = out.join(format!("{}-{seed}-{}", target.name, report.calls));
            std::fs::write(&path, &data)?;
            eprintln!("{}: {why}: {}", target.name, path.display());
            report.findings.push(path);
        }
    }
    report.outcomes = seen.len();
    Ok(report)
}

/// Limits the process: address space, and no core file (an input may hold what nobody should find).
pub fn limit_process() {
    let memory = libc::rlimit { rlim_cur: MEMORY_BYTES_MAX, rlim_max: MEMORY_BYTES_MAX };
    let core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read the structures, which live as long.
    unsafe {
        libc::setrlimit(libc::RLIMIT_AS, &raw const memory);
        libc::setrlimit(libc::RLIMIT_CORE, &raw const core);
    }
}
