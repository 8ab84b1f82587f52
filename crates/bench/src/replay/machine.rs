//! A machine whose jobs take their time, played from one event to the next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use quorate_scheduler::placement::backfill::{Span, Timeline, starts};
use quorate_state::Resources;

use super::Policy;
use super::log::Job;

/// A job with what its user says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) job: Job,
    /// It runs no longer, by what its user says.
    pub(super) limit_ms: u64,
}

/// What became of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) started_ms: u64,
    /// When it was first said that it would begin.
    pub(super) predicted_ms: Option<u64>,
}

/// How the scheduler's policy is fair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fairness {
    /// In this time what a user had counts half.
    pub(super) half_life_ms: u64,
    /// Whoever has waited for longer goes first, in the order of submits.
    pub(super) starves_after_ms: u64,
}

/// What each user has used of late, halved with time.
struct Usage {
    half_life_ms: f64,
    users: BTreeMap<u64, User>,
}

#[derive(Clone, Copy, Default)]
struct User {
    /// Processors now.
    holds: u64,
    /// Processor milliseconds at `at`.
    used: f64,
    at: u64,
}

impl Usage {
    fn bring(&mut self, user: u64, now: u64) -> &mut User {
        let half_life_ms = self.half_life_ms;
        let entry = self.users.entry(user).or_default();
        let passed = (now - entry.at) as f64;
        entry.used = entry.used * 0.5_f64.powf(passed / half_life_ms) + entry.holds as f64 * passed;
        entry.at = now;
        entry
    }
}

/// Plays all jobs; what became of each, in their order.
pub(super) fn play(jobs: &[Asked], processors: u64, policy: Policy, fairness: Fairness) -> Vec<Told> {
    let mut told = vec![Told::default(); jobs.len()];
    let mut ends: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut waiting: Vec<usize> = Vec::new();
    let mut usage = Usage { half_life_ms: fairness.half_life_ms.max(1) as f64, users: BTreeMap::new() };
    let (mut free, mut next) = (processors, 0);
    loop {
        let due = ends.peek().map(|Reverse((at, _))| *at);
        let comes = jobs.get(next).map(|asked| asked.job.submitted_ms);
        let Some(now) = due.into_iter().chain(comes).min() else { return told };
        while let Some(Reverse((at, number))) = ends.peek().copied() {
            if at > now {
                break;
            }
            ends.pop();
            let Job { processors, user, .. } = jobs[number].job;
            free += processors;
            usage.bring(user, now).holds -= processors;
        }
        while jobs.get(next).is_some_and(|asked| asked.job.submitted_ms <= now) {
            waiting.push(next);
            next += 1;
        }
        if policy == Policy::Quorate {
            // Whoever has had least of late goes first.
            let used: BTreeMap<u64, f64> = waiting
                .iter()
                .map(|number| jobs[*number].job.user)
                .map(|user| (user, usage.bring(user, now).used))
                .collect();
            let rank = |number: &usize| {
                let Job { user, submitted_ms, .. } = jobs[*number].job;
                let starves = now - submitted_ms > fairness.starves_after_ms;
                if starves { -1.0 } else { used.get(&user).copied().unwrap_or_default() }
            };
            waiting.sort_by(|one, other| rank(one).total_cmp(&rank(other)).then(one.cmp(other)));
        }
        let running = ends.iter().map(|Reverse((_, number))| (told[*number].started_ms, jobs[*number]));
        let running: Vec<(u64, u64)> =
            running.map(|(started, asked)| (started + asked.limit_ms, asked.job.processors)).collect();
        let begin = match policy {
            Policy::Fifo => fifo(jobs, &waiting, free),
            Policy::Backfill => easy(jobs, &waiting, free, now, running),
            Policy::Quorate => conservative(jobs, &waiting, free, now, &running, &mut told),
        };
        for number in &begin {
            let Job { processors, user, run_ms, .. } = jobs[*number].job;
            free -= processors;
            usage.bring(user, now).holds += processors;
            told[*number].started_ms = now;
            ends.push(Reverse((now + run_ms, *number)));
        }
        waiting.retain(|number| !begin.contains(number));
    }
}

/// Nobody passes anybody.
fn fifo(jobs: &[Asked], waiting: &[usize], mut free: u64) -> Vec<usize> {
    let fits = |number: &&usize| {
        let left = free.checked_sub(jobs[**number].job.processors);
        left.inspect(|left| free = *left).is_some()
    };
    waiting.iter().take_while(fits).copied().collect()
}

