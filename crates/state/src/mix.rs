//! Bits that look random, from numbers that do not: where a choice must be even, and the same everywhere.

/// Spreads the bits of a number over the whole word. The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub fn mix(seed: u64) -> u64 {
    let seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    seed ^ (seed >> 31)
}
