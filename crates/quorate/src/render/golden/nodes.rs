//! What is said of nodes.

use quorate_proto::v1;

use super::{check, resources};
use crate::render::forecast::LossForecast;
use crate::render::join_token::{JoinTokenCreated, JoinTokenList, JoinTokenRevoked, NodeAdmissionSet};
use crate::render::node::{NodeCordoned, NodeDrained, NodeForgotten, NodeList};
use crate::render::node_status::NodeStatus;
use crate::render::region::RegionList;
use crate::render::scope::{ScopeRestored, ScopeWithdrawn};
use crate::render::{Paint, View as _};

fn node() -> v1::Node {
    v1::Node {
        gpus: vec![],
        offer: Some(v1::Offer {
            pool: "spot".into(),
            taints: vec![v1::Label { key: "spot".into(), value: "yes".into() }],
            price: Some(35_000),
        }),
        name: "eu-a-1".into(),
        region: "eu".into(),
        cluster: "eu-a".into(),
        status: v1::NodeStatus::Up.into(),
        cordoned: true,
        capacity: resources(8000, 16 << 30),
        used: resources(2000, 1 << 30),
        epoch: 12,
        attempts: 2,
        labels: [
            ("disk", "ssd"),
            ("quorate.dev/arch", "x86_64"),
            ("quorate.dev/device.gpu", "2"),
            ("quorate.dev/kernel", "6.1.0"),
            ("quorate.dev/os", "debian"),
            ("quorate.dev/os-version", "12"),
        ]
        .map(|(key, value)| v1::Label { key: key.into(), value: value.into() })
        .into(),
        registered_at_ms: 1_700_000_000_000,
        uuid: "00000000000000000000000000000001".into(),
        heard_ms_ago: Some(850),
        withdrawal: Some(v1::Withdrawal {
            by: "operator:ann".into(),
            at_ms: 1_700_000_000_000,
            reason: "a new disk".into(),
            drain_in_ms: Some(600_000),
            ends_in_ms: Some(7_200_000),
        }),
        join_token: "00010203040506ab".into(),
        reservation: "spring".into(),
        cluster_withdrawal: None,
        region_withdrawal: Some(v1::Withdrawal {
            by: "operator:bob".into(),
            at_ms: 1_700_000_000_000,
            reason: "power".into(),
            drain_in_ms: Some(0),
            ends_in_ms: None,
        }),
    }
}

#[test]
fn node_list() {
    let list = NodeList { nodes: vec![node().into()], revision: 57 };
    check("node_list", &list);
    assert!(list.human(Paint::Never).ends_with("850ms ago  x86_64, debian 12, 2 gpu  disk=ssd  spot=yes"));
    check("node_cordoned", &NodeCordoned { node: "n".into(), cordoned: true, revision: 58 });
    check("node_drained", &NodeDrained { node: "n".into(), wait_ms: 600_000, for_ms: Some(7_200_000), revision: 58 });
    let drained = ScopeWithdrawn {
        scope: "region",
        name: "eu".into(),
        drain: true,
        wait_ms: 600_000,
        for_ms: Some(7_200_000),
        revision: 58,
    };
    check("scope_withdrawn", &drained);
    check("scope_restored", &ScopeRestored { scope: "cluster", name: "eu-a".into(), revision: 59 });
    check("node_forgotten", &NodeForgotten { node: "n".into(), revision: 58 });
}