/// EASY (Lifka, 1995): the first that does not fit is given a time, and whoever does not delay it may pass.
fn easy(jobs: &[Asked], waiting: &[usize], mut free: u64, now: u64, mut running: Vec<(u64, u64)>) -> Vec<usize> {
    let mut begin = Vec::new();
    let mut left = waiting.iter().copied();
    let head = loop {
        let Some(number) = left.next() else { return begin };
        let Asked { job, limit_ms } = jobs[number];
        if job.processors > free {
            break number;
        }
        free -= job.processors;
        running.push((now + limit_ms, job.processors));
        begin.push(number);
    };
    running.sort_unstable();
    let wanted = jobs[head].job.processors;
    let (mut then, mut shadow) = (free, u64::MAX);
    for (at, processors) in running {
        then += processors;
        if then >= wanted {
            shadow = at.max(now + 1);
            break;
        }
    }
    let mut spare = then.saturating_sub(wanted);
    for number in left {
        let Asked { job, limit_ms } = jobs[number];
        let ends_before = now + limit_ms <= shadow;
        if job.processors <= free && (ends_before || job.processors <= spare) {
            free -= job.processors;
            spare -= if ends_before { 0 } else { job.processors };
            begin.push(number);
        }
    }
    begin
}

/// Everybody is given a time, in the order of the queue.
fn conservative(
    jobs: &[Asked],
    waiting: &[usize],
    free: u64,
    now: u64,
    running: &[(u64, u64)],
    told: &mut [Told],
) -> Vec<usize> {
    let cores = |processors: u64| Resources { cpu_milli: processors.saturating_mul(1_000), ..Resources::ZERO };
    let mut timeline =
        Timeline::new(now, cores(free), running.iter().map(|(at, processors)| (*at, cores(*processors))));
    let span = |number: &usize| {
        let Asked { job, limit_ms } = jobs[*number];
        Span { want: cores(job.processors), limit_ms: Some(limit_ms) }
    };
    let queue: Vec<Span> = waiting.iter().map(span).collect();
    let given = starts(&mut timeline, &queue);
    for (number, start) in waiting.iter().zip(&given) {
        told[*number].predicted_ms = told[*number].predicted_ms.or(*start);
    }
    waiting.iter().zip(given).filter(|(_, start)| *start == Some(now)).map(|(number, _)| *number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAIRNESS: Fairness = Fairness { half_life_ms: 1_000, starves_after_ms: 150 };

    fn asked(submitted_ms: u64, run_ms: u64, limit_ms: u64, processors: u64, user: u64) -> Asked {
        Asked { job: Job { submitted_ms, run_ms, processors, user }, limit_ms }
    }

    fn starts_of(jobs: &[Asked], policy: Policy) -> Vec<u64> {
        play(jobs, 4, policy, FAIRNESS).iter().map(|told| told.started_ms).collect()
    }

    #[test]
    fn who_may_pass_is_what_policies_differ_in() {
        let jobs = [
            asked(0, 100, 200, 3, 1),
            asked(1, 50, 50, 4, 1),
            // It would delay the one before by what its user says.
            asked(2, 90, 300, 1, 1),
            asked(3, 90, 190, 1, 1),
        ];
        assert_eq!(starts_of(&jobs, Policy::Fifo), [0, 100, 150, 150]);
        assert_eq!(starts_of(&jobs, Policy::Backfill), [0, 100, 150, 3]);
        assert_eq!(starts_of(&jobs, Policy::Quorate), [0, 100, 150, 3]);
    }

    #[test]
    fn whoever_has_had_least_goes_first() {
        let jobs = [asked(0, 100, 100, 4, 1), asked(1, 100, 100, 4, 1), asked(2, 100, 100, 4, 2)];
        assert_eq!(starts_of(&jobs, Policy::Backfill), [0, 100, 200]);
        assert_eq!(starts_of(&jobs, Policy::Quorate), [0, 200, 100]);
    }

    #[test]
    fn whoever_starves_goes_before_all_others() {
        let jobs: Vec<Asked> = (0..4).map(|number| asked(number, 100, 100, 4, number.min(1))).collect();
        let late = asked(250, 100, 100, 4, 9);
        let jobs: Vec<Asked> = jobs.into_iter().chain([late]).collect();
        // By its use the last would be next, from its submit on.
        assert_eq!(starts_of(&jobs, Policy::Quorate), [0, 100, 200, 300, 400]);
    }

    #[test]
    fn a_prediction_is_the_first_that_was_made() {
        let jobs = [asked(0, 100, 300, 4, 1), asked(1, 10, 20, 2, 1)];
        let told = play(&jobs, 4, Policy::Quorate, FAIRNESS);
        assert_eq!(told[1], Told { started_ms: 100, predicted_ms: Some(300) });
    }
}
