//! Text to value for every kind of setting; an error says what would be right.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use quorate_agent::cgroup;
use quorate_agent::driver::shim::OnExit;
use quorate_server::Tuning;
use quorate_state::{
    ATTRIBUTE_PREFIX, ClusterName, GPUS_PER_NODE_MAX, GpuModel, Namespace, NodeName, PoolName, Price, RegionName,
    TAINTS_MAX,
};

/// Longest accepted list, of addresses or labels.
const LIST_ITEMS_MAX: usize = 64;
/// Longest accepted command.
const COMMAND_BYTES_MAX: usize = 4 << 10;
/// Longest accepted duration: settings are about seconds, not years.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

pub(super) fn address(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not an address: write host:port, such as 127.0.0.1:7401");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host_is_fine = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/' || c == ',');
    // An IPv6 address needs its brackets, or its last group would be taken for the port.
    let brackets_are_fine = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
    if !host_is_fine || !brackets_are_fine || port.parse::<u16>().is_err() {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

pub(super) fn addresses(text: &str) -> Result<Vec<String>, String> {
    let items: Vec<&str> = text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    if items.is_empty() {
        return Err("an empty list: write host:port, several separated by commas".to_owned());
    }
    if items.len() > LIST_ITEMS_MAX {
        return Err(format!("{} addresses, LIST_ITEMS_MAX is {LIST_ITEMS_MAX}", items.len()));
    }
    items.into_iter().map(address).collect()
}

/// An address, or `None` for `off`.
pub(super) fn ops(text: &str) -> Result<Option<String>, String> {
    if text == "off" { Ok(None) } else { address(text).map(Some).map_err(|message| format!("{message}, or 'off'")) }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text)
        .map_err(|why| format!("{text:?} is not a duration ({why}): write 500ms, 10s or 5m"))?;
    if parsed.is_zero() || parsed > DURATION_MAX {
        return Err(format!(
            "{text:?} is out of range: more than 0 and at most {}",
            humantime::format_duration(DURATION_MAX)
        ));
    }
    Ok(parsed)
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

pub(super) fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a whole number"))
}

/// The times of a profile, and the rest of the product's tuning.
pub(super) fn profile(text: &str) -> Result<Tuning, String> {
    match text {
        "lan" => Ok(Tuning::lan()),
        "wan" => Ok(Tuning::wan()),
        _ => Err(format!("{text:?} is neither lan nor wan")),
    }
}

/// A number of at least one.
pub(super) fn count(text: &str) -> Result<u64, String> {
    match number(text)? {
        0 => Err("0 is out of range: at least 1".to_owned()),
        count => Ok(count),
    }
}

/// A word for what becomes of tasks.
pub(super) fn on_exit(text: &str) -> Result<OnExit, String> {
    match text {
        "leave" => Ok(OnExit::Leave),
        "kill" => Ok(OnExit::Kill),
        _ => Err(format!("{text:?} is none of leave, kill")),
    }
}

/// A word for when control groups are used.
pub(super) fn cgroups(text: &str) -> Result<cgroup::Use, String> {
    match text {
        "auto" => Ok(cgroup::Use::Auto),
        "off" => Ok(cgroup::Use::Off),
        "require" => Ok(cgroup::Use::Require),
        _ => Err(format!("{text:?} is none of auto, off, require")),
    }
}

/// Cores to thousandths: `4`, `1.5`, `500m`.
pub(super) fn cpu(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not an amount of cores: write 4, 1.5 or 500m");
    if let Some(milli) = text.strip_suffix('m') {
        return milli.parse().ok().filter(|milli| *milli > 0).ok_or_else(wrong);
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if part.is_empty() || part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let part: u64 = format!("{part:0<3}").parse().map_err(|_| wrong())?;
    whole.checked_mul(1000).and_then(|milli| milli.checked_add(part)).filter(|milli| *milli > 0).ok_or_else(wrong)
}

/// Bytes: `512Mi`, `8Gi`, `1000000`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 8] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|digits| (digits, *unit)))
        .unwrap_or((text, 1));
    let amount = digits.parse::<u64>().ok().and_then(|amount| amount.checked_mul(unit));
    amount
        .filter(|amount| *amount > 0)
        .ok_or_else(|| format!("{text:?} is not an amount of memory: write 512Mi or 8Gi"))
}

/// Bytes to keep free; zero for `off`.
pub(super) fn reserve(text: &str) -> Result<u64, String> {
    if text == "off" { Ok(0) } else { bytes(text).map_err(|message| format!("{message}, or 'off'")) }
}

pub(super) fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (key, value) = item.split_once('=').ok_or_else(|| format!("{item:?} is not a label: write key=value"))?;
        if key.starts_with(ATTRIBUTE_PREFIX) {
            return Err(format!(
                "{item:?}: {ATTRIBUTE_PREFIX} begins what agents find out themselves: choose another key"
            ));
        }
        if key.is_empty() || labels.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("{item:?}: every label needs a key of its own"));
        }
    }
    if labels.len() > LIST_ITEMS_MAX {
        return Err(format!("{} labels, LIST_ITEMS_MAX is {LIST_ITEMS_MAX}", labels.len()));
    }
    Ok(labels)
}

pub(super) fn pool(text: &str) -> Result<PoolName, String> {
    PoolName::new(text).map_err(|error| error.to_string())
}

