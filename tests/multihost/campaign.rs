//! One run from its first process to its verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorate_seams::{Clock as _, SystemClock};
use quorate_tests::history_of;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::Cluster;
use crate::facts::Times;
use crate::history::{History, Stream};
use crate::hosts::{AGENTS, REPLICAS, all, clients, replicas, scribe};
use crate::judge::{Affair, Cause, Evidence};
use crate::machine::{Programs, store_of};
use crate::network::{Network, enter, run as command};
use crate::options::Options;
use crate::schedule::{Class, Strike, Target};
use crate::sessions::{Sessions, Work, api_addresses};
use crate::sink::Sink;
use crate::stillness::Stillness;
use crate::summary::{ACCEPTED_MIN, Course, LEADERS_MIN, Verdict, conclude};
use crate::wide_area::{DEVICE, RoundTrips, SlowWays, start};
use crate::{facts, ledger, menu, oracles, settle};

/// Where logs and disks are during the run. What is mounted there is ours alone, and goes with us.
const SCRATCH: &str = "/run/quorate-multihost";
/// What was seen, for the simulator's oracles.
const FACTS: &str = "facts.jsonl";
/// Between two looks at machines.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Sessions and watches end within this time after the last fault.
const SESSIONS_WAIT: Duration = Duration::from_secs(120);
/// A class that has done nothing by the end of the schedule strikes again so often,
const AGAIN: usize = 6;
/// for so long at first, and for so much longer each time: what a slow machine needs to feel it is not known.
const AGAIN_MS: u64 = 6_000;
/// Then the load goes on without faults for as long as too little was accepted, but no longer than this.
const FLOOR_WAIT: Duration = Duration::from_secs(180);
/// All are restarted within this time, once nothing strikes any more.
const ROLLING_WAIT: Duration = Duration::from_secs(120);

/// Tells what will happen.
pub(crate) fn print_plan(options: &Options) {
    println!(
        "multihost: seed {}, {} s; round trips: {}; again: {}",
        options.seed,
        options.seconds,
        RoundTrips::of(options.seed).text(),
        options.command()
    );
    println!("#    AT   FOR  WHAT (milliseconds)");
    for strike in schedule(options) {
        println!("{strike}");
    }
}

fn schedule(options: &Options) -> Vec<Strike> {
    options.schedule.clone().unwrap_or_else(|| menu::draw(options.seed, options.seconds))
}

/// The hosts, joined; the caller stands on one of them from now on.
fn lay_out(options: &Options) -> Result<(PathBuf, Network, Arc<SlowWays>), String> {
    let directory = PathBuf::from(SCRATCH);
    std::fs::create_dir_all(&directory).map_err(|error| format!("{SCRATCH}: {error}"))?;
    command("mount", &["-t", "tmpfs", "tmpfs", SCRATCH])?;
    let network = Network::make(all())?;
    let slow = start(options.seed)?;
    network.join_regions(DEVICE)?;
    enter(&clients()[0].name)?;
    Ok((directory, network, slow))
}

/// Finds out whether this machine can do it: makes everything that a run stands on.
pub(crate) fn check(options: &Options) -> Result<(), String> {
    programs()?;
    let (directory, mut network, _) = lay_out(options)?;
    Sink::start(directory.join("sink"))?;
    let hosts = all();
    let pair = BTreeSet::from([(hosts[0].address, hosts[1].address)]);
    network.drop_between(&pair)
}

/// Carries it out.
pub(crate) fn run(options: &Options) -> Result<Verdict, String> {
    print_plan(options);
    let (directory, network, slow) = lay_out(options)?;
    let sink = Sink::start(directory.join("sink"))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
        tokio::select! { biased;
            _ = interrupt.recv() => Err("interrupted".to_owned()),
            _ = terminate.recv() => Err("asked to stop".to_owned()),
            outcome = go(options, network, slow, &sink, &directory) => outcome,
        }
    });
    let kept = options
        .keep
        .clone()
        .or_else(|| (!matches!(outcome, Ok(Verdict::Held))).then(|| std::env::temp_dir().join("quorate-multihost")));
    if let Some(kept) = kept {
        keep(&directory, &kept)?;
        eprintln!("logs, history, ledger, facts and the store with the whole log are in {}", kept.display());
    }
    outcome
}

