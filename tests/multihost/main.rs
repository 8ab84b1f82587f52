//! Replicas, agents and clients as real processes, each on a host of its own, and what can go wrong
//! between and on hosts: `make chaos`.
//!
//! Read in this order: `hosts` and `network` (namespaces in three regions), `wide_area` (delays between
//! them), `machine` (a process with a disk and a clock), `task`, `ledger` and `sink` (what runs, and where it leaves
//! traces), `schedule` and `menu` (which faults, drawn from a seed), `cluster` with `tasks` and `transfers` (how they
//! strike), `sessions` and `history` (what clients ask and are told), `settle` and `judge` (what must have held), `facts`
//! and `oracles` (what the simulator's judges have to say of it), `summary` (how it is said).
//!
//! Everything happens in namespaces of processes and mounts of our own, whose first process this is:
//! with its end, however it comes, the kernel ends every process, mount and network of the run.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test reports to the person who ran it")]

mod hosts;
mod network;
mod wide_area;

mod machine;

mod ledger;
mod sink;
mod task;

mod draw;
mod menu;
mod schedule;

mod cluster;
mod leaders;
mod stillness;
mod tasks;
mod transfers;

mod history;
mod sessions;

mod judge;
mod settle;

mod facts;
mod oracles;

mod summary;

mod campaign;
mod options;

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::process::{WaitOptions, wait};

use ledger::Part;
use options::{Options, Wish};
use summary::Verdict;

/// Says that this process is the first of its namespaces,
const FIRST: &str = "first";
/// and that it is the one which does the work there.
const INSIDE: &str = "inside";
/// What must be installed, and by which package.
const TOOLS: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("sysctl", "procps"),
    ("mount", "mount"),
    ("unshare", "util-linux"),
    ("flock", "util-linux"),
    ("awk", "mawk"),
];

/// Exit code of a run that shows nothing,
const INVALID: u8 = 3;
/// and of one for which this machine lacks something.
const IMPOSSIBLE: u8 = 4;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let role = arguments.first().cloned().unwrap_or_default();
    match role.as_str() {
        task::TASK => return task::main(Part::First, &arguments[1..]),
        task::CHILD => return task::main(Part::Child, &arguments[1..]),
        task::APART => return task::main(Part::Apart, &arguments[1..]),
        FIRST => return first(&arguments[1..]),
        INSIDE => drop(arguments.remove(0)),
        _ => {}
    }
    let options = match Options::parse(&arguments) {
        Ok(Wish::Run(options)) => options,
        Ok(Wish::Help) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("{why}\n\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    if options.only_print {
        campaign::print_plan(&options);
        return ExitCode::SUCCESS;
    }
    if role != INSIDE {
        let why = go_inside(&arguments);
        eprintln!("multihost: {why}");
        return ExitCode::from(IMPOSSIBLE);
    }
    if options.only_check {
        let checked = campaign::check(&options);
        return checked.map_or_else(|why| ended_early(&why, IMPOSSIBLE), |()| ExitCode::SUCCESS);
    }
    match campaign::run(&options) {
        Ok(Verdict::Held) => ExitCode::SUCCESS,
        Ok(Verdict::Violated) => ExitCode::FAILURE,
        Ok(Verdict::Invalid) => ExitCode::from(INVALID),
        Err(why) => ended_early(&why, 1),
    }
}

fn ended_early(why: &str, code: u8) -> ExitCode {
    eprintln!("multihost: {why}");
    ExitCode::from(code)
}

/// Becomes the same program as the first process of fresh namespaces. Comes back only when that fails, and says why.
fn go_inside(arguments: &[String]) -> String {
    let missing: Vec<&str> =
        TOOLS.iter().filter(|(tool, _)| !is_installed(tool)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        return format!("install what is missing: apt-get install {}", missing.join(" "));
    }
    if !rustix::process::geteuid().is_root() {
        return "namespaces, mounts and packet filters need root: run it with sudo".to_owned();
    }
    if !Path::new("/dev/net/tun").exists() {
        return "there is no /dev/net/tun, which delays packets between regions: modprobe tun".to_owned();
    }
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return error.to_string(),
    };
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    format!("unshare: {}", command.arg(own).arg(FIRST).args(arguments).exec())
}

/// Is the parent of all who have lost their own, and buries them; ends as the process that does the work does.
fn first(arguments: &[String]) -> ExitCode {
    let working = std::env::current_exe().and_then(|own| Command::new(own).arg(INSIDE).args(arguments).spawn());
    let working = match working {
        Ok(working) => working,
        Err(error) => return ended_early(&error.to_string(), IMPOSSIBLE),
    };
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((process, status))) if u32::try_from(process.as_raw_pid()) == Ok(working.id()) => {
                let status = std::process::ExitStatus::from_raw(status.as_raw());
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                return code.map_or_else(|| ended_early(&format!("ended: {status}"), 1), ExitCode::from);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return ended_early(&error.to_string(), 1),
        }
    }
}

fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(tool).exists())
}