/// Keys and values; a key without a value has an empty one.
pub(super) fn taints(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut taints = BTreeMap::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (key, value) = item.split_once('=').unwrap_or((item, ""));
        if key.is_empty() || taints.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("{item:?}: every taint needs a key of its own: write key=value"));
        }
    }
    if taints.len() > TAINTS_MAX {
        return Err(format!("{} taints, TAINTS_MAX is {TAINTS_MAX}", taints.len()));
    }
    Ok(taints)
}

pub(super) fn price(text: &str) -> Result<Price, String> {
    text.parse()
}

/// Models, each with how many there are of it, in order.
pub(super) fn gpus(text: &str) -> Result<Vec<GpuModel>, String> {
    if text.trim() == "none" {
        return Ok(Vec::new());
    }
    let mut gpus = Vec::new();
    for item in text.split(',').map(str::trim) {
        let (model, count) = item.split_once(':').unwrap_or((item, "1"));
        let model: GpuModel = model.parse().map_err(|why| format!("{why}: write MODEL or MODEL:COUNT, or none"))?;
        let count: usize = count.parse().map_err(|_| format!("{item:?}: {count:?} is not a number of GPUs"))?;
        if count > GPUS_PER_NODE_MAX || gpus.len() + count > GPUS_PER_NODE_MAX {
            return Err(format!("{text:?} has more than GPUS_PER_NODE_MAX ({GPUS_PER_NODE_MAX}) GPUs"));
        }
        gpus.resize(gpus.len() + count, model);
    }
    Ok(gpus)
}

pub(super) fn join_token(text: &str) -> Result<(), String> {
    quorate_agent::JoinToken::new(text).map(drop)
}

/// A line for a shell.
pub(super) fn command(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.contains('\0') {
        return Err("an empty command, or one with a NUL".to_owned());
    }
    if text.len() > COMMAND_BYTES_MAX {
        return Err(format!("{} bytes, COMMAND_BYTES_MAX is {COMMAND_BYTES_MAX}: put it into a script", text.len()));
    }
    Ok(text.to_owned())
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("an empty path, or one with a NUL".to_owned());
    }
    Ok(PathBuf::from(text))
}

pub(super) fn filter(text: &str) -> Result<String, String> {
    let parsed: Result<tracing_subscriber::EnvFilter, _> = text.parse();
    parsed.map(|_| text.to_owned()).map_err(|why| format!("{text:?} is not a log filter ({why})"))
}

/// True for JSON.
pub(super) fn log_format(text: &str) -> Result<bool, String> {
    match text {
        "text" => Ok(false),
        "json" => Ok(true),
        _ => Err(format!("{text:?} is neither text nor json")),
    }
}

pub(super) fn namespace(text: &str) -> Result<Namespace, String> {
    Namespace::new(text).map_err(|error| error.to_string())
}

pub(super) fn region(text: &str) -> Result<RegionName, String> {
    RegionName::new(text).map_err(|error| error.to_string())
}

pub(super) fn cluster(text: &str) -> Result<ClusterName, String> {
    ClusterName::new(text).map_err(|error| error.to_string())
}

pub(super) fn node(text: &str) -> Result<NodeName, String> {
    NodeName::new(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        assert_eq!(cpu("4"), Ok(4000));
        assert_eq!(cpu("1.5"), Ok(1500));
        assert_eq!(cpu("0.25"), Ok(250));
        assert_eq!(cpu("500m"), Ok(500));
        assert_eq!(bytes("8Gi"), Ok(8 << 30));
        assert_eq!(bytes("512Mi"), Ok(512 << 20));
        assert_eq!(bytes("1000"), Ok(1000));
    }

    #[test]
    fn absurd_amounts_are_refused() {
        for text in ["", "0", "-1", "1.2345", "0m", "m", "1,5", "99999999999999999999"] {
            assert!(cpu(text).is_err(), "{text}");
        }
        for text in ["", "0", "-1Gi", "Gi", "1.5Gi", "18446744073709551615Ti"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_need_a_host_and_a_port() {
        for text in ["127.0.0.1:1", "host.example:65535", "[::1]:7401"] {
            assert!(address(text).is_ok(), "{text}");
        }
        for text in ["", "127.0.0.1", ":7401", "host:", "host:65536", "http://host:1", "::1:7401", "a b:1"] {
            assert!(address(text).is_err(), "{text}");
        }
        assert_eq!(addresses(" a:1, b:2 ,"), Ok(vec!["a:1".to_owned(), "b:2".to_owned()]));
        assert!(addresses(",").is_err());
    }

    #[test]
    fn durations_have_a_unit_and_a_range() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for text in ["", "5", "0s", "25h", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn gpus_are_models_in_order_with_their_numbers() {
        let names = |text| gpus(text).map(|gpus| gpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(names("A100:2, T4").as_deref(), Ok("A100 A100 T4"));
        assert_eq!(names("none").as_deref(), Ok(""));
        assert!(names("").unwrap_err().contains("MODEL:COUNT"));
        assert!(names("T4:x").unwrap_err().contains("not a number of GPUs"));
        assert!(names("T4:64,T4").unwrap_err().contains("GPUS_PER_NODE_MAX (64)"));
    }

    #[test]
    fn labels_have_unique_keys() {
        assert_eq!(labels("a=1,b=").unwrap().len(), 2);
        for text in ["a", "=1", "a=1,a=2"] {
            assert!(labels(text).is_err(), "{text}");
        }
        assert!(labels("quorate.dev/arch=sparc").unwrap_err().contains("choose another key"));
    }
}