async fn go(
    options: &Options,
    network: Network,
    slow: Arc<SlowWays>,
    sink: &Sink,
    directory: &Path,
) -> Result<Verdict, String> {
    let ledger = directory.join("ledger");
    std::fs::File::create(&ledger).map_err(|error| format!("{}: {error}", ledger.display()))?;
    let stillness = Stillness::watch();
    let mut cluster = Cluster::prepare(network, slow, &programs()?, directory, &ledger)?;
    cluster.form().await?;
    println!("{REPLICAS} replicas and {AGENTS} agents are one cluster");
    let history = Arc::new(History::begin(&directory.join("history.jsonl"))?);
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let work = Work { program, ledger: ledger.clone() };
    let sessions = Sessions::start(&clients(), options.seed, &history, &work);
    let schedule = schedule(options);
    faults(&mut cluster, &history, &schedule).await?;
    again(&mut cluster, &history, &schedule).await?;
    cluster.heal_all()?;
    println!("all faults have ended");
    let enough = |cluster: &Cluster| {
        history.accepted() >= ACCEPTED_MIN && cluster.leaders.count() >= LEADERS_MIN && !cluster.is_rolling()
    };
    let begun = SystemClock.boot();
    while !enough(&cluster) && SystemClock.boot().since(begun) < FLOOR_WAIT.max(ROLLING_WAIT) {
        look(&mut cluster).await;
    }
    sessions.stop();
    cluster.until_whole(REPLICAS, AGENTS).await?;
    let healed_us = ledger::now_us();
    let begun = SystemClock.boot();
    while !sessions.have_ended() {
        if SystemClock.boot().since(begun) > SESSIONS_WAIT {
            return Err(format!("some sessions have not ended within {SESSIONS_WAIT:?}"));
        }
        look(&mut cluster).await;
    }
    sessions.end()?;
    let (evidence, streams) = gather(&mut cluster, &history, sink, &stillness, directory).await?;
    let read_us = ledger::now_us();
    let planned = schedule.iter().map(|strike| strike.class);
    let fired: BTreeMap<Class, usize> =
        planned.map(|class| (class, cluster.fired.get(&class).copied().unwrap_or(0))).collect();
    let (leaders, transfers) = (cluster.leaders.count(), cluster.transfers.made().len());
    let course = Course { fired, leaders, transfers, refused: sink.refused(), disk_mib: cluster.disk_mib() };
    cluster.stop();
    let stores: Vec<PathBuf> =
        [vec![scribe()], replicas()].concat().iter().map(|host| store_of(directory, host)).collect();
    let began_us = history.began_us();
    let times = Times { began_us, healed_us, read_us, ended_us: ledger::now_us() };
    let seen = directory.join(FACTS);
    facts::write(&seen, &evidence, &streams, times)?;
    let opinion = oracles::ask(&programs()?.simulation, &stores, &seen)?;
    Ok(conclude(options, &evidence, &course, &opinion))
}

async fn look(cluster: &mut Cluster) {
    cluster.look_after();
    tokio::time::sleep(LOOK_EVERY).await;
}

/// Lets everything strike at its time.
async fn faults(cluster: &mut Cluster, history: &History, schedule: &[Strike]) -> Result<(), String> {
    let mut due: Vec<(u64, bool, usize)> = Vec::new();
    for (position, strike) in schedule.iter().enumerate() {
        due.push((strike.at_ms, true, position));
        due.push((strike.at_ms + strike.for_ms, false, position));
    }
    due.sort_unstable();
    for (at_ms, begins, position) in due {
        let at = history.began() + Duration::from_millis(at_ms);
        while SystemClock.boot() < at {
            cluster.look_after();
            tokio::time::sleep(LOOK_EVERY.min(at.since(SystemClock.boot()))).await;
        }
        if begins {
            strike(cluster, history, position, &schedule[position])?;
        } else {
            heal(cluster, history, position, &schedule[position])?;
        }
    }
    Ok(())
}

/// Lets those classes strike once more of which nothing has come: they may have found nobody, or the cluster in such
/// a state that they could not do what they are for. And the leader, if nobody has led after it.
async fn again(cluster: &mut Cluster, history: &History, schedule: &[Strike]) -> Result<(), String> {
    for number in 0..AGAIN {
        let mut quiet: BTreeMap<Class, Strike> = schedule.iter().rev().map(|strike| (strike.class, *strike)).collect();
        quiet.retain(|class, _| !cluster.fired.contains_key(class));
        // One that goes on by itself is not begun again.
        quiet.retain(|class, _| *class != Class::Rolling || !cluster.is_rolling());
        let for_ms = AGAIN_MS * (number as u64 + 1);
        if cluster.leaders.count() < LEADERS_MIN {
            let (class, target) = (Class::Kill, Target::Leader);
            quiet.insert(class, Strike { at_ms: 0, for_ms, class, target, by_ms: 0 });
        }
        for (rank, strikes) in quiet.values().enumerate() {
            // Behind those of the schedule, and of the times before.
            let position = (schedule.len() + 1) * (number + 1) + rank;
            let strikes = Strike { for_ms, ..*strikes };
            strike(cluster, history, position, &strikes)?;
            let until = SystemClock.boot() + Duration::from_millis(strikes.for_ms);
            while SystemClock.boot() < until {
                look(cluster).await;
            }
            heal(cluster, history, position, &strikes)?;
        }
    }
    Ok(())
}

