//! `quorate rebalance`: moves work that runs to better places, when somebody asks for it.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use quorate_proto::v1;

use super::Context;
use super::stale::Stale;
use crate::exit::{Code, Error};
use crate::render::rebalance::{RebalancePlan, RebalanceShown};

/// `quorate rebalance`.
#[derive(Args, Debug)]
pub(crate) struct Rebalance {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say what would be moved where, and what that would bring; changes nothing
    Plan(Terms),
    /// Move work to better places, within a budget
    ///
    /// One goes on at a time. Each move keeps the room for its task before that is asked to stop, and counts neither as a try nor as a
    /// loss. It ends when no move is left that is worth its while, when the budget is spent, and when something else comes first: a
    /// drain, a lost node.
    Start(Terms),
    /// Show the rebalance that goes on, or the last one
    Status {
        #[command(flatten)]
        stale: Stale,
    },
    /// Begin no more moves; what is on the move arrives
    Stop,
}

/// What a better place is, and how much may be moved.
#[derive(Args, Debug)]
struct Terms {
    /// What a better place is
    #[arg(long, value_name = "GOAL", default_value = "spread")]
    goal: Goal,
    /// How far a move may go: it stays in its cluster, in its region, or goes anywhere
    #[arg(long, value_name = "SCOPE", default_value = "region")]
    scope: Scope,
    /// How many tasks are moved in all: 1 to 100000
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    max_moves: u32,
    /// How many are on the move at a time: 1 to 100
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    at_once: u32,
    /// How many in a hundred elements of one task are on the move at a time; at least one
    #[arg(long, value_name = "PERCENT", default_value_t = 10)]
    share: u32,
    /// By how much a move has to better a place: points of a hundred of a node's fullness, or of the weight of what a job prefers: 1 to
    /// 100; 10 for spread and 1 for prefer where it is not given
    #[arg(long, value_name = "POINTS")]
    margin: Option<u32>,
    /// How long moves are begun, such as 30m; 7 days at most
    #[arg(long = "for", value_name = "TIME", value_parser = time, default_value = "1h")]
    lasts: Duration,
}

/// What a better place is.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Goal {
    /// Nodes are about as full as one another
    Spread,
    /// Tasks are where their jobs would rather have them (place.prefer)
    Prefer,
}

/// How far a move may go.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scope {
    Cluster,
    Region,
    All,
}

impl Rebalance {
    pub(crate) async fn execute(self, context: &Context) -> Result<Code, Error> {
        match self.verb {
            Verb::Plan(terms) => {
                let terms = terms.to_wire();
                let request = v1::PlanRebalanceRequest { terms: Some(terms) };
                let answer = context.client()?.plan_rebalance(request).await.map_err(older)?;
                context.output.show(&RebalancePlan::new(terms, answer))?;
            }
            Verb::Start(terms) => {
                let request = v1::StartRebalanceRequest { terms: Some(terms.to_wire()), request_id: String::new() };
                let answer = context.client()?.start_rebalance(request).await.map_err(older)?;
                context.output.show(&RebalanceShown::new(answer.rebalance, Vec::new(), answer.revision))?;
            }
            Verb::Status { stale } => {
                let client = stale.client(context)?;
                let answer = client.get_rebalance(v1::GetRebalanceRequest {}).await.map_err(older)?;
                let shown = RebalanceShown::new(answer.rebalance, answer.under_way, answer.revision);
                context.output.show_read(&shown, client.staleness())?;
            }
            Verb::Stop => {
                let request = v1::StopRebalanceRequest { request_id: String::new() };
                let answer = context.client()?.stop_rebalance(request).await.map_err(older)?;
                context.output.show(&RebalanceShown::new(answer.rebalance, Vec::new(), answer.revision))?;
            }
        }
        Ok(Code::Ok)
    }
}

impl Terms {
    fn to_wire(&self) -> v1::RebalanceTerms {
        let (goal, margin) = match self.goal {
            Goal::Spread => (v1::RebalanceGoal::Spread, 10),
            Goal::Prefer => (v1::RebalanceGoal::Prefer, 1),
        };
        let reach = match self.scope {
            Scope::Cluster => v1::RebalanceReach::Cluster,
            Scope::Region => v1::RebalanceReach::Region,
            Scope::All => v1::RebalanceReach::Everywhere,
        };
        v1::RebalanceTerms {
            goal: goal.into(),
            reach: reach.into(),
            moves_max: self.max_moves,
            at_once: self.at_once,
            share_percent: self.share,
            margin: self.margin.unwrap_or(margin),
            for_ms: u64::try_from(self.lasts.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

fn older(error: quorate_client::Error) -> Error {
    Error::of_older(error, "rebalancing")
}

/// How long: what is too long is for the cluster to say.
fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|why| format!("{text:?} is not a duration ({why}): write 30m, 2h or 1d"))
}
