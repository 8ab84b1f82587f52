//! Features as operators see them: enabled by themselves, and what waits for one says for whom.

use quorate_client::Error;
use quorate_proto::{ApiError, v1};

use crate::agent::{Agent, hello};
use crate::cluster::{Cluster, eventually};
use crate::jobs::{chain, run, submit};

fn cordon(node: &str, cordoned: bool) -> v1::CordonNodeRequest {
    v1::CordonNodeRequest { node: node.into(), cordoned, request_id: String::new() }
}

/// Node-cordon, the first of them.
async fn feature(client: &quorate_client::Client) -> v1::FeatureSummary {
    client.list_replicas(v1::ListReplicasRequest {}).await.unwrap().features.remove(0)
}

#[tokio::test]
async fn a_new_cluster_has_all_features_and_a_cordoned_node_takes_nothing_new() {
    let cluster = Cluster::start(2).await;
    let (client, leader) = (cluster.client(), cluster.leader().await);
    // Whoever is asked may not have applied the first entry yet.
    let enabled = eventually("it is enabled", || async {
        let known = feature(&client).await;
        known.since_revision.map(|_| (known.name, known.waits_for))
    });
    assert_eq!(enabled.await, ("node-cordon".to_owned(), String::new()));

    let refused = client.cordon_node(cordon("n1", true)).await;
    assert!(matches!(refused, Err(Error::Api(ApiError::NotFound { .. }))), "{refused:?}");
    let mut agent = Agent::connect(&cluster.replicas[leader].bound.agent, hello("n1", 1)).await.unwrap();
    client.cordon_node(cordon("n1", true)).await.unwrap();
    let nodes = client.list_nodes(v1::ListNodesRequest::default()).await.unwrap().nodes;
    assert!(nodes[0].cordoned);
    let waiting = client.submit_job(submit(chain("waits", &["one"]), "")).await.unwrap().run_id;
    eventually("it is said why the task waits", || async {
        let request = v1::ExplainTaskRequest { run: run(&waiting), task: "one".into(), index: 0 };
        client.explain_task(request).await.ok()?.reason?.text.contains("1 cordoned").then_some(())
    })
    .await;
    client.cordon_node(cordon("n1", false)).await.unwrap();
    let assignment = agent.assignment().await;
    agent.finish(&assignment).await;
}

#[tokio::test]
async fn a_feature_waits_for_the_last_older_replica_and_is_enabled_when_that_has_gone() {
    let mut cluster = Cluster::start_older().await;
    let refused = cluster.client().cordon_node(cordon("n1", true)).await;
    let Err(Error::Api(ApiError::Precondition { what, why, .. })) = &refused else { panic!("{refused:?}") };
    assert_eq!(what, "FEATURE");
    assert_eq!(why, "feature node-cordon is not enabled yet: this replica lacks it: replace its binary by a newer one");

    cluster.add().await;
    let client = cluster.client();
    let newer = eventually("the newer one leads", || async {
        let request = v1::TransferLeadershipRequest { to: 2, term: 0 };
        client.transfer_leadership(request).await.ok().filter(|answer| answer.leader == 2)
    });
    newer.await;
    eventually("it says for whom it waits", || async {
        let known = client.list_replicas(v1::ListReplicasRequest {}).await.ok()?.features.remove(0);
        (known.waits_for == "replica 1 lacks it: replace its binary by a newer one").then_some(())
    })
    .await;
    let status = cluster.client_of(1).replica_status(v1::GetReplicaStatusRequest {}).await.unwrap();
    let warning =
        |feature| format!("feature {feature} is not enabled: replica 1 lacks it: replace its binary by a newer one");
    assert_eq!(status.warnings, quorate_state::Feature::ALL.map(|feature| warning(feature.name())));

    client.remove_replica(v1::RemoveReplicaRequest { id: 1 }).await.unwrap();
    let client = cluster.client_of(1);
    eventually("it is enabled", || async {
        let known = client.list_replicas(v1::ListReplicasRequest {}).await.ok()?.features.remove(0);
        known.since_revision
    })
    .await;
    let refused = client.cordon_node(cordon("n1", true)).await;
    assert!(matches!(refused, Err(Error::Api(ApiError::NotFound { .. }))), "{refused:?}");
}