fn strike(cluster: &mut Cluster, history: &History, position: usize, strike: &Strike) -> Result<(), String> {
    let whom = cluster.strike(position, strike)?;
    let now = history.now_us() / 1_000;
    match whom {
        Some(whom) => println!("{now:>7} ms  strikes  {strike} ({whom})"),
        None => println!("{now:>7} ms  nobody   {strike}"),
    }
    Ok(())
}

fn heal(cluster: &mut Cluster, history: &History, position: usize, strike: &Strike) -> Result<(), String> {
    let ended = cluster.heal(position)?;
    let ended = if ended.is_empty() { String::new() } else { format!(" ({} had ended)", ended.join(" ")) };
    println!("{:>7} ms  end of   {strike}{ended}", history.now_us() / 1_000);
    Ok(())
}

async fn gather(
    cluster: &mut Cluster,
    history: &History,
    sink: &Sink,
    stillness: &Stillness,
    directory: &Path,
) -> Result<(Evidence, Vec<Stream>), String> {
    let client = settle::patient();
    settle::until_runs_end(&client).await?;
    let runs = settle::runs(&client).await?;
    let (calls, watched, streams) = history.take();
    let replays = settle::replays(&client, &watched).await?;
    let digests = history_of(&api_addresses(), directory).await?;
    cluster.look_after();
    let executions = ledger::read(&std::fs::read_to_string(directory.join("ledger")).unwrap_or_default());
    let transfers = cluster.transfers.made().into_iter();
    let transferred =
        transfers.map(|(from_us, to_us)| Affair { cause: Cause::LeaderTransferred, node: None, from_us, to_us });
    let mut affairs = std::mem::take(&mut cluster.affairs);
    affairs.extend(transferred);
    let deaths = std::mem::take(&mut cluster.deaths);
    let struck = std::mem::take(&mut cluster.struck);
    let (taken, stillness) = (sink.taken()?, stillness.times());
    let evidence =
        Evidence { calls, watched, executions, runs, replays, taken, affairs, struck, stillness, digests, deaths };
    Ok((evidence, streams))
}

/// What machines run: beside this program, unless `QUORATE_BIN` names another binary.
fn programs() -> Result<Programs, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let beside = own.parent().unwrap_or(Path::new("."));
    let quorate = std::env::var_os("QUORATE_BIN").map_or_else(|| beside.join("quorate"), PathBuf::from);
    let simulation = beside.join("quorate-simulation");
    let wall_clock = beside.join("examples").join("libwall_clock.so");
    for path in [&quorate, &simulation, &wall_clock] {
        if !path.exists() {
            return Err(format!("{} is missing: build it first, as 'make chaos' does", path.display()));
        }
    }
    Ok(Programs { quorate, simulation, wall_clock })
}

/// Copies what people look into after a failure: of the disks, the store with the whole log alone.
fn keep(directory: &Path, to: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", to.display());
    std::fs::create_dir_all(to).map_err(failed)?;
    for host in all() {
        let log = directory.join(&host.name).join("log");
        if log.exists() {
            std::fs::copy(log, to.join(format!("{}.log", host.name))).map_err(failed)?;
        }
    }
    for name in ["history.jsonl", "ledger", FACTS] {
        if directory.join(name).exists() {
            std::fs::copy(directory.join(name), to.join(name)).map_err(failed)?;
        }
    }
    let store = store_of(directory, &scribe());
    if store.is_dir() { keep_files(&store, &to.join("store")).map_err(failed) } else { Ok(()) }
}

/// Copies the files of a directory into another, which is made or emptied.
fn keep_files(directory: &Path, to: &Path) -> std::io::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    std::fs::create_dir_all(to)?;
    for file in std::fs::read_dir(directory)? {
        let file = file?;
        std::fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}
