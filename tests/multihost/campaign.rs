//! One run from its first process to its verdict.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorate_seams::{Clock as _, SystemClock};
use quorate_tests::history_of;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::{Cluster, Leader};
use crate::history::{Asked, History, Told};
use crate::hosts::{AGENTS, REPLICAS, all, clients};
use crate::judge::{Evidence, count, judge};
use crate::machine::Programs;
use crate::network::{Network, enter, run as command};
use crate::options::Options;
use crate::schedule::{Class, Strike, draw};
use crate::sessions::{Sessions, api_addresses};
use crate::wide_area::{DEVICE, RoundTrips, start};
use crate::{ledger, settle};

/// Where logs and disks are during the run. What is mounted there is ours alone, and goes with us.
const SCRATCH: &str = "/run/quorate-multihost";
/// Between two looks at machines and leaders.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Sessions and watches end within this time after the last fault.
const SESSIONS_WAIT: Duration = Duration::from_secs(75);
/// A run with fewer submits accepted shows nothing.
const ACCEPTED_MIN: usize = 100;

/// Tells what will happen.
pub(crate) fn print_plan(options: &Options) {
    println!(
        "multihost: seed {}, {} s; round trips: {}",
        options.seed,
        options.seconds,
        RoundTrips::of(options.seed).text()
    );
    println!("#    AT   FOR  WHAT (milliseconds)");
    for strike in schedule(options) {
        println!("{strike}");
    }
}

fn schedule(options: &Options) -> Vec<Strike> {
    options.schedule.clone().unwrap_or_else(|| draw(options.seed, options.seconds))
}

/// Carries it out; true when everything held.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    print_plan(options);
    let directory = PathBuf::from(SCRATCH);
    std::fs::create_dir_all(&directory).map_err(|error| format!("{SCRATCH}: {error}"))?;
    command("mount", &["-t", "tmpfs", "tmpfs", SCRATCH])?;
    let network = Network::make(all())?;
    start(RoundTrips::of(options.seed))?;
    network.join_regions(DEVICE)?;
    // The one who watches stands in the first region, too.
    enter(&clients()[0].name)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
        tokio::select! { biased;
            _ = interrupt.recv() => Err("interrupted".to_owned()),
            _ = terminate.recv() => Err("asked to stop".to_owned()),
            outcome = go(options, network, &directory) => outcome,
        }
    });
    let kept = options
        .keep
        .clone()
        .or_else(|| (!matches!(outcome, Ok(true))).then(|| std::env::temp_dir().join("quorate-multihost")));
    if let Some(kept) = kept {
        keep(&directory, &kept)?;
        println!("logs, history and ledger are in {}", kept.display());
    }
    outcome
}

