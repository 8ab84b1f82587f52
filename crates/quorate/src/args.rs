//! The command line: what may be typed, and what it says about itself.
//!
//! Flags that are settings carry the key's name in their help; the key also works as a variable and
//! in the configuration file (`settings.rs`), so clap takes their values as text and judges none.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cli::{
    agent, bench, cert, cluster, completions, demo, dev, import, job, namespace, node, preemption, rebalance, region,
    replica, reservation, retention, run, server, snapshot, task,
};
use crate::exit;
use crate::settings::{Flags, KEYS, variable};

/// Schedules jobs on clusters in many regions from one replicated log.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, after_help = exit::HELP, after_long_help = long_help(), max_term_width = 110)]
#[command(propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Print one JSON object with a schema version instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// API addresses of replicas, separated by commas; any one is enough [key: servers]
    #[arg(long, global = true, value_name = "HOST:PORT", help_heading = "Connection")]
    servers: Option<String>,
    /// Namespace of jobs and runs that name none [key: namespace]
    #[arg(long, short = 'n', global = true, help_heading = "Connection")]
    namespace: Option<String>,
    /// How long to try before giving up, such as 10s [key: deadline]
    #[arg(long, global = true, value_name = "TIME", help_heading = "Connection")]
    deadline: Option<String>,
    /// PEM file of the CA that replicas' certificates are from [key: tls.ca]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection", hide_short_help = true)]
    tls_ca: Option<String>,
    /// PEM file of the certificate that says who we are [key: tls.cert]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection", hide_short_help = true)]
    tls_cert: Option<String>,
    /// PEM file of its key [key: tls.key]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Connection", hide_short_help = true)]
    tls_key: Option<String>,
    /// TOML file with settings [variable: QUORATE_CONFIG]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,
    /// What is logged on standard error, such as info or quorate_raft=debug [key: log.filter]
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Settings")]
    log: Option<String>,
    /// Form of the log: text or json [key: log.format]
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Settings")]
    log_format: Option<String>,
}

impl Global {
    /// The configuration file: the flag, else the variable.
    pub(crate) fn config_path(&self, variable: Option<OsString>) -> Option<PathBuf> {
        self.config.clone().or_else(|| variable.filter(|path| !path.is_empty()).map(PathBuf::from))
    }

