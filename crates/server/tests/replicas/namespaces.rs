//! Namespaces as tenants, over the API: what is set of them, what is told of them, and who may.

use quorate_client::{Client, Error};
use quorate_proto::{ApiError, v1};

use crate::agent::{Agent, hello};
use crate::cluster::{Cluster, eventually};
use crate::jobs::{chain, run, submit};

async fn all_is_enabled(client: &Client) {
    eventually("all features are enabled", || async {
        let known = client.list_replicas(v1::ListReplicasRequest {}).await.ok()?.features;
        known.iter().all(|feature| feature.since_revision.is_some()).then_some(())
    })
    .await;
}

fn cores(cpu_milli: u64) -> Option<v1::Amounts> {
    Some(v1::Amounts { cpu_milli: Some(cpu_milli), ..v1::Amounts::default() })
}

fn create(name: &str, share: v1::ShareChange, id: &str) -> v1::SetNamespaceRequest {
    v1::SetNamespaceRequest { namespace: name.into(), request_id: id.into(), share: Some(share), create: true }
}

async fn shown(client: &Client, name: &str) -> v1::NamespaceSummary {
    let request = v1::GetNamespaceRequest { namespace: name.into() };
    client.get_namespace(request).await.unwrap().namespace.unwrap()
}

#[tokio::test]
async fn a_namespace_is_told_with_what_it_holds_and_may_hold() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    all_is_enabled(&client).await;
    let top = v1::ShareChange { maximum: cores(4_000), ..v1::ShareChange::default() };
    client.set_namespace(create("top", top.clone(), "1")).await.unwrap();
    client.set_namespace(create("top", top.clone(), "1")).await.expect("the same request again");
    let again = client.set_namespace(create("top", top, "other")).await;
    assert!(matches!(again, Err(Error::Api(ApiError::Exists { .. }))), "{again:?}");
    let below = || v1::ShareChange { parent: Some("top".into()), ..v1::ShareChange::default() };
    client.set_namespace(create("leaf", v1::ShareChange { weight: Some(300), ..below() }, "2")).await.unwrap();
    client.set_namespace(create("other", below(), "3")).await.unwrap();

    let mut agent = Agent::connect(&cluster.replicas[0].bound.agent, hello("n1", 1)).await.unwrap();
    let mut spec = chain("job", &["a"]);
    spec.namespace = "leaf".into();
    client.submit_job(submit(spec, "")).await.unwrap();
    let assignment = agent.assignment().await;
    let (top, leaf) = (shown(&client, "top").await, shown(&client, "leaf").await);
    let used = leaf.used.unwrap();
    assert!(used.cpu_milli > 0 && top.used == Some(used) && leaf.used_alone == Some(used));
    assert_eq!(top.used_alone, Some(v1::Resources::default()));
    // The only one that wants something has all of it.
    assert_eq!((top.fair_ppm, leaf.fair_ppm, shown(&client, "other").await.fair_ppm), (1_000_000, 1_000_000, 0));
    assert!(leaf.used_ppm > 0);
    let response = client.get_namespace(v1::GetNamespaceRequest { namespace: "top".into() }).await.unwrap();
    let names: Vec<&str> = response.below.iter().map(|one| one.name.as_str()).collect();
    assert_eq!((names, response.fairness.unwrap().half_life_ms), (vec!["leaf", "other"], 600_000));

    // Nothing more of it is placed, and it is told why.
    let nothing = v1::ShareChange { maximum: cores(used.cpu_milli), ..v1::ShareChange::default() };
    let request = v1::SetNamespaceRequest { namespace: "top".into(), share: Some(nothing), ..Default::default() };
    let set = client.set_namespace(request).await.unwrap().namespace.unwrap();
    assert_eq!(set.share.unwrap().maximum, cores(used.cpu_milli));
    let mut spec = chain("more", &["a"]);
    spec.namespace = "other".into();
    let more = client.submit_job(submit(spec, "")).await.unwrap().run_id;
    let why = v1::ExplainTaskRequest { run: run(&more), task: "a".into(), index: 0 };
    let reason = client.explain_task(why).await.unwrap().reason.unwrap();
    assert!(reason.text.starts_with("quota of namespace top: "), "{}", reason.text);
    let Some(v1::wait_reason::Reason::OverQuota(over)) = reason.reason else { panic!("{reason:?}") };
    assert_eq!((over.namespace.as_str(), over.resource.as_str(), over.used), ("top", "cpu", used.cpu_milli));
    assert_eq!((shown(&client, "top").await.waiting, shown(&client, "other").await.waiting), (1, 1));
    // What ends makes room.
    agent.finish(&assignment).await;
    assert_eq!(agent.assignment().await.job, "more");
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_what_helps() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    all_is_enabled(&client).await;
    let set = |share: v1::ShareChange| {
        client.set_namespace(v1::SetNamespaceRequest {
            namespace: "default".into(),
            share: Some(share),
            ..Default::default()
        })
    };
    let refused = |result: Result<v1::SetNamespaceResponse, Error>| match result {
        Err(Error::Api(error)) => error,
        other => panic!("{other:?}"),
    };
    let own = v1::ShareChange { parent: Some("default".into()), ..v1::ShareChange::default() };
    assert!(matches!(refused(set(own).await), ApiError::Invalid(found) if found[0].field == "parent"));
    let unknown = v1::ShareChange { parent: Some("nobody".into()), ..v1::ShareChange::default() };
    assert!(matches!(refused(set(unknown).await), ApiError::NotFound { .. }));
    let malformed = v1::ShareChange { parent: Some("a b".into()), ..v1::ShareChange::default() };
    assert!(matches!(refused(set(malformed).await), ApiError::Invalid(_)));
    let low = v1::ShareChange { guaranteed: cores(2_000), maximum: cores(1_000), ..v1::ShareChange::default() };
    assert!(matches!(refused(set(low).await), ApiError::Invalid(found) if found[0].field == "maximum.cpu"));
    let long = v1::SetFairnessRequest { half_life_ms: Some(1), ..v1::SetFairnessRequest::default() };
    assert!(client.set_fairness(long).await.is_err());
    let off = v1::SetFairnessRequest { half_life_ms: Some(0), ..v1::SetFairnessRequest::default() };
    let fairness = client.set_fairness(off).await.unwrap().fairness.unwrap();
    assert_eq!((fairness.half_life_ms, fairness.overdue_ms), (0, 14_400_000), "what is not said stays");
}

#[tokio::test]
async fn before_shares_are_enabled_the_refusal_names_the_feature() {
    let cluster = Cluster::start_older().await;
    let client = cluster.client();
    let share = v1::ShareChange { weight: Some(3), ..v1::ShareChange::default() };
    let made = client.set_namespace(create("a", share, "1")).await.map(drop).unwrap_err();
    let fair = client.set_fairness(v1::SetFairnessRequest::default()).await.map(drop).unwrap_err();
    for refused in [made, fair] {
        assert!(
            matches!(&refused, Error::Api(ApiError::Precondition { what, why, .. }) if what == "FEATURE" && why.contains("fair-share")),
            "{refused:?}"
        );
    }
    assert_eq!(client.list_namespaces(v1::ListNamespacesRequest {}).await.unwrap().fairness, None);
}
