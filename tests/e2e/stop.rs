//! Whoever is asked to stop by SIGTERM ends in order, with exit code 0, whatever it was doing.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use quorate_proto::v1;
use quorate_tests::{attempts, binary, options, quorate, start, submit, until};
use rustix::process::{Pid, Signal, kill_process};

const LONG: &str = "name = \"long\"\n[task.t]\ncount = 8\nrun = [\"sleep\", \"600\"]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_and_replicas_end_in_order() {
    let mut cluster = start(options(3)).await;
    let client = cluster.client();
    let run = submit(&client, LONG).await;
    until("all to run", || async {
        let attempts = attempts(&client, &run).await;
        let running = attempts.iter().filter(|attempt| attempt.state() == v1::AttemptState::Running).count();
        if running == 8 { Ok(()) } else { Err(format!("{attempts:?}")) }
    })
    .await;
    // An agent stops while there is a control plane to tell, and another while there is none.
    cluster.stop_agent(0).await.unwrap();
    // The last two replicas stop without a quorum.
    for replica in 0..3 {
        cluster.stop(replica).await.unwrap();
    }
    for agent in 1..cluster.agent_count() {
        cluster.stop_agent(agent).await.unwrap();
    }
}

/// A process that is killed when the test fails.
struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_ends_in_order() {
    let directory = tempfile::tempdir().unwrap();
    // Free, and free they stay: no connection goes out from this host.
    let free: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.2:0").unwrap()).collect();
    let addresses: Vec<String> = free.iter().map(|one| one.local_addr().unwrap().to_string()).collect();
    drop(free);
    let mut command = Command::new(binary());
    command.args(["dev", "--data-dir", "data", "--listen-ops", "off"]).current_dir(directory.path());
    for (flag, address) in ["--listen-api", "--listen-agent", "--listen-raft"].iter().zip(&addresses) {
        command.args([flag, address.as_str()]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut dev = Dev(command.spawn().unwrap());
    std::fs::write(directory.path().join("long.toml"), LONG).unwrap();
    let ask = |arguments: &[&str]| quorate(&addresses[..1], directory.path(), arguments);
    until("a run", || async {
        let said = ask(&["job", "run", "long.toml"]);
        if said.code == 0 { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
    until("a task that runs", || async {
        let said = ask(&["run", "status", "long", "--json"]);
        let running = said.json()["run"]["state"] == "running";
        if running { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
    kill_process(Pid::from_child(&dev.0), Signal::TERM).unwrap();
    let status = until("its end", || {
        let status = dev.0.try_wait().unwrap();
        async move { status.ok_or_else(|| "it goes on".to_owned()) }
    })
    .await;
    assert_eq!(status.code(), Some(0), "{status}");
}
