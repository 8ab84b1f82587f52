//! Amounts as people write them: `500m` of a core, `1.5Gi` of memory, `1h30m` of time.

/// Longest duration a job file can name: ten years.
pub const DURATION_MS_MAX: u64 = 10 * 365 * DAY_MS;
/// Most CPU one task can ask for, in thousandths of a core: a million cores.
pub const CPU_MILLI_MAX: u64 = 1_000_000_000;
/// Most of GPUs one task can ask for, in thousandths: all that a node can have.
pub(super) const GPU_MILLI_MAX: u64 = 64_000;
/// Most memory one task can ask for: an exbibyte.
pub const MEMORY_BYTES_MAX: u64 = 1 << 60;

const DAY_MS: u64 = 86_400_000;
/// Units of time with their milliseconds, the largest first.
const TIME_UNITS: [(&str, u64); 5] = [("d", DAY_MS), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// Units of memory with their bytes: binary ones first, the largest first.
const MEMORY_UNITS: [(&str, u64); 10] = [
    ("Pi", 1 << 50),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    Malformed,
    Negative,
    TooLarge,
}

/// Cores in thousandths: `2`, `0.5`, `500m`. A fraction of a thousandth counts as one.
pub(super) fn cpu_milli(text: &str) -> Result<u64, Flaw> {
    match text.strip_suffix('m') {
        Some(number) => scaled(number, 1),
        None => scaled(text, 1_000),
    }
}

/// Bytes: `1048576`, `256Mi`, `1.5Gi`, `1G`, each also with a `B` behind. A fraction of a byte counts as one.
pub(super) fn memory_bytes(text: &str) -> Result<u64, Flaw> {
    let text = text.strip_suffix('B').unwrap_or(text);
    for (unit, bytes) in MEMORY_UNITS {
        if let Some(number) = text.strip_suffix(unit) {
            return scaled(number.trim_end(), bytes);
        }
    }
    scaled(text.trim_end(), 1)
}

/// Milliseconds: `500ms`, `20s`, `15m`, `1.5h`, `7d`, or several such parts. A bare number has no unit and is refused.
pub(super) fn duration_ms(text: &str) -> Result<u64, Flaw> {
    let mut rest = text.trim();
    let mut sum = 0_u64;
    if rest.is_empty() {
        return Err(Flaw::Malformed);
    }
    if rest.starts_with('-') {
        return Err(Flaw::Negative);
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or(Flaw::Malformed)?;
        let (number, after) = rest.split_at(number);
        let unit = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let (_, millis) = TIME_UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(Flaw::Malformed)?;
        sum = sum.checked_add(scaled(number.trim(), millis)?).ok_or(Flaw::TooLarge)?;
        rest = after.trim_start();
    }
    Ok(sum)
}

/// A decimal number, perhaps with an exponent, times `scale`, rounded up. Exact: no binary fraction
/// makes `0.1` cores 101 thousandths.
pub(super) fn scaled(text: &str, scale: u64) -> Result<u64, Flaw> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if let Some(number) = unsigned.strip_prefix('-') {
        scaled_u128(number, scale)?;
        return Err(Flaw::Negative);
    }
    u64::try_from(scaled_u128(unsigned, scale)?).map_err(|_| Flaw::TooLarge)
}

fn scaled_u128(text: &str, scale: u64) -> Result<u128, Flaw> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let exponent: i32 = exponent.parse().map_err(|_| Flaw::Malformed)?;
    if !is_number {
        return Err(Flaw::Malformed);
    }
    let digits: u128 = digits.parse().map_err(|_| Flaw::TooLarge)?;
    let shift = i64::from(exponent) - i64::try_from(fraction.len()).map_err(|_| Flaw::TooLarge)?;
    let product = digits.checked_mul(u128::from(scale)).ok_or(Flaw::TooLarge)?;
    let power = u32::try_from(shift.unsigned_abs()).ok().and_then(|shift| 10_u128.checked_pow(shift));
    match power {
        Some(power) if shift >= 0 => product.checked_mul(power).ok_or(Flaw::TooLarge),
        Some(power) => Ok(product.div_ceil(power)),
        None if product == 0 => Ok(0),
        None if shift >= 0 => Err(Flaw::TooLarge),
        None => Ok(1),
    }
}

/// The shortest way to write it.
pub(super) fn cpu_text(milli: u64) -> String {
    if milli.is_multiple_of(1_000) { (milli / 1_000).to_string() } else { format!("{milli}m") }
}