    fn flags(&self) -> Flags {
        vec![
            ("servers", self.servers.clone()),
            ("namespace", self.namespace.clone()),
            ("deadline", self.deadline.clone()),
            ("tls.ca", self.tls_ca.clone()),
            ("tls.cert", self.tls_cert.clone()),
            ("tls.key", self.tls_key.clone()),
            ("log.filter", self.log.clone()),
            ("log.format", self.log_format.clone()),
        ]
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one replica and one agent in this process, to try things out
    Dev(dev::Dev),
    /// Form, join or go on as a replica of the control plane
    Server(Box<server::Server>),
    /// Offer this machine to the control plane
    Agent(Box<agent::Agent>),
    /// Submit, plan, validate and list jobs
    Job(job::Job),
    /// Look at runs, wait for them, cancel, pause and resume them, read their output
    Run(run::Run),
    /// Ask why a task waits, print its result, release it from quarantine
    Task(task::Task),
    /// List the machines that run work
    Node(node::Node),
    /// List clusters of machines
    Cluster(cluster::Cluster),
    /// List regions, and say what would become of the work in one if it were lost
    Region(region::Region),
    /// List the replicas of the control plane
    Replica(replica::Replica),
    /// Save, inspect and restore backups of everything that the cluster knows
    Snapshot(snapshot::Snapshot),
    /// Create and list namespaces
    Namespace(namespace::Namespace),
    /// Show and change whose tasks are stopped to make room for others
    Preemption(preemption::Preemption),
    /// Move work that runs to better places, on request and within a budget
    Rebalance(rebalance::Rebalance),
    /// Set nodes aside for a namespace for a time that is agreed beforehand
    Reservation(reservation::Reservation),
    /// Show and change how long runs that have ended are kept
    Retention(retention::Retention),
    /// Make an authority and certificates, for TLS
    Cert(cert::Cert),
    /// Turn workflows of other tools into job files
    Import(import::Import),
    /// Watch a workflow survive the death of the leader, on this machine
    Demo(demo::Demo),
    /// Measure, on this machine
    Bench(bench::Bench),
    /// Print the completion script of a shell
    Completions(completions::Completions),
}

impl Cli {
    /// The settings given as flags.
    pub(crate) fn flags(&self) -> Flags {
        let mut flags = self.global.flags();
        match &self.command {
            Command::Dev(dev) => flags.extend(dev.flags()),
            Command::Server(server) => flags.extend(server.flags()),
            Command::Agent(agent) => flags.extend(agent.flags()),
            Command::Snapshot(snapshot) => flags.extend(snapshot.flags()),
            Command::Job(_)
            | Command::Run(_)
            | Command::Task(_)
            | Command::Node(_)
            | Command::Cluster(_)
            | Command::Region(_)
            | Command::Replica(_)
            | Command::Namespace(_)
            | Command::Preemption(_)
            | Command::Rebalance(_)
            | Command::Reservation(_)
            | Command::Retention(_)
            | Command::Cert(_)
            | Command::Import(_)
            | Command::Demo(_)
            | Command::Bench(_)
            | Command::Completions(_) => {}
        }
        flags
    }
}

/// True when `--json` was typed, on a command line that did not parse.
pub(crate) fn wants_json(arguments: &[OsString]) -> bool {
    arguments.iter().skip(1).take_while(|argument| *argument != "--").any(|argument| argument == "--json")
}

/// What clap says of a wrong command line, without its colours and heading.
pub(crate) fn usage_error(error: &clap::Error) -> exit::Error {
    let text = error.render().to_string();
    exit::Error::Usage(text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned())
}

/// The exit codes and every setting, for `--help`.
fn long_help() -> String {
    let mut text =
        format!("{}\n\nSettings: a flag wins over the variable, which wins over the key in the file\n", exit::HELP);
    for key in KEYS {
        text += &format!("  {:<27} {}\n  {:<27} {}\n", key.name, variable(key.name), "", key.meaning);
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_documented_command_parses() {
        for line in [
            "quorate dev",
            "quorate server init --data-dir d --region eu --listen-api 127.0.0.1:1",
            "quorate server join --peers a:1,b:2",
            "quorate server run",
            "quorate server recover --data-dir d --lost 00000000000000000000000000000001 --lost 00000000000000000000000000000002",
            "quorate snapshot save f --from a:1 --force",
            "quorate snapshot inspect f --json",
            "quorate snapshot restore f --data-dir d --expect-cluster 00000000000000000000000000000001",
            "quorate agent --replicas a:1 --cluster eu-a --cpu 4 --memory 8Gi",
            "quorate job run job.toml --wait --request-id x -n acme",
            "quorate job run - --json",
            "quorate job run job.toml --param day=2026-11-21 --param parts=4 --params-file params.json",
            "quorate job plan job.toml --param day=2026-11-21",
            "quorate job plan job.toml --exit-code",
            "quorate job validate job.yaml",
            "quorate job list",
            "quorate run list --job x --state failed",
            "quorate run list -A --state failed --state cancelled -l team=risk -l tier --since 24h --until 5m --limit 5",
            "quorate run list --since 2026-11-21T15:04:05Z --page-token 31 --json",
            "quorate job list --state failed -l team=risk --until 30d",
            "quorate run events x --task score[3] --since 4711 -f",
            "quorate run events x --json --max-stale 5s",
            "quorate run timeline x --limit 200",
            "quorate run status x --graph --limit 9",
            "quorate run show x --graph",
            "quorate run status acme/x --attempts",
            "quorate run list --stale --json",
            "quorate task why x split[0] --max-stale 5s",
            "quorate run cancel 0123456789abc",
            "quorate run cancel nightly --all",
            "quorate run logs -f 0123456789abc split[3] --attempt 2 --stream stderr",
            "quorate run logs x split --tail 10 --since 5m -f",
            "quorate run logs x --since 2026-11-21T15:04:05Z --json",
            "quorate run wait x --timeout 10s",
            "quorate task why x split[0]",
            "quorate task result x split[0] --json",
            "quorate task release x split[0]",
            "quorate node list --json",
            "quorate node cordon eu-1-a",
            "quorate node uncordon eu-1-a",
            "quorate node undrain eu-1-a",
            "quorate node drain eu-1-a --after 10m --reason disk --wait",
            "quorate node status eu-1-a --json",
            "quorate node forget eu-1-a",
            "quorate node token create --ttl 7d --uses 10 --region eu --cluster eu-1 --label pool=gpu --label a=",
            "quorate node token list --json",
            "quorate node token revoke 00010203040506ab",
            "quorate cluster set node-admission=token",
            "quorate agent --join-token-file /run/join --devices-probe probe",
            "quorate cluster list",
            "quorate replica list",
            "quorate namespace create acme",
            "quorate namespace list",
            "quorate namespace create vision --parent research --weight 300 --guarantee cpu=4,gpu=1 --maximum memory=8Gi",
            "quorate namespace set vision --parent none --maximum none",
            "quorate namespace show vision --json",
            "quorate namespace fairness --half-life 10m --overdue-after 4h",
            "quorate namespace fairness",
            "quorate preemption show --json",
            "quorate preemption set --by-priority on --gap 25 --spare 5m --times 3",
            "quorate preemption set --by-priority off",
            "quorate preemption set --by-share on --share-gap 25",
            "quorate rebalance plan --goal prefer --scope all --json",
            "quorate rebalance start --max-moves 40 --at-once 4 --share 20 --margin 5 --for 30m",
            "quorate rebalance status --stale",
            "quorate rebalance stop",
            "quorate reservation create spring -n research --node eu-1-a,eu-1-b --node eu-1-c --begin 2h --for 4h",
            "quorate reservation list --stale",
            "quorate reservation show spring --json",
            "quorate reservation end spring",
            "quorate retention show --max-stale 5s --json",
            "quorate retention set --memory-runs 20000 --memory-rows 1000000 --archive-runs 5000000 --archive-for 90d",
            "quorate retention set --history-revisions 1000000 --segment-runs 5000 --archive-for 0s",
            "quorate cert ca --dir certs",
            "quorate cert issue --dir certs --role replica --name 1 --host a.example,10.0.0.1 --days 90",
            "quorate run list --tls-ca ca.pem --tls-cert user.pem --tls-key user.key",
            "quorate import wfformat flow.json --time-scale 0.1",
            "quorate demo --no-kill --keep --speed 2",
            "quorate bench tasks --replicas 3 --agents 2 --tasks 1000 --driver noop --json",
            "quorate bench tasks --tasks 1000,10000 --driver process,noop --rounds 5 --singles 100 --history 10000",
            "quorate bench tasks --hyperqueue /usr/bin/python3 --binary /usr/local/bin/quorate",
            "quorate bench flood --callers 64 --seconds 3 --json",
            "quorate bench pack --nodes nodes.csv --pods pods.csv --inflate 1.3 --seeds 0..10 --policy fgd --json",
            "quorate bench placement --nodes 1000 --tasks 5000 --shapes 20 --gpu-percent 0 --rounds 3 --seed 7 --json",
            "quorate bench placement --through-log --nodes 5000 --tasks 50000 --replicas 3 --rounds 1 --keep",
            "quorate bench workflow --shape dag --size 50000 --seed 7 --replicas 3 --agents 40 --within 1h --json",
            "quorate completions bash",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn wrong_lines_are_usage_errors() {
        for line in [
            "quorate run logs",
            "quorate run logs x --attempt 2",
            "quorate run logs x t --since yesterday",
            "quorate run list --until tomorrow",
            "quorate run list -l =risk",
            "quorate run events x --since yesterday",
            "quorate run events x -f --stale",
            "quorate run status x --limit 9",
            "quorate job run",
            "quorate job run job.toml --param day",
            "quorate run cancel --job nightly --all",
            "quorate node drop",
            "quorate preemption set",
            "quorate rebalance",
            "quorate rebalance start --goal even",
            "quorate rebalance start --for 5",
            "quorate reservation create spring --for 4h",
            "quorate reservation create spring --node a",
            "quorate reservation create spring --node a --for 4h --begin yesterday",
            "quorate reservation create spring --node a --for 4h --begin 2001-01-01T00:00:00Z",
            "quorate preemption set --by-priority yes",
            "quorate preemption set --by-share maybe",
            "quorate preemption set --spare 5",
            "quorate retention",
            "quorate retention set",
            "quorate retention set --archive-for 90",
            "quorate retention set --memory-runs=-1",
            "quorate namespace set vision",
            "quorate namespace set vision --maximum cpu=4,cpu=5",
            "quorate namespace set vision --guarantee disk=3",
            "quorate namespace set vision --weight many",
            "quorate node token create --label gpu",
            "quorate cluster set node-admission=certificate",
            "quorate demo --speed",
            "quorate bench tasks --driver fast",
            "quorate bench workflow",
            "quorate bench pack --nodes nodes.csv",
            "quorate bench placement --nodes many",
            "quorate bench placement --replicas 3",
            "quorate bench placement --through-log --seed 1",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn a_wrong_line_with_json_is_an_error_without_heading() {
        let words = |line: &str| line.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        assert!(wants_json(&words("quorate run nope --json")));
        assert!(!wants_json(&words("quorate run nope")));
        assert!(!wants_json(&words("quorate run list -- --json")));
        for (line, part) in [
            ("quorate --json run nope", "unrecognized subcommand 'nope'"),
            ("quorate --json", "'quorate' requires a subcommand"),
        ] {
            let error = usage_error(&parse(line).unwrap_err());
            assert_eq!(error.code() as u8, 2);
            let message = error.chain();
            assert!(message.starts_with(part), "{message:?}");
        }
    }

    #[test]
    fn flags_reach_the_settings_under_their_keys() {
        let cli = parse("quorate server init --listen-raft 127.0.0.1:9 --servers a:1 --snapshot-entries 50").unwrap();
        let flags = cli.flags();
        for (key, text) in
            [("server.listen.raft", "127.0.0.1:9"), ("servers", "a:1"), ("server.raft.snapshot_entries", "50")]
        {
            assert!(flags.contains(&(key, Some(text.to_owned()))), "{key}");
        }
        assert!(flags.iter().all(|(name, _)| KEYS.iter().any(|key| key.name == *name)), "{flags:?}");
    }

    #[test]
    fn the_flag_for_the_file_wins_over_the_variable() {
        let cli = parse("quorate node list --config a.toml").unwrap();
        assert_eq!(cli.global.config_path(Some("b.toml".into())), Some("a.toml".into()));
        let cli = parse("quorate node list").unwrap();
        assert_eq!(cli.global.config_path(Some("b.toml".into())), Some("b.toml".into()));
        assert_eq!(cli.global.config_path(Some("".into())), None);
    }
}
