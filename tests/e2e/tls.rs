//! With certificates every connection says who it is, and that decides what it may do: three replicas, an
//! agent and commands, each with its own; and new certificates are taken up while all of it runs.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use quorate_tests::{Said, binary, quorate, until};

/// Lines of one process's log that wait to be looked at.
const LINES_MAX: usize = 10_000;

/// No process is silent for longer before it says what a test waits for.
const SAYS_WAIT_MAX: Duration = Duration::from_secs(60);

/// An authority, and what it issued.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        let said = quorate(&[], made.0.path(), &["cert", "ca", "--dir", "."]);
        assert_eq!(said.code, 0, "{said:?}");
        made
    }

    fn issue(&self, role: &str, name: &str) {
        let mut arguments = vec!["cert", "issue", "--dir", ".", "--role", role, "--name", name];
        if role == "replica" {
            arguments.extend(["--host", "localhost,127.0.0.1"]);
        }
        let said = quorate(&[], self.0.path(), &arguments);
        assert_eq!(said.code, 0, "{said:?}");
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// The settings under which `role-name` is who a process is.
    fn flags(&self, who: &str) -> Vec<String> {
        let path = |file: &str| self.path(file).display().to_string();
        let flags = [("--tls-ca", path("ca.pem")), ("--tls-cert", path(&format!("{who}.pem")))];
        let key = ("--tls-key", path(&format!("{who}.key")));
        flags.into_iter().chain([key]).flat_map(|(flag, path)| [flag.to_owned(), path]).collect()
    }
}

/// A process that is killed when dropped.
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Process {
    fn start(directory: &Path, arguments: &[String]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = read(child.stderr.take().unwrap());
        Self { child, lines }
    }

    /// The next line of its log with all of these words; fails the test when the process ends before.
    fn says(&self, words: &[&str]) -> String {
        let mut seen = String::new();
        while let Ok(line) = self.lines.recv_timeout(SAYS_WAIT_MAX) {
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
            seen += &format!("{line}\n");
        }
        panic!("it ended, or fell silent, without {words:?}:\n{seen}");
    }
}

/// A thread that ends with the process.
fn read(stderr: ChildStderr) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::sync_channel(LINES_MAX);
    std::thread::spawn(move || {
        let mut log = BufReader::new(stderr).lines();
        while let Some(Ok(line)) = log.next() {
            // A log that nobody reads any more is of no interest, but its process must not wait for us.
            let _ = sender.try_send(line);
        }
    });
    lines
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a replica on free ports.
fn replica(certificates: &Certificates, directory: &Path, number: usize, verb: &[String]) -> (Process, [String; 3]) {
    let mut arguments = vec!["server".to_owned()];
    arguments.extend(verb.iter().cloned());
    arguments.extend(["--data-dir".to_owned(), format!("replica-{number}")]);
    for listener in ["api", "agent", "raft", "ops"] {
        let off = listener == "ops";
        let address = if off { "off" } else { "127.0.0.1:0" };
        arguments.extend([format!("--listen-{listener}"), address.to_owned()]);
    }
    arguments.extend(certificates.flags(&format!("replica-{number}")));
    let process = Process::start(directory, &arguments);
    let ready = process.says(&["ready: "]);
    let after = |word: &str| {
        let rest = ready.split(&format!("{word} ")).nth(1).unwrap_or_default();
        rest.split([',', ' ']).next().unwrap_or_default().to_owned()
    };
    (process, [after("clients"), after("agents"), after("raft")])
}

