//! Names that people give: one rule for every noun.

use crate::error::Error;

/// Longest name, in characters. A VM's name becomes a libvirt domain name, a host name and part of file names.
pub const NAME_CHARS_MAX: usize = 63;

/// Checks a name: 1 to 63 of `a-z A-Z 0-9 . _ -`, beginning with a letter or digit, and not shaped like a UUID
/// (paths take a name or an id, so a name must never be mistaken for one).
///
/// # Errors
/// [`crate::ErrorCode::Invalid`] that names `field`.
pub fn check(field: &str, name: &str) -> Result<(), Error> {
    let chars_ok = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    let first_ok = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !chars_ok || !first_ok || name.len() > NAME_CHARS_MAX {
        return Err(Error::invalid(field, "must be 1 to 63 characters of a-z, A-Z, 0-9, '.', '_' and '-', and begin with a letter or digit"));
    }
    if uuid::Uuid::parse_str(name).is_ok() {
        return Err(Error::invalid(field, "must not look like a UUID, because ids and names are used in the same place"));
    }
    Ok(())
}

/// Whether a character can be shown and logged as it is: no control character, and none that reorders, joins or hides
/// what stands beside it (Unicode's bidirectional and zero-width format characters).
#[must_use]
pub fn printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// A text for people, at most `chars_max` characters of it; line ends stay, what cannot be shown is replaced.
#[must_use]
pub fn clean(text: &str, chars_max: usize) -> String {
    let mut out: String = text.chars().take(chars_max).map(|c| if c == '\n' || printable(c) { c } else { '\u{fffd}' }).collect();
    if text.chars().nth(chars_max).is_some() {
        out.push('…');
    }
    out
}

/// What somebody typed, short enough and safe to be shown in an answer, an event or a log.
#[must_use]
pub fn shown(text: &str) -> String {
    clean(text, NAME_CHARS_MAX + 1).replace('\n', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for ok in ["a", "web-01", "db_2.prod", "0x"] {
            assert!(check("name", ok).is_ok(), "{ok}");
        }
        let long = "x".repeat(64);
        for bad in ["", "-a", ".a", "a b", "<img onerror=x>", "ä", "a/b", "a\n", &long, "6e0f1f5e-2b0c-4f5e-8d5f-0123456789ab"] {
            assert!(check("name", bad).is_err(), "{bad}");
        }
    }
}
