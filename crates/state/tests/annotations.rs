//! Words left at runs: what stands there, and what is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    Command, Digest, Driver, Entry, Event, EventRow, Item, JobSpec, Millis, OnFailure, OnNodeLoss, Place, Principal,
    Rejection, Reply, RequestId, RequestKey, Resources, Retry, Revision, RunId, Settings, Stamp, State, TaskSpec, Uuid,
    apply,
};

const RUN: RunId = RunId(1);

struct Cluster {
    state: State,
    events: Vec<EventRow>,
}

impl Cluster {
    /// One run, and room for two annotations of four bytes.
    fn new(requests_max: u64) -> Self {
        let mut cluster = Self { state: State::default(), events: Vec::new() };
        let settings =
            Settings { annotations_per_run_max: 2, annotation_value_bytes_max: 4, requests_max, ..Settings::default() };
        cluster.run(Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings: Box::new(settings) }).unwrap();
        cluster.run(Command::CreateNamespace { namespace: "acme".parse().unwrap() }).unwrap();
        let task = TaskSpec {
            gpu_models: vec![],
            alternatives: vec![],
            name: "only".parse().unwrap(),
            driver: Driver::Noop,
            argv: Vec::new(),
            env: BTreeMap::new(),
            needs: Vec::new(),
            count: 1,
            resources: Resources { cpu_milli: 100, memory_bytes: 1 << 20, gpu_milli: 0 },
            retry: Retry::default(),
            run_timeout_ms: None,
            queued_timeout_ms: None,
            silent_timeout_ms: None,
            place: Place::default(),
            on_node_loss: OnNodeLoss::AtLeastOnce,
            role: quorate_state::Role::Work,
            templated: false,
            when: None,
            each: None,
            on_region_loss: None,
            accept_failed: 0,
            sub_run: None,
            gang: None,
            preemptible: true,
        };
        let spec = Arc::new(JobSpec {
            namespace: "acme".parse().unwrap(),
            name: "job".parse().unwrap(),
            priority: 50,
            labels: BTreeMap::new(),
            on_failure: OnFailure::Finish,
            timeout_ms: None,
            tasks: vec![task],
            params: std::collections::BTreeMap::new(),
            result: std::collections::BTreeMap::new(),
        });
        cluster.run(Command::SubmitJob { run: RUN, spec, spec_digest: Digest([1; 32]) }).unwrap();
        cluster
    }

    fn run(&mut self, command: Command) -> Result<Reply, Rejection> {
        self.run_as(None, command)
    }

    fn run_as(&mut self, request: Option<RequestKey>, command: Command) -> Result<Reply, Rejection> {
        let revision = Revision(self.state.revision().0 + 1);
        let stamp = Stamp { wall: Millis(revision.0), term: 1, elapsed_ms: revision.0 };
        let item = Item { principal: Principal::anonymous_local(), request, command };
        let applied = apply(&self.state, revision, &Entry { stamp, items: vec![item] });
        self.state = applied.next;
        self.events = applied.events;
        assert_eq!(self.state.check(), Vec::<String>::new());
        applied.replies.into_iter().next().unwrap()
    }

    fn annotate(&mut self, key: &str, value: &str) -> Result<Reply, Rejection> {
        self.run(annotate(key, value))
    }

    fn annotations(&self) -> Vec<(&str, &str)> {
        self.state.annotations_of(RUN).map(|annotation| (annotation.key.as_str(), &*annotation.value)).collect()
    }
}

fn annotate(key: &str, value: &str) -> Command {
    Command::AnnotateRun { run: RUN, key: key.parse().unwrap(), value: value.into() }
}

fn request(id: &str) -> Option<RequestKey> {
    let namespace = Some("acme".parse().unwrap());
    Some(RequestKey { id: RequestId(id.into()), namespace, digest: Digest([7; 32]) })
}

#[test]
fn a_value_replaces_the_one_under_its_key_and_each_change_is_an_event() {
    let mut cluster = Cluster::new(10);
    cluster.annotate("b", "two").unwrap();
    cluster.annotate("a", "one").unwrap();
    let reply = cluster.annotate("b", "2").unwrap();
    assert_eq!(reply, Reply::Annotated { revision: cluster.state.revision() });
    assert_eq!(cluster.annotations(), [("a", "one"), ("b", "2")]);
    let events: Vec<&Event> = cluster.events.iter().map(|row| &row.event).collect();
    assert_eq!(events, [&Event::RunAnnotated { run: RUN, key: "b".parse().unwrap() }]);
    let annotation = cluster.state.annotation(RUN, &"b".parse().unwrap()).unwrap();
    assert_eq!((annotation.at, &annotation.principal), (cluster.state.meta().now, &Principal::anonymous_local()));
}

#[test]
fn a_run_has_no_more_annotations_than_it_may_and_they_can_still_change() {
    let mut cluster = Cluster::new(10);
    cluster.annotate("a", "1").unwrap();
    cluster.annotate("b", "2").unwrap();
    let refused = cluster.annotate("c", "3").unwrap_err();
    assert!(matches!(refused, Rejection::LimitReached { limit: "annotations_per_run_max", max: 2, .. }), "{refused:?}");
    cluster.annotate("a", "4").unwrap();
    assert_eq!(cluster.annotations(), [("a", "4"), ("b", "2")]);
}

#[test]
fn a_value_that_is_too_long_and_a_run_that_does_not_exist_are_refused() {
    let mut cluster = Cluster::new(10);
    let refused = cluster.annotate("a", "12345").unwrap_err();
    assert!(refused.to_string().contains("annotation_value_bytes_max is 4"), "{refused}");
    let other = Command::AnnotateRun { run: RunId(2), key: "a".parse().unwrap(), value: "1".into() };
    assert_eq!(cluster.run(other), Err(Rejection::UnknownRun(RunId(2))));
    assert!(cluster.annotations().is_empty() && cluster.events.is_empty());
}

#[test]
fn a_repeated_request_does_not_take_back_what_was_said_since() {
    let mut cluster = Cluster::new(10);
    let first = cluster.run_as(request("r"), annotate("a", "old")).unwrap();
    cluster.annotate("a", "new").unwrap();
    assert_eq!(cluster.run_as(request("r"), annotate("a", "old")), Ok(first));
    assert_eq!(cluster.annotations(), [("a", "new")]);
}

#[test]
fn a_request_that_could_not_be_remembered_is_refused() {
    let mut cluster = Cluster::new(1);
    cluster.run_as(request("r"), annotate("a", "1")).unwrap();
    let refused = cluster.run_as(request("s"), annotate("a", "2")).unwrap_err();
    assert!(matches!(refused, Rejection::LimitReached { limit: "requests_max", .. }), "{refused:?}");
    assert_eq!(cluster.annotations(), [("a", "1")]);
}
