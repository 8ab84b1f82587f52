//! How long jobs of a recorded log would wait under a policy: simulated time, on a machine of so many processors.
//!
//! What a log says of waits is left alone: jobs come when they came, or closer together, take what they took, and their users
//! say how long they may run: their run time times a number that the seed draws, the same for every policy.

mod log;
mod machine;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::Error;
use crate::dice::Dice;
use crate::samples::rounded;
use log::{Job, Log};
use machine::{Asked, Fairness, Told, play};

/// Shorter jobs count as this long in slowdowns (Feitelson and Rudolph, 1998), in milliseconds.
const BOUND_MS: u64 = 10_000;
/// Users with at least so many jobs are looked at one by one.
const USER_JOBS_MIN: usize = 30;
/// What a user may wait in the mean: this many times as long as first come, first served, and this much more.
const USER_TIMES: f64 = 1.5;
const USER_MORE_S: f64 = 600.0;
/// Times between arrivals are multiplied by this much at most.
const SCALE_MAX: f64 = 100.0;
const FACTOR_MAX: f64 = 100.0;
const PROCESSORS_MAX: u64 = 100_000_000;

/// Who goes first, and who may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// First come, first served, and nobody passes.
    Fifo,
    /// EASY: whoever does not delay the first that waits may pass.
    Backfill,
    /// The scheduler's: whoever has had least of late goes first, and whoever delays nobody before may pass.
    Quorate,
}

impl Policy {
    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::Backfill => "backfill",
            Self::Quorate => "quorate",
        }
    }
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct ReplayBench {
    /// The log, in the Standard Workload Format.
    pub swf: PathBuf,
    /// Processors of the machine; as many as the log says, when none.
    pub processors: Option<u64>,
    /// Times between arrivals are multiplied by this.
    pub scale_arrivals: f64,
    /// Users say up to so many times the run time.
    pub estimate_factor: f64,
    /// What it is drawn from.
    pub seed: u64,
    /// In which what was used counts half.
    pub half_life_s: u64,
    /// Whoever has waited for longer goes first.
    pub starves_after_s: u64,
    /// Who goes first.
    pub policy: Policy,
}

/// What was measured. Waits are in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `replay`.
    pub bench: &'static str,
    /// Who went first.
    pub policy: &'static str,
    /// Jobs that were played, and lines that say too little of one.
    pub jobs: usize,
    /// See `jobs`.
    pub left_out: u64,
    /// Processors of the machine.
    pub processors: u64,
    /// See [`ReplayBench::scale_arrivals`].
    pub scale_arrivals: f64,
    /// The seed.
    pub seed: u64,
    /// Work, by what the machine could have done from the first submit to the last.
    pub load: f64,
    /// Mean of the waits.
    pub wait_mean_s: f64,
    /// Half of the jobs waited no longer.
    pub wait_median_s: f64,
    /// 95 of a hundred waited no longer.
    pub wait_p95_s: f64,
    /// The longest wait.
    pub wait_max_s: f64,
    /// Mean of what a job took in all by what it ran, with at least ten seconds for the latter.
    pub bounded_slowdown_mean: f64,
    /// Work, by what the machine could have done until the last job had ended.
    pub utilisation: f64,
    /// Of users with at least 30 jobs, the largest mean wait by 1.5 times that of first come, first served and ten minutes:
    /// above 1 somebody is worse off.
    pub worst_user: f64,
    /// Which user that is.
    pub worst_user_id: u64,
    /// How many such users there are.
    pub users: usize,
    /// Jobs that were told when they would begin and began later, in per cent of those told.
    pub later_than_told_percent: f64,
    /// By how much predictions were wrong in the mean, in seconds.
    pub prediction_error_mean_s: f64,
}

impl ReplayBench {
    /// Plays the log.
    pub fn run(&self) -> Result<Report, Error> {
        let option = |what: &str, is: bool| {
            if is { Ok(()) } else { Err(Error::Option(what.to_owned())) }
        };
        let within = |value: f64, max: f64| value > 0.0 && value <= max;
        option("scale-arrivals is above 0 and at most 100", within(self.scale_arrivals, SCALE_MAX))?;
        let is_factor = self.estimate_factor >= 1.0 && self.estimate_factor <= FACTOR_MAX;
        option("estimate-factor is at least 1 and at most 100", is_factor)?;
        let log = Log::read(&self.swf)?;
        let processors = self.processors.or(log.processors).filter(|count| (1..=PROCESSORS_MAX).contains(count));
        let processors = processors
            .ok_or_else(|| Error::Option("processors: the log does not say how many, so say it".to_owned()))?;
        option("the log has no job of which it says how long it ran", !log.jobs.is_empty())?;
        let jobs = self.asked(&log.jobs, processors);
        let fairness = Fairness {
            half_life_ms: self.half_life_s.saturating_mul(1_000),
            starves_after_ms: self.starves_after_s.saturating_mul(1_000),
        };
        let fifo = play(&jobs, processors, Policy::Fifo, fairness);
        let told = match self.policy {
            Policy::Fifo => fifo.clone(),
            policy => play(&jobs, processors, policy, fairness),
        };
        Ok(self.report(&jobs, &told, &fifo, processors, log.left_out))
    }