fn agent(certificates: &Certificates, directory: &Path, who: &str, node: &str, replicas: &[String]) -> Process {
    let data = format!("agent-{node}");
    let mut arguments: Vec<String> =
        ["agent", "--node", node, "--data-dir", &data].into_iter().map(str::to_owned).collect();
    arguments.extend(["--replicas".to_owned(), replicas.join(",")]);
    arguments.extend(certificates.flags(who));
    Process::start(directory, &arguments)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_on_certificates_knows_who_is_who_and_takes_new_ones_while_it_runs() {
    let certificates = Certificates::new();
    for number in ["1", "2", "3"] {
        certificates.issue("replica", number);
    }
    for (role, name) in [("node", "n1"), ("node", "n2"), ("user", "alice"), ("operator", "olga")] {
        certificates.issue(role, name);
    }
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (_first, first) = replica(&certificates, at, 1, &["init".to_owned()]);
    let [mut api, mut agents] = [vec![first[0].clone()], vec![first[1].clone()]];
    let mut others = vec![];
    for number in [2, 3] {
        let join = ["join", "--peers", &first[2]].map(str::to_owned);
        let (process, [clients, sessions, _]) = replica(&certificates, at, number, &join);
        others.push(process);
        api.push(clients);
        agents.push(sessions);
    }
    let ask = |certificates: &Certificates, who: &str, arguments: &[&str]| -> Said {
        let flags = certificates.flags(who);
        let arguments: Vec<&str> = arguments.iter().copied().chain(flags.iter().map(String::as_str)).collect();
        quorate(&api, at, &arguments)
    };
    until("all replicas vote", || async {
        let said = ask(&certificates, "operator-olga", &["replica", "list", "--json"]);
        let followers = said.out.matches("\"role\":\"follower\"").count();
        if followers == 2 { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;

    // A job from file to end, and who submitted it.
    let _agent = agent(&certificates, at, "node-n1", "n1", &agents);
    std::fs::write(at.join("job.toml"), "name = \"hello\"\n[task.t]\nrun = [\"true\"]\n").unwrap();
    let run = ["job", "run", "job.toml", "--wait", "--deadline", "60s"];
    let ran = ask(&certificates, "user-alice", &run);
    assert_eq!(ran.code, 0, "{ran:?}");
    let status = ask(&certificates, "user-alice", &["run", "status", "hello", "--json"]);
    assert_eq!(status.json()["run"]["principal"], "user:alice", "{status:?}");

    // Who may not do what.
    let refused = |who: &str, arguments: &[&str], why: &str| {
        let said = ask(&certificates, who, arguments);
        assert_eq!(said.code, 5, "{said:?}");
        assert!(said.err.contains(why), "{why:?} is not said: {said:?}");
    };
    refused("node-n1", &["job", "run", "job.toml"], "node:n1 may not submit");
    refused("replica-2", &["job", "run", "job.toml"], "replica:2 may not submit");
    refused("user-alice", &["replica", "remove", "3"], "user:alice may not change replicas");
    refused("user-alice", &["namespace", "create", "acme"], "user:alice may not create namespace");
    let created = ask(&certificates, "operator-olga", &["namespace", "create", "acme"]);
    assert_eq!(created.code, 0, "{created:?}");
    let status = ask(&certificates, "operator-olga", &["replica", "status"]);
    assert_eq!(status.code, 0, "{status:?}");
    let plain = quorate(&api, at, &["job", "run", "job.toml"]);
    assert_eq!(plain.code, 5, "{plain:?}");
    assert!(plain.err.contains("wants TLS: name your certificate with tls.ca"), "{plain:?}");
    agent(&certificates, at, "node-n2", "other", &agents).says(&["certificate of node:n2", "agent.node is other"]);

    // Another authority takes over, in files of the same names, and nothing is restarted.
    let next = Certificates::new();
    next.issue("replica", "1");
    next.issue("user", "bob");
    let stranger = ask(&next, "user-bob", &["run", "list", "--deadline", "10s"]);
    assert_eq!(stranger.code, 6, "{stranger:?}");
    assert!(stranger.err.contains("was not issued by a CA in tls.ca"), "{stranger:?}");
    let both = [&certificates, &next].map(|authority| std::fs::read_to_string(authority.path("ca.pem")).unwrap());
    std::fs::write(certificates.path("ca.pem"), both.concat()).unwrap();
    std::fs::write(next.path("ca.pem"), both.concat()).unwrap();
    until("the new authority is trusted", || async {
        let said = ask(&next, "user-bob", &["run", "list", "--deadline", "10s"]);
        if said.code == 0 { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
    let ran = ask(&certificates, "user-alice", &run);
    assert_eq!(ran.code, 0, "{ran:?}");
}
