//! From one version to the next while work goes on: `make upgrade-test`.
//!
//! A cluster of an older binary is under load; its replicas and then its agents are replaced one by one
//! as docs/operations/upgrade.md says. No request may fail beyond what the client repeats by itself,
//! every accepted run must succeed, and in the end all replicas must hold the same history. Then one of
//! them goes back, which must work, or be refused because of a format or a feature that the older one does not know.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test reports to the person who ran it")]

mod load;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use quorate_bench::local::LocalCluster;
use quorate_client::Client;
use quorate_proto::v1;
use quorate_tests::{Ledger, history_of, options_of};

use load::Load;

/// What may be typed.
const USAGE: &str = "usage: upgrade --old BINARY --new BINARY";
/// Replicas of the cluster.
const REPLICAS: usize = 3;
/// How long the load goes on with each mixture of versions.
const MIXED: Duration = Duration::from_millis(1_500);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [old_flag, old, new_flag, new] = arguments.as_slice() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if (old_flag.as_str(), new_flag.as_str()) != ("--old", "--new") {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("upgrade: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(upgrade(Path::new(old), Path::new(new))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("upgrade: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn upgrade(old: &Path, new: &Path) -> Result<(), String> {
    let mut cluster = LocalCluster::start(options_of(old.to_path_buf(), REPLICAS)).await.map_err(text)?;
    println!("{REPLICAS} replicas and {} agents of {}", cluster.agent_count(), old.display());
    let ledger = Ledger::new();
    let load = Load::start(&cluster, &ledger);
    for replica in order(&mut cluster).await? {
        replace_replica(&mut cluster, replica, new).await?;
        println!("replica {} is of {}", replica + 1, new.display());
        tokio::time::sleep(MIXED).await;
    }
    for agent in 0..cluster.agent_count() {
        cluster.stop_agent(agent).await.map_err(text)?;
        cluster.set_agent_binary(agent, new);
        cluster.restart_agent(agent).map_err(text)?;
        cluster.wait_ready().await.map_err(text)?;
        println!("agent {} is of {}", agent + 1, new.display());
        tokio::time::sleep(MIXED).await;
    }
    let seen = load.stop().await?;
    println!("{} requests, {} failed; {} runs accepted", seen.requests, seen.failures.len(), seen.runs.len());
    if let Some(failure) = seen.failures.first() {
        return Err(format!("requests failed, such as: {failure}"));
    }
    let client = cluster.client();
    load::all_succeed(&client, &seen.runs).await?;
    agree(&cluster).await?;
    println!("every run succeeded, and the replicas hold the same history");
    go_back(&mut cluster, &client, old).await
}

/// Followers first: each change of the leader holds requests up.
async fn order(cluster: &mut LocalCluster) -> Result<Vec<usize>, String> {
    let leader = cluster.leader(|_| true).await.map_err(text)?.replica;
    let followers = (0..cluster.replica_count()).filter(|replica| *replica != leader);
    Ok(followers.chain([leader]).collect())
}

async fn replace_replica(cluster: &mut LocalCluster, replica: usize, binary: &Path) -> Result<(), String> {
    let leader = cluster.leader(|_| true).await.map_err(text)?;
    if leader.replica == replica {
        let request = v1::TransferLeadershipRequest { to: 0, term: 0 };
        let passed = cluster.client().transfer_leadership(request).await.map_err(text)?;
        println!("leadership passed from {} to {}", leader.id, passed.leader);
    }
    cluster.stop(replica).await.map_err(text)?;
    cluster.set_replica_binary(replica, binary);
    cluster.restart(replica).map_err(text)?;
    cluster.wait_ready().await.map_err(text)?;
    let runs = cluster.replica_pid(replica).map(|pid| PathBuf::from(format!("/proc/{pid}/exe")));
    let runs = runs.and_then(|link| std::fs::read_link(link).ok());
    if runs != binary.canonicalize().ok() {
        return Err(format!("replica {} runs {runs:?}", replica + 1));
    }
    Ok(())
}

/// All replicas hold the same history at the same revision.
async fn agree(cluster: &LocalCluster) -> Result<(), String> {
    let histories = history_of(cluster.api_addresses(), cluster.directory()).await?;
    if histories.iter().any(|history| *history != histories[0]) {
        return Err(format!("the replicas hold different histories: {histories:?}"));
    }
    Ok(())
}

/// One replica goes back to the older binary: it goes on, or refuses a format or a feature that it does not know.
async fn go_back(cluster: &mut LocalCluster, client: &Client, old: &Path) -> Result<(), String> {
    let replica = REPLICAS - 1;
    cluster.stop(replica).await.map_err(text)?;
    cluster.set_replica_binary(replica, old);
    cluster.restart(replica).map_err(text)?;
    let Err(why) = cluster.wait_ready().await else {
        load::one_more(client).await?;
        agree(cluster).await?;
        println!("both versions have the same formats: a replica went back and went on");
        return Ok(());
    };
    let why = why.to_string();
    // The second is said by versions before there were features of the row that enables one.
    if why.contains("newer") || why.contains("which no version known here writes") {
        println!("a replica that goes back is refused: {why}");
        return Ok(());
    }
    Err(format!("a replica that went back neither goes on nor says that its store is newer: {why}"))
}

fn text(error: impl std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
