//! Sizes for people: the API speaks bytes, CLI and texts speak IEC units.

/// `bytes` in the largest IEC unit that keeps one decimal exact enough to read, e.g. `1.5 GiB`.
#[must_use]
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || (value.fract() * 10.0).round() == 0.0 { format!("{value:.0} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Parses `512MiB`, `2G`, `1.5 GiB` or plain bytes; decimal and binary suffixes both mean powers of 1024.
///
/// # Errors
/// A sentence that says what would be right.
pub fn parse(text: &str) -> Result<u64, String> {
    let t = text.trim();
    let split = t.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(t.len());
    let (number, unit) = t.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(format!("\"{text}\" is not a size: write for example 512MiB or 20GiB")),
    };
    let value: f64 = number.parse().map_err(|_| format!("\"{text}\" is not a size: write for example 512MiB or 20GiB"))?;
    let bytes = value * factor as f64;
    if !(0.0..=9.0e18).contains(&bytes) {
        return Err(format!("\"{text}\" is too large"));
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_show() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(1536 << 20), "1.5 GiB");
        assert_eq!(human(256 << 20), "256 MiB");
        assert_eq!(parse("256MiB"), Ok(256 << 20));
        assert_eq!(parse("1.5 G"), Ok(1536 << 20));
        assert_eq!(parse("42"), Ok(42));
        assert!(parse("12 parsecs").is_err());
        assert!(parse("").is_err());
        assert!(parse("99999999T").is_err());
    }
}
