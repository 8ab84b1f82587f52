//! Moves of tasks and attempts.

use super::*;

#[test]
fn p6_moves_off_the_tables_are_caught() {
    let fresh = p6_transitions::Transitions::default;
    let started = || {
        let mut hand = Hand::new(1);
        let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
        let one = hand.place(task, "n1");
        hand.runs(one);
        (hand, one)
    };
    let (mut hand, one) = started();
    let back = Attempt { state: AttemptState::Assigned, ..row(&hand, one) };
    forge(&mut hand, back);
    caught(hand.judge(fresh()), "went from Running to Assigned");

    let (mut hand, one) = started();
    hand.ends(one, 0);
    forge_task(&mut hand, one.task, TaskState::Ready);
    caught(hand.judge(fresh()), "went from Succeeded to Ready");

    let (mut hand, one) = started();
    let liar = Attempt { state: AttemptState::TimedOut, ..row(&hand, one) };
    forge(&mut hand, liar);
    caught(hand.judge(fresh()), "is TimedOut with None, stopped for None");

    // It had ended before it was asked.
    let (mut hand, one) = started();
    hand.executor(one, Happening::Ended { exit: Some(Exit::Code(0)) });
    let stop = Some(StopReason::Cancelled);
    let stopped = Attempt { state: AttemptState::Cancelled, stop, exit: Some(Exit::Code(0)), ..row(&hand, one) };
    forge(&mut hand, stopped);
    caught(hand.judge(fresh()), "ran to its own end before it was asked to stop");

    // A move that nobody is told of.
    let (mut hand, one) = started();
    hand.ends(one, 0);
    hand.twist(|step| {
        step.events.pop();
    });
    caught(hand.judge(fresh()), "2 moves, 1 events");
}

#[test]
fn p6_no_agent_calls_lost_what_it_saw_end() {
    // It ends while the node has no lease; then the agent is back, or another life of it.
    let ended = |agent_gone_after_ms: Option<u64>| {
        let mut hand = Hand::new(1);
        let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
        let one = hand.place(task, "n1");
        hand.runs(one);
        hand.expire(&["n1"]);
        hand.executor(one, Happening::Ended { exit: Some(Exit::Code(0)) });
        if let Some(ms) = agent_gone_after_ms {
            hand.pass(ms);
            hand.fact(Fact::AgentGone { node: "n1".parse().unwrap() });
        }
        (hand, one)
    };
    let forgotten = |agent_gone_after_ms| {
        let (mut hand, _) = ended(agent_gone_after_ms);
        hand.register("n1", vec![]);
        hand.judge(p6_transitions::Transitions::default())
    };
    caught(forgotten(None), "is lost by the word of the agent that saw it");
    caught(forgotten(Some(1_000)), "is lost by the word of the agent that saw it");
    forgotten(Some(10)).unwrap();

    let (mut hand, one) = ended(None);
    let token = row(&hand, one).token;
    hand.register(
        "n1",
        vec![AttemptClaim { choice: quorate_state::Choice::FIRST, gpus: GpuHold::NONE, attempt: one, token }],
    );
    hand.report(one, AttemptPhase::Ended, Some(0));
    hand.judge(p6_transitions::Transitions::default()).unwrap();
}

#[test]
fn p6_a_word_with_an_old_token_must_be_refused() {
    let mut hand = Hand::new(1);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let one = hand.place(task, "n1");
    hand.runs(one);
    hand.twist(|step| {
        if let Command::ReportAttempts { reports, .. } = &mut step.entry.as_mut().unwrap().items[0].command {
            reports[0].token = Token(1);
        }
    });
    caught(hand.judge(p6_transitions::Transitions::default()), "with token 1 was Accepted");
    hand.twist(|step| {
        if let Command::ReportAttempts { reports, .. } = &mut step.entry.as_mut().unwrap().items[0].command {
            reports[0].token = Token(step.before.attempt(one).unwrap().token.0);
        }
        step.replies = vec![Ok(Reply::Reported(vec![ReportOutcome::Refused]))];
    });
    caught(hand.judge(p6_transitions::Transitions::default()), "was Refused");
}
