//! The terminal: questions, passwords without echo, raw mode that is always undone.

use crate::error::{Exit, Failure, Result};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::Path;

/// Whether somebody sits there who can answer.
pub(crate) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks a question that is answered by yes or no; no answer is no.
pub(crate) fn ask(question: &str) -> Result<bool> {
    eprint!("{} [y/N] ", crate::column::printable(question));
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Asks before something that loses data or hurts a guest. Without a terminal, `--yes` is needed.
pub(crate) fn consent(yes: bool, question: &str) -> Result {
    if yes {
        return Ok(());
    }
    if !is_interactive() {
        return Err(Failure::usage(format!("{question} Nobody is there to answer.")).hint("repeat the command with --yes"));
    }
    if ask(question)? { Ok(()) } else { Err(Failure::new(Exit::Failed, "nothing was done")) }
}

/// Names for a question: all of a few, the number of many.
pub(crate) fn named(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let head = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{head} and {} more", names.len() - SHOWN) } else { head }
}

/// Puts the terminal back as it was when dropped, also on a panic.
pub(crate) struct Restore(Option<Termios>);

impl Restore {
    /// Remembers how stdin is set, and changes it. Does nothing when stdin is no terminal.
    fn change(how: impl FnOnce(&mut Termios)) -> Result<Restore> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(Restore(None));
        }
        let before = tcgetattr(&stdin).map_err(std::io::Error::from)?;
        let mut after = before.clone();
        how(&mut after);
        tcsetattr(&stdin, OptionalActions::Flush, &after).map_err(std::io::Error::from)?;
        Ok(Restore(Some(before)))
    }

    /// Every key goes through as it is.
    pub(crate) fn raw() -> Result<Restore> {
        Restore::change(Termios::make_raw)
    }

    /// Keys come one by one and are not shown; Ctrl-C is a key like others, so that it cannot leave the terminal so.
    fn hidden() -> Result<Restore> {
        Restore::change(|t| t.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG))
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Reads a password from the terminal without showing it.
fn read_hidden(prompt: &str) -> Result<String> {
    if !is_interactive() {
        return Err(Failure::usage(format!("{prompt}: there is no terminal to ask on")).hint("give it in a file with --password-file (- reads stdin)"));
    }
    eprint!("{prompt}: ");
    std::io::stderr().flush()?;
    let restore = Restore::hidden()?;
    let line = typed_line(std::io::stdin().lock());
    drop(restore);
    eprintln!();
    line
}

/// A line of single keys: backspace, Ctrl-U and Ctrl-C work as they do elsewhere.
fn typed_line(mut from: impl Read) -> Result<String> {
    let mut line = Vec::new();
    let mut key = [0];
    while from.read(&mut key)? == 1 {
        match key[0] {
            b'\r' | b'\n' => break,
            0x03 => return Err(Failure::new(Exit::Interrupted, "interrupted")),
            0x04 if line.is_empty() => break,
            0x15 => line.clear(),
            0x08 | 0x7f => {
                // A character may be several bytes.
                while line.pop().is_some_and(|b: u8| b & 0xc0 == 0x80) {}
            }
            other => line.push(other),
        }
    }
    String::from_utf8(line).map_err(|_| Failure::usage("that is not UTF-8"))
}

/// A password from a file (`-`: stdin), or from the terminal.
pub(crate) fn password(file: Option<&Path>, prompt: &str) -> Result<String> {
    let text = match file {
        None => read_hidden(prompt)?,
        Some(p) if p == Path::new("-") => {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line)?;
            line
        }
        Some(p) => std::fs::read_to_string(p).map_err(|e| Failure::failed(format!("{}: {e}", p.display())))?,
    };
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() { Err(Failure::usage(format!("{prompt}: is empty"))) } else { Ok(text.into()) }
}

/// A new password: from a file, or from the terminal, twice.
pub(crate) fn new_password(file: Option<&Path>, prompt: &str) -> Result<String> {
    let first = password(file, prompt)?;
    if file.is_none() && password(None, "The same again")? != first {
        return Err(Failure::usage("the two are not the same"));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_name_a_few() {
        let names: Vec<String> = (0..12).map(|i| format!("vm-{i}")).collect();
        assert_eq!(named(&names[..2]), "vm-0, vm-1");
        assert!(named(&names).ends_with("vm-9 and 2 more"));
    }

    #[test]
    fn a_typed_line_can_be_mended() {
        let line = |keys: &str| typed_line(keys.as_bytes());
        assert_eq!(line("ab\u{7f}c\nrest").expect("a line"), "ac");
        assert_eq!(line("x\u{e9}\u{7f}\u{7f}\u{7f}y\r").expect("a line"), "y");
        assert_eq!(line("ab\u{15}c").expect("a line"), "c");
        assert_eq!(line("ab\u{3}").expect_err("interrupted").exit, Exit::Interrupted);
    }

    #[test]
    fn passwords_come_from_files_without_the_line_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("p");
        std::fs::write(&file, "correct horse \r\n").expect("written");
        assert_eq!(password(Some(&file), "Password").expect("a password"), "correct horse ");
        std::fs::write(&file, "\n").expect("written");
        assert_eq!(password(Some(&file), "Password").expect_err("empty").exit, Exit::Usage);
    }
}