async fn go(options: &Options, network: Network, directory: &Path) -> Result<bool, String> {
    let mut cluster = Cluster::prepare(network, &programs()?, directory)?;
    cluster.form().await?;
    println!("{REPLICAS} replicas and {AGENTS} agents are one cluster");
    let history = Arc::new(History::begin(&directory.join("history.jsonl"))?);
    let ledger = directory.join("ledger");
    let sessions = Sessions::start(&clients(), options.seed, &history, &ledger);
    let schedule = schedule(options);
    let (struck, leaders) = faults(&mut cluster, &history, &schedule).await?;
    sessions.stop();
    cluster.heal_all()?;
    println!("all faults have ended");
    cluster.until_whole(REPLICAS, AGENTS).await?;
    let begun = SystemClock.boot();
    while !sessions.have_ended() {
        if SystemClock.boot().since(begun) > SESSIONS_WAIT {
            return Err(format!("some sessions have not ended within {SESSIONS_WAIT:?}"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    sessions.end()?;
    let evidence = gather(&mut cluster, &history, &ledger, directory).await?;
    let planned: BTreeSet<Class> = schedule.iter().map(|strike| strike.class).collect();
    let quiet: Vec<Class> = planned.difference(&struck).copied().collect();
    Ok(verdict(&evidence, &quiet, &leaders))
}

/// Lets everything strike at its time; which classes found somebody, and who led, comes back.
async fn faults(
    cluster: &mut Cluster,
    history: &History,
    schedule: &[Strike],
) -> Result<(BTreeSet<Class>, BTreeSet<Leader>), String> {
    let mut due: Vec<(u64, bool, usize)> = Vec::new();
    for (position, strike) in schedule.iter().enumerate() {
        due.push((strike.at_ms, true, position));
        due.push((strike.at_ms + strike.for_ms, false, position));
    }
    due.sort_unstable();
    let (mut struck, mut leaders) = (BTreeSet::new(), BTreeSet::new());
    for (at_ms, begins, position) in due {
        let at = history.began() + Duration::from_millis(at_ms);
        while SystemClock.boot() < at {
            cluster.look_after();
            leaders.extend(cluster.leader().await);
            tokio::time::sleep(LOOK_EVERY.min(at.since(SystemClock.boot()))).await;
        }
        let strike = &schedule[position];
        let now = history.now_us() / 1_000;
        if !begins {
            let ended = cluster.heal(position)?;
            let ended = if ended.is_empty() { String::new() } else { format!(" ({} had ended)", ended.join(" ")) };
            println!("{now:>7} ms  end of   {strike}{ended}");
            continue;
        }
        match cluster.strike(position, strike).await? {
            Some(whom) => {
                struck.insert(strike.class);
                println!("{now:>7} ms  strikes  {strike} ({whom})");
            }
            None => println!("{now:>7} ms  nobody   {strike}"),
        }
    }
    Ok((struck, leaders))
}

async fn gather(cluster: &mut Cluster, history: &History, ledger: &Path, directory: &Path) -> Result<Evidence, String> {
    let client = settle::patient();
    settle::until_runs_end(&client).await?;
    let runs = settle::runs(&client).await?;
    let (calls, watched) = history.take();
    let replays = settle::replays(&client, &watched).await?;
    let digests = history_of(&api_addresses(), directory).await?;
    cluster.look_after();
    let executions = ledger::read(&std::fs::read_to_string(ledger).unwrap_or_default());
    let (stalls, deaths) = (std::mem::take(&mut cluster.stalls), std::mem::take(&mut cluster.deaths));
    Ok(Evidence { calls, watched, executions, runs, replays, stalls, digests, deaths })
}

/// Says what was seen and what did not hold; true when all held and enough happened. `quiet` are planned
/// faults that found nobody.
fn verdict(evidence: &Evidence, quiet: &[Class], leaders: &BTreeSet<Leader>) -> bool {
    let told = |wanted: fn(&Told) -> bool| evidence.calls.iter().filter(|call| wanted(&call.told)).count();
    let accepted =
        |call: &&crate::history::Call| matches!((&call.asked, &call.told), (Asked::Submit { .. }, Told::Done { .. }));
    let accepted = evidence.calls.iter().filter(accepted).count();
    let events: usize = evidence.watched.iter().map(|watched| watched.events.len()).sum();
    println!(
        "{} calls: {} done, {} refused, {} unavailable, {} unknown; {accepted} jobs accepted, {} runs",
        evidence.calls.len(),
        told(|told| matches!(told, Told::Done { .. })),
        told(|told| matches!(told, Told::Refused { .. })),
        told(|told| matches!(told, Told::Unavailable { .. })),
        told(|told| matches!(told, Told::Unknown { .. })),
        evidence.runs.len(),
    );
    println!(
        "{} executions, {} watches with {events} events, {} leaders seen, revision {}",
        evidence.executions.len(),
        evidence.watched.len(),
        leaders.len(),
        evidence.digests.first().map_or(0, |(revision, _)| *revision),
    );
    let mut lacking: Vec<String> = quiet.iter().map(|class| format!("{class} struck nobody")).collect();
    if accepted < ACCEPTED_MIN {
        lacking.push(format!("only {accepted} jobs were accepted, {ACCEPTED_MIN} are the least"));
    }
    if leaders.len() < 2 {
        lacking.push("leadership never moved".to_owned());
    }
    let violations = judge(evidence);
    for (property, violations) in &violations {
        println!("VIOLATED: {property}");
        for violation in violations {
            println!("  {violation}");
        }
    }
    if violations.is_empty() && !lacking.is_empty() {
        println!("INVALID, this shows nothing: {}", lacking.join("; "));
    }
    if violations.is_empty() && lacking.is_empty() {
        println!("all {} properties held", count());
    }
    violations.is_empty() && lacking.is_empty()
}

/// What machines run: beside this program, unless `QUORATE_BIN` names another binary.
fn programs() -> Result<Programs, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let beside = own.parent().unwrap_or(Path::new("."));
    let quorate = std::env::var_os("QUORATE_BIN").map_or_else(|| beside.join("quorate"), PathBuf::from);
    let wall_clock = beside.join("examples").join("libwall_clock.so");
    for path in [&quorate, &wall_clock] {
        if !path.exists() {
            return Err(format!("{} is missing: build it first, as 'make multihost-test' does", path.display()));
        }
    }
    Ok(Programs { quorate, wall_clock })
}

/// Copies what people look into after a failure: everything but disks.
fn keep(directory: &Path, to: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", to.display());
    std::fs::create_dir_all(to).map_err(failed)?;
    for host in all() {
        let log = directory.join(&host.name).join("log");
        if log.exists() {
            std::fs::copy(log, to.join(format!("{}.log", host.name))).map_err(failed)?;
        }
    }
    for name in ["history.jsonl", "ledger"] {
        if directory.join(name).exists() {
            std::fs::copy(directory.join(name), to.join(name)).map_err(failed)?;
        }
    }
    Ok(())
}
