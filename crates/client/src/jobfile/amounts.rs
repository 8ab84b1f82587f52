//! Amounts of several resources on a command line: `cpu=4,memory=8Gi,gpu=1`, in the units of job files.

use quorate_proto::v1;

use super::quantity::{cpu_milli, memory_bytes, scaled};

/// The amounts that a text says; `none` says nothing of anything.
///
/// # Errors
/// What is wrong with it, for people.
pub fn amounts(text: &str) -> Result<v1::Amounts, String> {
    let mut amounts = v1::Amounts::default();
    if text.trim() == "none" {
        return Ok(amounts);
    }
    for part in text.split(',') {
        let (resource, amount) = part.split_once('=').unwrap_or((part, ""));
        let (slot, read) = match resource.trim() {
            "cpu" => (&mut amounts.cpu_milli, cpu_milli(amount.trim())),
            "memory" => (&mut amounts.memory_bytes, memory_bytes(amount.trim())),
            "gpu" => (&mut amounts.gpu_milli, scaled(amount.trim(), 1_000)),
            _ => return Err(format!("{part:?} names no resource: write cpu=4,memory=8Gi,gpu=1, or none")),
        };
        let read = read.map_err(|_| format!("{part:?} is no amount: write cpu=4 or 500m, memory=8Gi, gpu=1 or 0.5"))?;
        if slot.replace(read).is_some() {
            return Err(format!("{} is given twice", resource.trim()));
        }
    }
    Ok(amounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_in_the_units_of_job_files() {
        let read = amounts("cpu=1.5, memory=8Gi,gpu=0.5").unwrap();
        let expected = v1::Amounts { cpu_milli: Some(1_500), memory_bytes: Some(8 << 30), gpu_milli: Some(500) };
        assert_eq!(read, expected);
        assert_eq!(amounts("gpu=0"), Ok(v1::Amounts { gpu_milli: Some(0), ..v1::Amounts::default() }));
        assert_eq!(amounts("none"), Ok(v1::Amounts::default()));
        for wrong in ["", "cpu", "cpu=", "cpu=-1", "cpu=4,cpu=5", "disk=3", "memory=8Xi"] {
            assert!(amounts(wrong).is_err(), "{wrong:?}");
        }
    }
}
