//! Units of a descriptor (DSP0004 C.1): `byte * 2^30`, and the words that older programs write.

/// Bytes of one unit; none: it is no unit of bytes, or beyond all bounds.
pub(super) fn bytes(unit: &str) -> Option<u64> {
    unit.split('*').map(|term| factor(term.trim())).try_fold(1u64, |product, f| product.checked_mul(f?))
}

fn factor(term: &str) -> Option<u64> {
    if let Some((base, exponent)) = term.split_once('^') {
        return base.trim().parse::<u64>().ok()?.checked_pow(exponent.trim().parse().ok()?);
    }
    Some(match term.to_ascii_lowercase().as_str() {
        "byte" | "bytes" => 1,
        "kilobyte" | "kilobytes" | "kb" => 1 << 10,
        "megabyte" | "megabytes" | "mb" => 1 << 20,
        "gigabyte" | "gigabytes" | "gb" => 1 << 30,
        "terabyte" | "terabytes" | "tb" => 1 << 40,
        other => other.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn units_are_products() {
        for (unit, expected) in [
            ("byte * 2^20", Some(1 << 20)),
            ("byte*2^30", Some(1 << 30)),
            ("byte * 10^9", Some(1_000_000_000)),
            ("MegaBytes", Some(1 << 20)),
            ("GB", Some(1 << 30)),
            ("byte * 1024", Some(1024)),
            ("byte", Some(1)),
            ("hertz * 10^6", None),
            ("byte * 2^64", None),
            ("byte * 2^63 * 2", None),
            ("byte * 2^4294967296", None),
            ("", None),
        ] {
            assert_eq!(super::bytes(unit), expected, "{unit}");
        }
    }
}
