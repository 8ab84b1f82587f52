//! Replicas, agents and clients as real processes, each on a host of its own, and what can go wrong
//! between and on hosts: `make multihost-test`.
//!
//! Read in this order: `hosts` and `network` (namespaces in three regions), `wide_area` (delays between
//! them), `machine` (a process with a disk and a clock), `schedule` (which faults, drawn from a seed),
//! `cluster` (how they strike), `sessions` and `history` (what clients ask and are told), `settle` and
//! `judge` (what must have held).
//!
//! Everything happens in namespaces of processes and mounts of our own, whose first process this is:
//! with its end, however it comes, the kernel ends every process, mount and network of the run.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test reports to the person who ran it")]

mod hosts;
mod network;
mod wide_area;

mod machine;

mod draw;
mod schedule;

mod cluster;

mod history;
mod sessions;

mod judge;
mod ledger;
mod settle;

mod campaign;
mod options;

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use options::{Options, Wish};

/// Says that this process is the first of its namespaces.
const INSIDE: &str = "inside";
/// What must be installed, and by which package.
const TOOLS: [(&str, &str); 5] =
    [("ip", "iproute2"), ("nft", "nftables"), ("sysctl", "procps"), ("mount", "mount"), ("unshare", "util-linux")];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_inside = arguments.first().is_some_and(|first| first == INSIDE);
    let options = match Options::parse(&arguments[usize::from(is_inside)..]) {
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
    let outcome = match (options.only_print, is_inside) {
        (true, _) => {
            campaign::print_plan(&options);
            Ok(true)
        }
        (false, true) => campaign::run(&options),
        (false, false) => go_inside(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("multihost: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Becomes the same program as the first process of fresh namespaces. Comes back only when that fails.
fn go_inside(arguments: &[String]) -> Result<bool, String> {
    let missing: Vec<&str> =
        TOOLS.iter().filter(|(tool, _)| !is_installed(tool)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        return Err(format!("install what is missing: apt-get install {}", missing.join(" ")));
    }
    if !rustix::process::geteuid().is_root() {
        return Err("namespaces, mounts and packet filters need root: run it with sudo".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Err("there is no /dev/net/tun, which delays packets between regions: modprobe tun".to_owned());
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    Err(format!("unshare: {}", command.arg(own).arg(INSIDE).args(arguments).exec()))
}

fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(tool).exists())
}
