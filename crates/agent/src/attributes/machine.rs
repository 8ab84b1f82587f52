//! What the kernel and the system's files say of this machine, as far as this process may use it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where control groups are mounted everywhere that we know: version 2, or the memory controller of version 1.
const MOUNT_V2: &str = "/sys/fs/cgroup";
const MOUNT_V1: &str = "/sys/fs/cgroup/memory";
/// What names the system, the first that is there.
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// Thousandths of a core that this process may use: no more than its affinity and the quota of its control group
/// allow.
///
/// # Errors
/// The kernel does not say.
pub fn cpu_milli() -> Result<u64, String> {
    let cores = std::thread::available_parallelism().map_err(|error| error.to_string())?;
    u64::try_from(cores.get()).map(|cores| cores * 1_000).map_err(|error| error.to_string())
}

/// Bytes of memory that this process may use: the machine's, or what the tightest of the control groups around it
/// allows.
pub fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    // Zero when the kernel counts in bytes, by the manual page of sysinfo(2) before Linux 2.3.23.
    let all = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit).max(1));
    let read = |path: &Path| fs::read_to_string(path).ok();
    let memberships = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    memory_limit(&memberships, read).map_or(all, |limit| limit.min(all))
}

/// What can be said of this machine, by attribute.
pub(super) fn attributes(data_dir: &Path) -> BTreeMap<String, String> {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let mut found = BTreeMap::from([
        ("arch".to_owned(), text(uname.machine())),
        ("kernel".to_owned(), text(uname.release())),
        ("hostname".to_owned(), text(uname.nodename())),
        ("memory-bytes".to_owned(), memory_bytes().to_string()),
    ]);
    if let Ok(milli) = cpu_milli() {
        found.insert("cpus".to_owned(), (milli / 1_000).to_string());
    }
    if let Ok(disk) = rustix::fs::statvfs(data_dir) {
        found.insert("disk-bytes".to_owned(), disk.f_blocks.saturating_mul(disk.f_frsize).to_string());
    }
    let release = OS_RELEASE.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    for (attribute, key) in [("os", "ID"), ("os-version", "VERSION_ID")] {
        found.extend(os_field(&release, key).map(|value| (attribute.to_owned(), value)));
    }
    found
}

/// The least limit of memory in the groups of `memberships` (`/proc/self/cgroup`) and those around them. Inside a
/// container the path may be that of the host: then the group that is mounted at the top is the container's.
fn memory_limit(memberships: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in memberships.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(number), Some(names), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (mount, file) = match (number, names) {
            ("0", "") => (MOUNT_V2, "memory.max"),
            (_, names) if names.split(',').any(|name| name == "memory") => (MOUNT_V1, "memory.limit_in_bytes"),
            _ => continue,
        };
        let mut below = PathBuf::from(path.trim_start_matches('/'));
        loop {
            // Version 2 says "max" where there is no limit; version 1 a number beyond all memory.
            let limit = read(&Path::new(mount).join(&below).join(file)).and_then(|text| text.trim().parse().ok());
            least = limit.into_iter().chain(least).min();
            if !below.pop() {
                break;
            }
        }
    }
    least
}

/// A field of os-release(5), without its quotes.
fn os_field(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
    let bare = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Some(bare.unwrap_or(value).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit that is found among these files.
    fn limit(memberships: &str, files: &[(&str, &str)]) -> Option<u64> {
        memory_limit(memberships, |path| {
            files.iter().find(|(known, _)| Path::new(known) == path).map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_tightest_group_around_a_process_is_what_it_may_use() {
        let files = [
            ("/sys/fs/cgroup/memory.max", "max\n"),
            ("/sys/fs/cgroup/slice/memory.max", "1000\n"),
            ("/sys/fs/cgroup/slice/agent/memory.max", "2000\n"),
        ];
        assert_eq!(limit("0::/slice/agent\n", &files), Some(1_000));
        assert_eq!(limit("0::/slice\n", &files), Some(1_000));
        assert_eq!(limit("0::/\n", &files), None);
    }

    #[test]
    fn version_1_and_a_container_that_knows_the_hosts_path_are_understood() {
        let files = [("/sys/fs/cgroup/memory/memory.limit_in_bytes", "512\n")];
        assert_eq!(limit("3:cpu:/x\n4:memory,hugetlb:/docker/abc\n0::/\n", &files), Some(512));
        assert_eq!(limit("garbage\n", &files), None);
    }

    #[test]
    fn fields_of_os_release_lose_their_quotes() {
        let text = "NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID=\"12\"\nVARIANT_ID='server'\n";
        assert_eq!(os_field(text, "ID").as_deref(), Some("debian"));
        assert_eq!(os_field(text, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(os_field(text, "VARIANT_ID").as_deref(), Some("server"));
        assert_eq!(os_field(text, "VERSION"), None);
    }

    #[test]
    fn a_machine_has_processors_and_memory() {
        assert!(cpu_milli().unwrap() >= 1_000);
        assert!(memory_bytes() > 1 << 20);
    }
}