#[test]
fn node_status() {
    let attempt = |index: u32, hold: &str, text: &str| v1::NodeAttempt {
        gpus: None,
        run_id: "0123456789abc".into(),
        namespace: "acme".into(),
        job: "nightly".into(),
        task: "score".into(),
        index,
        count: 4,
        number: 1,
        state: v1::AttemptState::Running.into(),
        on_node_loss: v1::OnNodeLoss::AtMostOnce.into(),
        resources: resources(1000, 512 << 20),
        since_ms: 1_700_000_000_000,
        hold: hold.into(),
        hold_text: text.into(),
        usage: (index == 0).then(super::live),
    };
    let response = v1::GetNodeResponse {
        node: Some(node()),
        attempts: vec![attempt(0, "STARTED_ONCE", "it is at_most_once"), attempt(1, "", "")],
        lease_ms: 15_000,
        forget_in_ms: None,
        revision: 57,
        usage: Some(super::usage_sum()),
    };
    let status = NodeStatus::from(response.clone());
    check("node_status", &status);
    let expected = "\
Node eu-a-1 of eu/eu-a
State      up, draining for another 2h00m, region draining, reserved for spring
Drained    2023-11-14T22:13:20Z by operator:ann: a new disk
Moves      in 10m00s: until then attempts may end by themselves
Until      in 2h00m it takes work again by itself
Drained    its region 2023-11-14T22:13:20Z by operator:bob: power
Lease      epoch 12, of 15.0s, heard 850ms ago
Registered 2023-11-14T22:13:20Z
Admitted   by join token 00010203040506ab
Pool       spot
Price      0.35 for an hour
Taints     spot=yes: it takes what tolerates them
Labels     disk=ssd
Attributes arch=x86_64, device.gpu=2, kernel=6.1.0, os=debian, os-version=12
CPU        [######..................] 2/8 (25%)
Memory     [#.......................] 1Gi/16Gi (6%)
Attempts   2
Usage      850m cores, 12Mi of memory, 3.5s of CPU time in 1 of 2 attempts, heard up to 2.1s ago

RUN            TASK              ATTEMPT  STATE    SINCE                 PROMISE       CPU  CPU USED  MEMORY  MEM USED  HEARD     WAITS FOR
0123456789abc  nightly/score[0]  1        running  2023-11-14T22:13:20Z  at_most_once  1    850m      512Mi   12Mi      2.1s ago  it is at_most_once
0123456789abc  nightly/score[1]  1        running  2023-11-14T22:13:20Z  at_most_once  1    -         512Mi   -         -         moved";
    assert_eq!(status.human(Paint::Never), expected);
    assert_eq!(status.progress(), "node eu-a-1: 2 attempts left (1: about to be moved; 1: it is at_most_once)");
    let lost = v1::Node { status: v1::NodeStatus::Lost.into(), attempts: 0, ..node() };
    let lost = v1::GetNodeResponse { node: Some(lost), attempts: vec![], forget_in_ms: Some(2_500), ..response };
    let text = NodeStatus::from(lost).human(Paint::Never);
    assert!(
        text.contains("State      lost, drained for another 2h00m, region drained, reserved for spring\n"),
        "{text}"
    );
    assert!(text.contains("Forget     not before 2.5s have passed: what it ran may not have ended\n"), "{text}");
}

#[test]
fn join_tokens() {
    let label = || vec![v1::Label { key: "pool".into(), value: "gpu".into() }];
    let response = v1::CreateJoinTokenResponse { id: "00010203040506ab".into(), revision: 58 };
    let request = v1::CreateJoinTokenRequest {
        ttl_ms: 86_400_000,
        uses_max: 3,
        region: "eu".into(),
        labels: label(),
        ..v1::CreateJoinTokenRequest::default()
    };
    let created = JoinTokenCreated::new(response, request, "qjt-0123".into());
    check("join_token_created", &created);
    assert!(created.human(Paint::Never).ends_with(":\nqjt-0123"), "the secret has a line of its own");
    let token = |expires_in_ms| v1::JoinToken {
        id: "00010203040506ab".into(),
        by: "operator:ann".into(),
        at_ms: 1_700_000_000_000,
        expires_in_ms,
        uses: 1,
        uses_max: 3,
        region: "eu".into(),
        cluster: String::new(),
        labels: label(),
    };
    let admission = v1::NodeAdmission::Token.into();
    let list = v1::ListJoinTokensResponse { tokens: vec![token(90_000), token(0)], admission, revision: 58 };
    let list = JoinTokenList::from(list);
    check("join_token_list", &list);
    let expected = "\
New nodes need a join token.

TOKEN             EXPIRES   USES  REGION  CLUSTER  MADE                  BY            LABELS
00010203040506ab  in 1m30s  1/3   eu      any      2023-11-14T22:13:20Z  operator:ann  pool=gpu
00010203040506ab  expired   1/3   eu      any      2023-11-14T22:13:20Z  operator:ann  pool=gpu";
    assert_eq!(list.human(Paint::Never), expected);
    check("join_token_revoked", &JoinTokenRevoked { id: "00010203040506ab".into(), revision: 59 });
    check("node_admission_set", &NodeAdmissionSet { node_admission: "token".into(), revision: 57 });
}

#[test]
fn region_list() {
    let cluster = |name: &str, region: &str| v1::ClusterSummary {
        name: name.into(),
        region: region.into(),
        nodes_up: 2,
        nodes_lost: 1,
        capacity: resources(8000, 16 << 30),
        used: resources(2000, 1 << 30),
        attempts: 3,
        withdrawal: None,
        region_withdrawal: (region == "eu").then(|| v1::Withdrawal { drain_in_ms: Some(0), ..Default::default() }),
    };
    let replica = |id, region: &str| v1::ReplicaSummary {
        id,
        region: region.into(),
        voter: id < 3,
        leader: id == 2,
        ..v1::ReplicaSummary::default()
    };
    let clusters = vec![cluster("us-1", "us"), cluster("eu-1", "eu"), cluster("us-2", "us")];
    let clusters = v1::ListClustersResponse { clusters, revision: 57 };
    let replicas = vec![replica(1, "eu"), replica(2, "us"), replica(3, "asia")];
    let replicas = v1::ListReplicasResponse { replicas, ..v1::ListReplicasResponse::default() };
    let list = RegionList::new(clusters, replicas);
    check("region_list", &list);
    let expected = "\
REGION  STATUS      CLUSTERS  NODES UP  NODES LOST  CPU   MEMORY    GPU  ATTEMPTS  REPLICAS
asia    in service  0         0         0           0/0   0B/0B     0/0  0         1
eu      draining    1         2         1           2/8   1Gi/16Gi  0/0  3         1
us      in service  2         4         2           4/16  2Gi/32Gi  0/0  6         1 (leads)";
    assert_eq!(list.human(Paint::Never), expected);
}

#[test]
fn loss_forecast() {
    let moved = |cluster: &str, tasks| v1::MovedTasks { region: "us".into(), cluster: cluster.into(), tasks };
    let step = |task: &str, moved: Vec<v1::MovedTasks>, waiting, why: Option<&str>| v1::StepForecast {
        run_id: "0123456789abc".into(),
        namespace: "acme".into(),
        job: "nightly".into(),
        task: task.into(),
        moved_ms: if moved.is_empty() { 0 } else { 36_000 },
        moved,
        kept: 0,
        failed: 0,
        waiting,
        staying: if task == "home" { waiting } else { 0 },
        reason: why.map(|why| v1::WaitReason { text: why.into(), reason: None }),
    };
    let answer = v1::ForecastLossResponse {
        nodes: 6,
        tasks: 45,
        moved: 40,
        kept: 0,
        failed: 0,
        waiting: 5,
        staying: 3,
        settled_ms: 36_000,
        brake: "6 of 6 nodes of cluster eu-1 fell silent at once".into(),
        is_whole: false,
        steps: vec![
            step("home", vec![], 3, Some("region eu is lost")),
            step("bound", vec![], 2, Some("no node fits")),
            step("score", vec![moved("us-1", 30), moved("us-2", 10)], 0, None),
        ],
        revision: 57,
    };
    let forecast = LossForecast::new("region", "eu".into(), answer);
    check("loss_forecast", &forecast);
    let expected = "\
If region eu went away now: 6 nodes, 45 tasks on them

     40  placed elsewhere, all of them within 36.0s
      2  wait for room or for a place that they may go to
      3  stay with their region, as their jobs say, and wait until it is back

The brake would work: 6 of 6 nodes of cluster eu-1 fell silent at once.

A limit ended the look ahead before everything was known.

RUN            TASK           MOVED TO                WITHIN  WAITING  STAYING  KEPT  FAILED  WHY
0123456789abc  nightly/home                                   0        3        0     0       region eu is lost
0123456789abc  nightly/bound                                  2        0        0     0       no node fits
0123456789abc  nightly/score  30 us/us-1, 10 us/us-2  36.0s   0        0        0     0";
    assert_eq!(forecast.human(Paint::Never), expected);
}
