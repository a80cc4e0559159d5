//! The files of the repository, and Rust text without what a rule does not mean: comments and tests.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file's path in the repository, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Path from the repository's root, with slashes.
    pub path: String,
    /// Content.
    pub text: String,
}

impl Text {
    /// A file that exists only in a test of a rule.
    #[must_use]
    pub fn new(path: &str, text: &str) -> Text {
        Text { path: path.into(), text: text.into() }
    }

    /// Its lines, numbered from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(i, l)| (i + 1, l))
    }
}

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    // At run time: clones share a build cache, and a path that was built in may be another clone's.
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    here.parent().unwrap_or(&here).to_path_buf()
}

/// Reads a file of the repository.
///
/// # Errors
/// When it cannot be read; the error names it.
pub fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| path.to_string())
}

/// Every file that is, or is about to be, part of the repository: what git tracks, and what it does not ignore.
///
/// # Errors
/// When git cannot be asked.
pub fn paths() -> Result<Vec<String>> {
    let out = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("git cannot be run; the rules look at the files that git knows")?;
    anyhow::ensure!(out.status.success(), "git ls-files: {}", String::from_utf8_lossy(&out.stderr));
    let mut paths: Vec<String> = String::from_utf8_lossy(&out.stdout).split('\0').filter(|p| !p.is_empty()).map(str::to_string).collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Every text file of the repository whose path meets `wanted`. What is no text, or was removed meanwhile, is left out.
///
/// # Errors
/// When git cannot be asked.
pub fn texts(wanted: impl Fn(&str) -> bool) -> Result<Vec<Text>> {
    let root = root();
    let kept = paths()?.into_iter().filter(|p| wanted(p));
    Ok(kept.filter_map(|path| std::fs::read_to_string(root.join(&path)).ok().map(|text| Text { path, text })).collect())
}

/// Every Rust file whose path meets `wanted`.
///
/// # Errors
/// When git cannot be asked.
pub fn rust(wanted: impl Fn(&str) -> bool) -> Result<Vec<Text>> {
    texts(|p| p.ends_with(".rs") && wanted(p))
}

/// The same file with its comments and its `#[cfg(test)]` parts blanked out; lines keep their numbers.
#[must_use]
pub fn product_code(file: &Text) -> Text {
    let mut out = String::with_capacity(file.text.len());
    let mut until: Option<String> = None;
    let mut test_next = false;
    for line in file.text.lines() {
        let body = line.trim_start();
        let indent = &line[..line.len() - body.len()];
        if let Some(end) = &until {
            if line == end {
                until = None;
            }
        } else if body == "#[cfg(test)]" {
            test_next = true;
        } else if test_next && body.starts_with("#[") {
            // Further attributes of the same item.
        } else if test_next {
            test_next = false;
            if body.ends_with('{') {
                until = Some(format!("{indent}}}"));
            }
        } else {
            out.push_str(without_comment(line));
        }
        out.push('\n');
    }
    Text { path: file.path.clone(), text: out }
}

/// A line up to its comment. A `//` inside a string is taken for one when no colon stands before it; a rule that only
/// looks for words loses nothing by that.
fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(at) = line[from..].find("//") {
        let at = from + at;
        if !line[..at].ends_with(':') {
            return &line[..at];
        }
        from = at + 2;
    }
    line
}

/// Whether a file is compiled for tests only: it lies in a folder of tests, or its module is declared so.
#[must_use]
pub fn is_test_file(file: &Text, all: &[Text]) -> bool {
    let path = Path::new(&file.path);
    if path.components().any(|c| c.as_os_str() == "tests") {
        return true;
    }
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem().and_then(|s| s.to_str())) else { return false };
    let declared = format!("#[cfg(test)]\nmod {stem};");
    all.iter().filter(|f| Path::new(&f.path).parent() == Some(folder)).any(|f| f.text.contains(&declared))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_comments_are_blanked_and_lines_stay() {
        let file =
            Text::new("a.rs", "let a = 1; // why\n#[cfg(test)]\nmod world;\nlet b = \"https://x\";\n#[cfg(test)]\nmod tests {\n    bad();\n}\nlet c = 2;\n");
        let code = product_code(&file).text;
        assert_eq!(code, "let a = 1; \n\n\nlet b = \"https://x\";\n\n\n\n\nlet c = 2;\n");
    }

    #[test]
    fn modules_that_are_declared_for_tests_are_test_files() {
        let all = [Text::new("crates/x/src/task/mod.rs", "mod vm;\n#[cfg(test)]\nmod world;\n"), Text::new("crates/x/src/task/world.rs", "")];
        assert!(is_test_file(&all[1], &all) && !is_test_file(&all[0], &all));
        assert!(is_test_file(&Text::new("crates/x/tests/a.rs", ""), &all));
    }
}
