//! Byte strings: is it all zero, and sizes as people read and write them.

/// Tells whether every byte of `bytes` is zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    // 128 bytes a step, so that the compiler uses vectors and data is left early.
    let mut steps = bytes.chunks_exact(128);
    steps
        .by_ref()
        .all(|step| step.iter().fold(0, |all, byte| all | byte) == 0)
        && steps.remainder().iter().all(|byte| *byte == 0)
}

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Returns `len` as people read it: `1.5 GiB`.
pub fn format_byte_len(len: u64) -> String {
    let mut unit = 0;
    let mut scaled = len as f64;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("B");
    if unit == 0 {
        format!("{len} B")
    } else {
        format!("{scaled:.1} {name}")
    }
}

/// Reads a size as people write it: `512`, `64K`, `1.5GiB`; powers of 1,024.
///
/// # Errors
///
/// A sentence that says what was expected.
pub fn parse_byte_len(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let split = trimmed
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let explain = || format!("{text:?} is not a size; write it like 512M or 1.5GiB");
    let letter = unit.trim().to_ascii_uppercase();
    let exponent = match letter.as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 1,
        "M" | "MB" | "MIB" => 2,
        "G" | "GB" | "GIB" => 3,
        "T" | "TB" | "TIB" => 4,
        "P" | "PB" | "PIB" => 5,
        _ => return Err(explain()),
    };
    let scale = 1024_u64.pow(exponent);
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale).ok_or_else(explain);
    }
    let scaled = number.parse::<f64>().map_err(|_| explain())? * scale as f64;
    if scaled.is_finite() && scaled < 1.8e19 {
        Ok(scaled as u64)
    } else {
        Err(explain())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_found_at_every_place() {
        assert!(is_zero(&[]));
        assert!(is_zero(&[0; 4096]));
        for place in 0..300 {
            let mut bytes = vec![0; 300];
            bytes[place] = 1;
            assert!(!is_zero(&bytes), "{place}");
        }
    }

    #[test]
    fn sizes_are_read_and_printed() {
        assert_eq!(parse_byte_len("512"), Ok(512));
        assert_eq!(parse_byte_len("64K"), Ok(65_536));
        assert_eq!(parse_byte_len("1.5 GiB"), Ok(1_610_612_736));
        assert!(parse_byte_len("many").is_err());
        assert!(parse_byte_len("99999999999T").is_err());
        assert_eq!(format_byte_len(512), "512 B");
        assert_eq!(format_byte_len(1_610_612_736), "1.5 GiB");
    }
}
