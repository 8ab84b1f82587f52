//! The bugs there are: each a mistake that somebody could make in good faith.

use std::fmt;
use std::str::FromStr;

macro_rules! bugs {
    ($($bug:ident, $name:literal, $what:literal;)+) => {
        /// A mistake in the product's code, there for the simulator to find.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug {
            $(#[doc = $what] $bug,)+
        }

        impl Bug {
            /// Every bug, in the order of the enum.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$bug),+];

            /// Its name on a command line and in a regression.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => $name,)+
                }
            }

            /// What goes wrong, in one sentence.
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$bug => $what,)+
                }
            }
        }
    };
}

bugs! {
    // What `apply` must guard.
    CapacityUnchecked, "capacity-unchecked",
        "A placement is checked against the whole node, not against what is free on it.";
    DevicesUnchecked, "devices-unchecked",
        "Room on a node is enough: nobody asks whether another task holds the device.";
    DevicesKept, "devices-kept",
        "What an attempt held of a device stays taken after its end.";
    ToldOtherDevices, "told-other-devices",
        "An agent counts the devices of every task from its first one on.";
    QuotaUnchecked, "quota-unchecked",
        "A placement is not checked against the maximum of its namespace and of those above it.";
    GangPlacedInPart, "gang-placed-in-part",
        "Those members of a gang that fit are placed, though others do not.";
    GangSurvivorsKept, "gang-survivors-kept",
        "When a member of a gang ends without success, nobody asks the others to stop.";
    GangGenerationMixed, "gang-generation-mixed",
        "A member that ended well is done, though its gang begins anew without it.";
    PreemptsEqualPriority, "preempts-equal-priority",
        "A task takes the room of others that are as urgent as it is.";
    PreemptsForNothing, "preempts-for-nothing",
        "Attempts are stopped for a task although it has room, or will have.";
    PreemptsAgainAtOnce, "preempts-again-at-once",
        "An attempt is preempted however short a time ago it was placed, and however often its task was.";
    SharesBelowPart, "shares-below-part",
        "A task takes the room of namespaces that have no more than their part.";
    SharesIgnoreTree, "shares-ignore-tree",
        "Which namespaces stand above others makes no difference to who may take the room of whom.";
    SharesRoundAndRound, "shares-round-and-round",
        "A task takes the room of others for its namespace, however much that has.";
    ShareUnasked, "share-unasked",
        "Nobody looks for room that others have beyond their part.";
    ClaimIgnored, "claim-ignored",
        "Room that is kept for a task is given to others.";
    GangRoomInPart, "gang-room-in-part",
        "Others are stopped for a whole gang, and room is kept for its first member.";
    MovesCountedByLeader, "moves-counted-by-leader",
        "How many moves of a rebalance were begun, its leader remembers, and nobody else.";
    MovesTaskTwice, "moves-task-twice",
        "A rebalance moves a task that it has moved before.";
    MoveKeepsNoRoom, "move-keeps-no-room",
        "An attempt is stopped to go on elsewhere, and no room is kept for it there.";
    ReservationIgnored, "reservation-ignored",
        "Nodes that are set aside for a reservation take what does not ask for it.";
    ReservationEarly, "reservation-early",
        "A reservation begins whenever its leader looks, whatever was agreed.";
    ReservationNeverOver, "reservation-never-over",
        "Nodes stay set aside when the time of their reservation is over.";
    CountedByBestAlternative, "counted-by-best-alternative",
        "What an attempt takes is counted as the first of the alternatives of its task, whichever it was given.";
    LaterAlternativeFirst, "later-alternative-first",
        "A task is placed by the last of its alternatives for which there is room.";
    AtMostIgnored, "at-most-ignored",
        "A node takes more elements of a step than that allows in one place.";
    ApartOneWay, "apart-one-way",
        "Who stays apart from a group is asked when it comes, and not when one of the group comes to it.";
    PlaceIgnored, "place-ignored",
        "A task goes to a node of a region or a cluster that its job does not allow.";
    TaintIgnored, "taint-ignored",
        "A task goes to a node with a taint that it does not tolerate.";
    PoolIgnored, "pool-ignored",
        "A task goes to a node of a pool that it does not ask for.";
    WhereIgnored, "where-ignored",
        "A task goes to a node for which its condition does not hold.";
    WhereUndecidedHolds, "where-undecided-holds",
        "A condition that cannot be decided, for want of a label, counts as one that holds.";
    RoomFreedByOutcome, "room-freed-by-outcome",
        "An attempt's outcome frees its room, before its agent says that the processes are gone.";
    TerminalLeft, "terminal-left",
        "A late report moves an attempt, and its task, out of a terminal state.";
    ReplacedCopyCounts, "replaced-copy-counts",
        "The outcome of a copy that was replaced counts as that of its task.";
    StopRewritesOutcome, "stop-rewrites-outcome",
        "An attempt that ended before it heard of its stop counts as stopped.";
    OneSuccessIsEnough, "one-success-is-enough",
        "A step is released as soon as one element of what it needs has succeeded.";
    PlacedAfterCancel, "placed-after-cancel",
        "Tasks that are in the queue when their run is cancelled stay there and are placed.";
    CancelLeavesRunning, "cancel-leaves-running",
        "The cancel of a run does not stop its attempts.";
    PauseIgnored, "pause-ignored",
        "Tasks of a paused run stay in the queue and are placed.";
    ConditionIgnored, "condition-ignored",
        "A task whose condition is false runs all the same.";
    FanOutTwice, "fan-out-twice",
        "What is decided of a step is decided anew when it is said again, and its elements double.";
    FallbackLost, "fallback-lost",
        "A fallback is skipped like everything else that waits for what has failed.";
    UndoTwice, "undo-twice",
        "What has been undone is not remembered, and is undone again.";
    UndoForwards, "undo-forwards",
        "What ended first is undone first.";
    FinallyCancelled, "finally-cancelled",
        "The cancel of a run also ends what would undo it, and what comes at its end in any case.";
    RoomLeaks, "room-leaks",
        "The room of what comes after the work of a run is not given back.";
    OnFailureIgnored, "on-failure-ignored",
        "A task that fails for good does not cancel its run, although `on_failure = cancel`.";
    AtMostOnceTwice, "at-most-once-twice",
        "An `at_most_once` task whose copy was lost is placed again.";
    LossBurnsTry, "loss-burns-try",
        "The loss of a node counts as a failed try of the task.";
    LossesUnbounded, "losses-unbounded",
        "A task may lose any number of nodes.";
    BackoffSkipped, "backoff-skipped",
        "A task that failed is tried again at once.";
    OutageCountsAsServed, "outage-counts-as-served",
        "Served time goes on by the wall clock while nobody leads.";
    DedupeEndsWithTerm, "dedupe-ends-with-term",
        "A request id is not recognised any more once another term has begun.";
    HashOrderInApply, "hash-order-in-apply",
        "The attempts of a lost node change in the order of a hash map.";

    TokenRepeats, "token-repeats",
        "Attempts that are placed one revision after the other share a token.";
    CancelPanics, "cancel-panics",
        "The cancel of a run that has ended is more than `apply` can take.";

    TimeoutFiresTwice, "timeout-fires-twice",
        "A timeout that has fired fires again, as long as its attempt has not ended.";
    StaleResultCounts, "stale-result-counts",
        "What a copy says of its end counts for its task's newest copy, whatever the token it came with.";
    ResultUnmeasured, "result-unmeasured",
        "A result of any size is kept.";
    ErrorTriedAgain, "error-tried-again",
        "An attempt that reports an error that is never to be tried again is followed by another.";
    QuarantineSkipped, "quarantine-skipped",
        "A task is placed again however many nodes went away while it ran there.";

    // What the leader must decide with care.
    PriorityIgnored, "priority-ignored",
        "Tasks wait in the order of their submission, whatever their priority.";
    PriorityKept, "priority-kept",
        "A run that is given another priority stays where it stood in the queue.";
    TimeoutIgnored, "timeout-ignored",
        "What runs for longer than its job allows is left alone.";
    QueuedForEver, "queued-for-ever",
        "A task that nobody can place waits for longer than its job allows.";
    DeadlineIgnored, "deadline-ignored",
        "A run goes on for longer than its job allows.";
    HashOrderInPlan, "hash-order-in-plan",
        "A plan looks at the nodes in the order of a hash map.";
    BrakeOff, "brake-off",
        "All leases that have run out end at once, however many nodes fell silent together.";
    ExpiryIgnoresDrift, "expiry-ignores-drift",
        "A lease ends when the agent's own deadline passes, without room for drift and for the kill.";
    NoTenureWait, "no-tenure-wait",
        "A new leader takes a node that it has not heard of for one renewal's time for lost.";
    LostWithSession, "lost-with-session",
        "The end of an agent's session ends its lease.";
    RenewalWithoutQuorum, "renewal-without-quorum",
        "A renewal is confirmed without a round of the quorum.";
    RelayRenews, "relay-renews",
        "A replica that passes sessions on confirms their renewals itself.";
    CondemnedRenewed, "condemned-renewed",
        "A lease that has missed renewals is condemned early, then renewed, and ends all the same.";

    // What consensus must keep.
    GoneUnasked, "gone-unasked",
        "A follower takes the end of any replica's connection for the end of the leader's process.";
    ResumeSkipsRow, "resume-skips-row",
        "A transfer of a snapshot that goes on leaves out the row that comes next.";
    VoteNotSynced, "vote-not-synced",
        "A vote is given before it is durable.";
    VoteBlind, "vote-blind",
        "A vote is given without a look at the candidate's log.";
    VoteOnce, "vote-once",
        "A replica takes no part in any election but the first.";
    InstallRefused, "install-refused",
        "A replica that needs a snapshot refuses each at its end.";
    FeaturesForgotten, "features-forgotten",
        "The leader never enables what all members can do.";
    LogAckedBeforeSync, "log-acked-before-sync",
        "Entries of the log are reported durable before they are.";
    TruncateSkipped, "truncate-skipped",
        "Entries that conflict with the leader's log are not cut off on disk.";
    RowsHeldPastPurge, "rows-held-past-purge",
        "A follower keeps rows back in memory while the log they come from is cut off.";
    RequestsLostInSnapshot, "requests-lost-in-snapshot",
        "Whoever installs a snapshot forgets the request ids in it.";
    FeaturesUnasked, "features-unasked",
        "The leader enables what it can do itself, whatever the others can.";
    InstallKeepsRows, "install-keeps-rows",
        "Whoever installs a snapshot keeps, on disk, the rows that are not in it.";
    HistoriesUncompared, "histories-uncompared",
        "A replica whose history differs from the majority's takes no notice.";
    OldImageAdmitted, "old-image-admitted",
        "A store whose count of starts went back is let in as if it remembered what it promised.";

    // What a change of who takes part must not do.
    RemovalCostsQuorum, "removal-costs-quorum",
        "A replica is removed although too few of the others answer.";
    PromotedUnready, "promoted-unready",
        "A replica gets a vote however little of the log it has.";
    RemovedStays, "removed-stays",
        "A replica that is told of its removal goes on.";
    VoteAskedOnce, "vote-asked-once",
        "A replica that has joined asks for its vote once, and leaves it at that.";
    RemovedIdReused, "removed-id-reused",
        "The id of a replica that was removed is given to the next one.";

    // What restored data must not forget.
    RestoreBaseKept, "restore-base-kept",
        "Revisions of restored data go on where the backup ended.";
    RestoreKeepsIncarnation, "restore-keeps-incarnation",
        "Restored data calls itself the life of the data that it was before.";
    RestoreUnfenced, "restore-unfenced",
        "Restored data places `fenced` tasks at once, while copies from before may run.";
    RestoreReleasesOnce, "restore-releases-once",
        "Restored data places `at_most_once` tasks that may have been started after the backup.";
    RestoreIgnoresClaims, "restore-ignores-claims",
        "Restored data does not take in what agents run and it does not know.";
    RestoreForgetsNeeds, "restore-forgets-needs",
        "A task that was taken in and is lost is placed again before what it needs has succeeded.";
    RecoverDropsTail, "recover-drops-tail",
        "The survivor of a lost quorum goes on without the entries that it had not applied.";

    // What an operator must be able to rely on.
    CordonIgnored, "cordon-ignored",
        "A task goes to a node that takes no new work.";
    DrainAllAtOnce, "drain-all-at-once",
        "All elements of a step are moved off a drained node at once.";
    DrainSkipsWait, "drain-skips-wait",
        "What runs on a drained node is moved at once, whatever time it was given to end by itself.";
    DrainMovesOnce, "drain-moves-once",
        "A drain moves `at_most_once` tasks as well.";
    DrainedBurnsTry, "drained-burns-try",
        "An attempt that was moved off a drained node counts as a failed try of its task.";
    DrainKeepsEnd, "drain-keeps-end",
        "A drain without an end keeps the end of the one whose place it takes.";
    ScopeDrainMissesNewcomer, "scope-drain-misses-newcomer",
        "A node that registers in a region or cluster that takes no new work is given some.";
    StayIgnored, "stay-ignored",
        "A task that stays with its region is placed elsewhere once that is lost.";
    SpillEarly, "spill-early",
        "A task that goes elsewhere some time after the loss of its region goes at once.";
    SpillNever, "spill-never",
        "A task that goes elsewhere some time after the loss of its region never goes.";
    StayForgotten, "stay-forgotten",
        "A task that stays with its region is not placed there again once that has returned.";
    UndrainFreesAll, "undrain-frees-all",
        "A region or cluster that is given back takes those of its nodes along that were taken out of service by themselves.";
    ForgetTooSoon, "forget-too-soon",
        "A lost node is forgotten before its agent has had the time to kill.";

    // What a replica must do about the room on its disk.
    ReserveIgnored, "reserve-ignored",
        "New work is taken however little room the leader's disk has left.";
    LaneStaysShut, "lane-stays-shut",
        "Once new work was refused for want of room, it is refused for ever.";

    // What a replica must not say.
    AnswersSwapped, "answers-swapped",
        "Callers whose commands share an entry are given each other's answers.";
    ReadWithoutBarrier, "read-without-barrier",
        "A read is answered from the state at hand, by any replica.";
    DeposedLeaderReads, "deposed-leader-reads",
        "A replica that takes itself for the leader answers reads without asking the quorum.";
    ReadHangs, "read-hangs",
        "Once there has been a second leader, nothing is answered that reads.";
    CancelAckedEarly, "cancel-acked-early",
        "A cancel is acknowledged when it is proposed, not when it is applied.";
    ReportsAckedEarly, "reports-acked-early",
        "An agent's reports are acknowledged when they are proposed, not when they are applied.";
    PageSkipsRow, "page-skips-row",
        "The page of a list that follows another begins one row late.";
    WatchSkipsOnResume, "watch-skips-on-resume",
        "A watch that is resumed goes on at the present, without what happened meanwhile.";
    WatchOneRow, "watch-one-row",
        "Of several events of one revision, a watch tells the first.";

    // What an agent must not do.
    OldSetStopsNewWork, "old-set-stops-new-work",
        "A desired set from before an attempt was placed stops that attempt.";
    OldSetStartsOldWork, "old-set-starts-old-work",
        "A desired set older than an acknowledgement starts again what has ended.";
    EndsForgotten, "ends-forgotten",
        "What ends while its agent has no lease is told as lost, not as it ended.";
    SilenceUnheard, "silence-unheard",
        "An attempt that says nothing for longer than its job allows is left alone.";
    FenceAsksGently, "fence-asks-gently",
        "At the end of the lease, `fenced` attempts are asked to stop instead of being killed.";

    // What a second try of a run must keep.
    RestartRunsAllAgain, "restart-runs-all-again",
        "A second try of a run runs again what had succeeded.";
    RestartForgetsResults, "restart-forgets-results",
        "What a second try of a run keeps has no result any more.";
    RestartKeepsWhatWaits, "restart-keeps-what-waits",
        "A second try of a run keeps what waits for a task that is run again.";
    SubRunStartedTwice, "sub-run-started-twice",
        "A run is begun for a task that has one.";
    CancelStopsAtParent, "cancel-stops-at-parent",
        "The cancel of a run does not go down to the runs within it.";
    ChildEndLost, "child-end-lost",
        "The end of a run within another does not settle the task that it is.";
    ChildRetriedWithoutBound, "child-retried-without-bound",
        "A run within another that failed is followed by another, however many failed before.";
    ArchivedTooSoon, "archived-too-soon",
        "An attempt that may still run does not keep its run in memory.";

    // What steps must not do whose elements get their rows in pieces.
    RestRepeatsRow, "rest-repeats-row",
        "The rows that come next begin with the last one that is there.";

    // What the simulator itself must not do.
    Canary, "canary",
        "Every run is called wrong at its end: whoever runs the simulator must get to hear of it.";
}

/// No bug has that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownBug(String);

impl fmt::Display for UnknownBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Bug::ALL.map(Bug::name).join(", ");
        write!(f, "no bug is called {:?}; there are {names}", self.0)
    }
}

impl std::error::Error for UnknownBug {}

impl FromStr for Bug {
    type Err = UnknownBug;

    fn from_str(name: &str) -> Result<Self, UnknownBug> {
        Self::ALL.into_iter().find(|bug| bug.name() == name).ok_or_else(|| UnknownBug(name.to_owned()))
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `FooBar` as `foo-bar`.
    fn kebab(bug: Bug) -> String {
        let mut name = String::new();
        for letter in format!("{bug:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    #[test]
    fn every_bug_is_found_under_its_name_and_says_what_it_is() {
        for bug in Bug::ALL {
            assert_eq!(bug.name(), kebab(bug));
            assert_eq!(bug.name().parse(), Ok(bug));
            assert!(bug.what().ends_with('.'), "{bug}");
        }
        assert!("no-such-bug".parse::<Bug>().is_err());
    }
}