    fn asked(&self, jobs: &[Job], processors: u64) -> Vec<Asked> {
        let mut dice = Dice(self.seed);
        let mut ask = |job: &Job| {
            let share = (dice.next() >> 11) as f64 / (1_u64 << 53) as f64;
            let times = 1.0 + share * (self.estimate_factor - 1.0);
            let limit_ms = ((job.run_ms as f64 * times) as u64).max(job.run_ms);
            let submitted_ms = (job.submitted_ms as f64 * self.scale_arrivals) as u64;
            Asked { job: Job { submitted_ms, processors: job.processors.min(processors), ..*job }, limit_ms }
        };
        jobs.iter().map(&mut ask).collect()
    }

    fn report(&self, jobs: &[Asked], told: &[Told], fifo: &[Told], processors: u64, left_out: u64) -> Report {
        let wait_s = |(asked, told): (&Asked, &Told)| (told.started_ms - asked.job.submitted_ms) as f64 / 1e3;
        let mut waits: Vec<f64> = jobs.iter().zip(told).map(wait_s).collect();
        let slowdown = |(asked, told): (&Asked, &Told)| {
            let wait_ms = told.started_ms - asked.job.submitted_ms;
            ((wait_ms + asked.job.run_ms) as f64 / asked.job.run_ms.max(BOUND_MS) as f64).max(1.0)
        };
        let mean = |sum: f64| sum / jobs.len().max(1) as f64;
        let slowdowns: f64 = jobs.iter().zip(told).map(slowdown).sum();
        let work: f64 = jobs.iter().map(|asked| asked.job.run_ms as f64 * asked.job.processors as f64).sum();
        let last_submit = jobs.last().map_or(1, |asked| asked.job.submitted_ms.max(1));
        let last_end = jobs.iter().zip(told).map(|(asked, told)| told.started_ms + asked.job.run_ms).max().unwrap_or(1);
        let could = |until: u64| until.max(1) as f64 * processors as f64;
        let mut users: BTreeMap<u64, (usize, f64, f64)> = BTreeMap::new();
        for ((asked, told), fifo) in jobs.iter().zip(told).zip(fifo) {
            let (count, wait, fifo_wait) = users.entry(asked.job.user).or_default();
            *count += 1;
            *wait += wait_s((asked, told));
            *fifo_wait += wait_s((asked, fifo));
        }
        users.retain(|_, (count, ..)| *count >= USER_JOBS_MIN);
        let ratio = |(count, wait, fifo_wait): &(usize, f64, f64)| {
            let of = |sum: f64| sum / *count as f64;
            of(*wait) / (USER_TIMES * of(*fifo_wait) + USER_MORE_S)
        };
        let worst =
            users.iter().map(|(user, sums)| (ratio(sums), *user)).max_by(|one, other| one.0.total_cmp(&other.0));
        let (worst_user, worst_user_id) = worst.unwrap_or_default();
        let predictions: Vec<(u64, u64)> =
            told.iter().filter_map(|told| Some((told.predicted_ms?, told.started_ms))).collect();
        let of_told = |sum: f64| if predictions.is_empty() { 0.0 } else { sum / predictions.len() as f64 };
        let later = predictions.iter().filter(|(predicted, started)| started > predicted).count() as f64;
        let errors: f64 =
            predictions.iter().map(|(predicted, started)| predicted.abs_diff(*started) as f64 / 1e3).sum();
        waits.sort_by(f64::total_cmp);
        let at = |share: f64| waits.get(((waits.len() as f64 * share) as usize).min(waits.len() - 1)).copied();
        Report {
            bench: "replay",
            policy: self.policy.as_str(),
            jobs: jobs.len(),
            left_out,
            processors,
            scale_arrivals: self.scale_arrivals,
            seed: self.seed,
            load: rounded(work / could(last_submit)),
            wait_mean_s: rounded(mean(waits.iter().sum())),
            wait_median_s: rounded(at(0.5).unwrap_or_default()),
            wait_p95_s: rounded(at(0.95).unwrap_or_default()),
            wait_max_s: rounded(waits.last().copied().unwrap_or_default()),
            bounded_slowdown_mean: rounded(mean(slowdowns)),
            utilisation: rounded(work / could(last_end)),
            worst_user: rounded(worst_user),
            worst_user_id,
            users: users.len(),
            later_than_told_percent: rounded(of_told(later * 100.0)),
            prediction_error_mean_s: rounded(of_told(errors)),
        }
    }
}
