//! The sink, on a host of its own: `examples/fencing-sink/sink` as it is, asked over the network.
//!
//! A request is a line `OBJECT TOKEN KEY VERB STEP TEXT`, the answer the exit code of the script, whose files are
//! what is judged. How often it refused somebody is counted here, because that leaves no trace there.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::hosts::{SINK, sink};
use crate::network::enter;
use crate::task::REFUSED;

/// Requests that are answered at once; more wait.
const AT_ONCE: usize = 16;
/// Bytes of a request.
const REQUEST_BYTES_MAX: u64 = 512;
/// Whoever says nothing for so long is cut off.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the sink took, in its order: token and key. By object, which is a task of a run.
pub(crate) type Taken = BTreeMap<String, Vec<(u64, String)>>;

/// The sink at work.
pub(crate) struct Sink {
    directory: PathBuf,
    refused: Arc<AtomicUsize>,
}

impl Sink {
    /// Starts it, for as long as this process lives; its files are below `directory`.
    pub(crate) fn start(directory: PathBuf) -> Result<Self, String> {
        let script = script();
        if !script.exists() {
            return Err(format!("{} is missing: the sink is the example of this repository", script.display()));
        }
        std::fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let refused = Arc::new(AtomicUsize::new(0));
        let (opened, open) = sync_channel(1);
        let (files, count) = (directory.clone(), refused.clone());
        std::thread::spawn(move || {
            let listen = || {
                let host = sink();
                enter(&host.name)?;
                TcpListener::bind((host.address, SINK)).map_err(|error| format!("the sink: {error}"))
            };
            let listener = match listen() {
                Ok(listener) => Arc::new(listener),
                Err(why) => return drop(opened.send(Err(why))),
            };
            for _ in 0..AT_ONCE {
                let (listener, script, files, count) = (listener.clone(), script.clone(), files.clone(), count.clone());
                // A thread that is started here stands on the same host.
                std::thread::spawn(move || {
                    while let Ok((stream, _)) = listener.accept() {
                        // Whoever was cut off asks again.
                        if answer(&stream, &script, &files) == Some(i32::from(REFUSED)) {
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            let _ = opened.send(Ok(()));
        });
        open.recv().map_err(|error| error.to_string())??;
        Ok(Self { directory, refused })
    }

    /// How many requests it has refused, because a newer copy had been there.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// All that it took.
    pub(crate) fn taken(&self) -> Result<Taken, String> {
        read(&self.directory)
    }
}

/// The example.
fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fencing-sink/sink")
}

fn answer(mut stream: &TcpStream, script: &Path, files: &Path) -> Option<i32> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let mut request = String::new();
    BufReader::new(stream.take(REQUEST_BYTES_MAX)).read_line(&mut request).ok()?;
    // Half a request is none.
    let code = carry_out(request.strip_suffix('\n')?, script, files)?;
    let _ = stream.write_all(format!("{code}\n").as_bytes());
    Some(code)
}

/// Runs the script for one request.
fn carry_out(request: &str, script: &Path, files: &Path) -> Option<i32> {
    let words: Vec<&str> = request.split(' ').collect();
    let &[object, token, key, verb, step, text] = words.as_slice() else { return None };
    let mut command = Command::new(script);
    command.args([verb, object]).args((verb == "write").then_some(step));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("SINK", files);
    command.env("QUORATE_FENCING_TOKEN", token).env("QUORATE_IDEMPOTENCY_KEY", key);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not read it has refused.
        let _ = writeln!(input, "{text}");
    }
    child.wait().ok()?.code()
}

/// Reads the files of the sink.
fn read(directory: &Path) -> Result<Taken, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut taken = Taken::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "ledger") {
            continue;
        }
        let object = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        let lines = text.lines().map(|line| {
            let mut words = line.splitn(3, ' ');
            let token = words.next().and_then(|token| token.parse().ok());
            token.zip(words.next().map(str::to_owned)).ok_or_else(|| format!("{}: {line:?}?", path.display()))
        });
        taken.insert(object, lines.collect::<Result<_, String>>()?);
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_reach_the_example_and_what_it_took_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let ask = |request: &str| carry_out(request, &script(), directory.path());
        assert_eq!(ask("r1-0 20 r1-0-key claim - -"), Some(0));
        assert_eq!(ask("r1-0 20 r1-0-key write step-1 1"), Some(0));
        assert_eq!(ask("r1-0 19 r1-0-key write step-2 2"), Some(i32::from(REFUSED)), "an older copy");
        assert_eq!(ask("r1-0 20"), None, "no request");
        let taken = read(directory.path()).unwrap();
        let expected = [(20, "claim".to_owned()), (20, "r1-0-key/step-1".to_owned())];
        assert_eq!(taken["r1-0"], expected);
    }
}