/// The shortest exact way to write it, in binary units.
pub(super) fn memory_text(bytes: u64) -> String {
    let binary = MEMORY_UNITS.into_iter().filter(|(name, _)| name.ends_with('i'));
    in_units(bytes, binary).unwrap_or_else(|| bytes.to_string())
}

/// The shortest exact way to write it.
pub(super) fn duration_text(millis: u64) -> String {
    in_units(millis, TIME_UNITS.into_iter()).unwrap_or_else(|| "0ms".to_owned())
}

/// Thousandths as a decimal number with a point.
pub(super) fn thousandths_text(milli: u32) -> String {
    let text = format!("{}.{:03}", milli / 1_000, milli % 1_000);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

fn in_units(amount: u64, mut units: impl Iterator<Item = (&'static str, u64)>) -> Option<String> {
    let (name, size) = units.find(|(_, size)| amount > 0 && amount.is_multiple_of(*size))?;
    Some(format!("{}{name}", amount / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_read_in_cores_or_thousandths() {
        for (text, milli) in [
            ("2", Ok(2_000)),
            ("500m", Ok(500)),
            ("0.1", Ok(100)),
            ("1.5", Ok(1_500)),
            ("2e1", Ok(20_000)),
            ("0.0001", Ok(1)),
            ("0", Ok(0)),
            ("-1", Err(Flaw::Negative)),
            ("-500m", Err(Flaw::Negative)),
            ("1e30", Err(Flaw::TooLarge)),
            ("1e-999999", Ok(1)),
            ("0e999999999", Ok(0)),
            ("99999999999999999999999999999999999999999999", Err(Flaw::TooLarge)),
            ("", Err(Flaw::Malformed)),
            ("m", Err(Flaw::Malformed)),
            ("two", Err(Flaw::Malformed)),
            ("1.2.3", Err(Flaw::Malformed)),
            ("1,5", Err(Flaw::Malformed)),
            ("nan", Err(Flaw::Malformed)),
            ("inf", Err(Flaw::Malformed)),
        ] {
            assert_eq!(cpu_milli(text), milli, "{text}");
        }
    }

    #[test]
    fn memory_is_read_in_binary_and_decimal_units() {
        for (text, bytes) in [
            ("1048576", Ok(1 << 20)),
            ("256Mi", Ok(256 << 20)),
            ("256MiB", Ok(256 << 20)),
            ("1.5Gi", Ok(3 << 29)),
            ("1G", Ok(1_000_000_000)),
            ("1 GB", Ok(1_000_000_000)),
            ("64k", Ok(64_000)),
            ("0.1Ki", Ok(103)),
            ("100B", Ok(100)),
            ("16384Pi", Err(Flaw::TooLarge)),
            ("-1Mi", Err(Flaw::Negative)),
            ("256mb", Err(Flaw::Malformed)),
            ("Mi", Err(Flaw::Malformed)),
        ] {
            assert_eq!(memory_bytes(text), bytes, "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, millis) in [
            ("500ms", Ok(500)),
            ("20s", Ok(20_000)),
            ("15m", Ok(900_000)),
            ("1h30m", Ok(5_400_000)),
            ("1h 30m", Ok(5_400_000)),
            ("1.5h", Ok(5_400_000)),
            ("7d", Ok(604_800_000)),
            ("600", Err(Flaw::Malformed)),
            ("", Err(Flaw::Malformed)),
            ("s", Err(Flaw::Malformed)),
            ("5 parsecs", Err(Flaw::Malformed)),
            ("-5s", Err(Flaw::Negative)),
            ("1h-5s", Err(Flaw::Negative)),
            ("999999999999999999d", Err(Flaw::TooLarge)),
        ] {
            assert_eq!(duration_ms(text), millis, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for amount in [0, 1, 999, 1_000, 1_500, 60_000, 90_000, 86_400_000, 1 << 20, (1 << 30) + 1, 3 << 40] {
            assert_eq!(cpu_milli(&cpu_text(amount)), Ok(amount));
            assert_eq!(memory_bytes(&memory_text(amount)), Ok(amount));
            assert_eq!(duration_ms(&duration_text(amount)), Ok(amount));
        }
        for milli in [0, 1, 20, 200, 1_000, 2_500, 100_000] {
            assert_eq!(scaled(&thousandths_text(milli), 1_000), Ok(u64::from(milli)));
        }
    }
}
