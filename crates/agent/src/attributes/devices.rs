//! Which devices there are: a command of the operator says so, and it is believed for what it prints in time.

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// Bytes that a probe may print.
const OUTPUT_BYTES_MAX: u64 = 64 << 10;
/// Characters of its complaints that are shown.
const COMPLAINT_CHARS_MAX: usize = 1_000;
/// Kinds of devices of one node.
const DEVICES_MAX: usize = 16;
/// Bytes of a device's name.
const NAME_BYTES_MAX: usize = 64;
/// Devices of one kind.
const COUNT_MAX: u64 = 1_000_000;

/// Why a probe says nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    /// It could not be started, or not be listened to.
    #[error("it cannot be run: {0}")]
    Run(#[from] std::io::Error),
    /// It did not end.
    #[error("it did not end within {} s and was killed", .0.as_secs())]
    Slow(Duration),
    /// It printed too much.
    #[error("it printed more than OUTPUT_BYTES_MAX ({OUTPUT_BYTES_MAX}) bytes and was killed")]
    Long,
    /// It says itself that it failed.
    #[error("it ended with {status}: {complaint}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error.
        complaint: String,
    },
    /// What it printed is not what it should be.
    #[error("line {line} is {text:?}: {why}; print `gpu 2` or {{\"name\": \"gpu\", \"count\": 2}}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What it says.
        text: String,
        /// What is wrong.
        why: String,
    },
    /// Too many kinds.
    #[error("it names more than DEVICES_MAX ({DEVICES_MAX}) kinds of devices")]
    Many,
}

/// Runs `command` in a shell, and counts the devices that it prints by their names. Whatever it started is killed when
/// this returns.
pub(super) async fn probe(command: &str, deadline: Duration) -> Result<BTreeMap<String, u64>, ProbeError> {
    let mut probe = Command::new("/bin/sh");
    probe.args(["-c", command]).process_group(0).kill_on_drop(true);
    let mut child = probe.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // The number stays that of its group while anything of it is left.
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let _ends = Group(group);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let listen = async {
        // Both at a time: a full pipe would stop it.
        tokio::try_join!(text(stdout), text(stderr))
    };
    let heard = match tokio::time::timeout(deadline, listen).await {
        Ok(heard) => heard,
        Err(_) => return Err(ProbeError::Slow(deadline)),
    };
    let (output, complaint) = heard?;
    if output.len() as u64 > OUTPUT_BYTES_MAX {
        return Err(ProbeError::Long);
    }
    let status = tokio::time::timeout(deadline, child.wait()).await.map_err(|_| ProbeError::Slow(deadline))??;
    if !status.success() {
        let complaint = String::from_utf8_lossy(&complaint);
        let complaint = complaint.trim().chars().take(COMPLAINT_CHARS_MAX).collect();
        return Err(ProbeError::Failed { status, complaint });
    }
    read(&String::from_utf8_lossy(&output))
}

/// A process group that is killed when this is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nothing of it may be left, which is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// What comes out of a pipe, up to one byte too many; of what follows nobody hears.
async fn text(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// A device as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Device {
    name: String,
    count: u64,
}

/// Lines of `name count`, or of JSON; a name that comes again is added up.
fn read(output: &str) -> Result<BTreeMap<String, u64>, ProbeError> {
    let mut devices: BTreeMap<String, u64> = BTreeMap::new();
    for (line, text) in (1..).zip(output.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let device =
            device(text).map_err(|why| ProbeError::Line { line, text: text.chars().take(80).collect(), why })?;
        let count = devices.entry(device.name).or_default();
        *count = count.saturating_add(device.count).min(COUNT_MAX);
        if devices.len() > DEVICES_MAX {
            return Err(ProbeError::Many);
        }
    }
    Ok(devices)
}

fn device(text: &str) -> Result<Device, String> {
    let device = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [name, count] = words[..] else { return Err("not a name and a count".into()) };
        let count = count.parse().map_err(|_| format!("{count:?} is not a count"))?;
        Device { name: name.to_owned(), count }
    };
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if device.name.is_empty() || device.name.len() > NAME_BYTES_MAX || !device.name.chars().all(is_fine) {
        return Err(format!("a name has 1 to {NAME_BYTES_MAX} letters, digits, '.', '_' and '-'"));
    }
    if device.count > COUNT_MAX {
        return Err(format!("the count is over COUNT_MAX ({COUNT_MAX})"));
    }
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    async fn probed(command: &str) -> Result<Vec<(String, u64)>, String> {
        probe(command, SOON).await.map(|devices| devices.into_iter().collect()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn both_forms_are_read_and_equal_names_added_up() {
        let command = r#"echo 'gpu 2'; echo; echo '{"name":"gpu","count":1}'; echo 'fpga.x1 0'"#;
        assert_eq!(probed(command).await, Ok(vec![("fpga.x1".into(), 0), ("gpu".into(), 3)]));
        assert_eq!(probed("true").await, Ok(vec![]));
    }

    #[tokio::test]
    async fn a_probe_that_fails_says_how() {
        let why = probed("echo no driver >&2; exit 3").await.unwrap_err();
        assert!(why.contains("exit status: 3") && why.ends_with("no driver"), "{why}");
        let why = probed("echo gpu many").await.unwrap_err();
        assert!(why.starts_with("line 1 is \"gpu many\": \"many\" is not a count; print `gpu 2` or"), "{why}");
        assert!(probed("echo 'a/b 1'").await.unwrap_err().contains("letters, digits"));
        assert!(probed(r#"echo '{"name":"gpu"}'"#).await.unwrap_err().contains("missing field `count`"));
        let many = "for one in a b c d e f g h i j k l m n o p q; do echo $one 1; done";
        assert!(probed(many).await.unwrap_err().contains("DEVICES_MAX (16)"));
    }

    #[tokio::test]
    async fn a_probe_that_prints_without_end_is_ended() {
        assert!(probed("yes 'gpu 1'").await.unwrap_err().contains("OUTPUT_BYTES_MAX"));
    }

    /// What it left behind holds its pipe: the deadline counts for that, too.
    #[tokio::test]
    async fn a_probe_that_hangs_is_killed_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let command = format!("sleep 600 & echo $! > {}; exit 0", file.display());
        let error = probe(&command, Duration::from_millis(500)).await.unwrap_err();
        assert!(matches!(error, ProbeError::Slow(_)), "{error}");
        let left: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let is_left = || {
            let stat = std::fs::read_to_string(format!("/proc/{left}/stat")).unwrap_or_default();
            // A zombie waits for whoever inherits it.
            !stat.is_empty() && !stat.contains(") Z ")
        };
        let gone = async {
            while is_left() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, gone).await.unwrap();
    }
}
