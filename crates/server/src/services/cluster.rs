//! The service Cluster: nodes, clusters, replicas and namespaces as operators see them.

use quorate_proto::convert::job::resources_to_wire;
use quorate_proto::convert::node::{cluster_to_wire, node_to_wire};
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_state::{ClusterName, Command, Namespace, Node, NodeName, NodeStatus, Reply, Resources, State};
use tonic::{Request, Response, Status};

use super::page::{Cursor, Pages};
use super::{name, replicas, request_key};
use crate::auth::{Action, authorize, principal};
use crate::core::{Core, Shared};
use crate::reading::Reading;

/// The service Cluster of one replica.
pub(crate) struct ClusterService(pub(crate) Shared);

#[tonic::async_trait]
impl v1::cluster_server::Cluster for ClusterService {
    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ListNodes", list_nodes(&reading, request)).await
    }

    async fn cordon_node(
        &self,
        request: Request<v1::CordonNodeRequest>,
    ) -> Result<Response<v1::CordonNodeResponse>, Status> {
        self.0.answer("CordonNode", cordon_node(&self.0, request)).await
    }

    async fn list_clusters(
        &self,
        request: Request<v1::ListClustersRequest>,
    ) -> Result<Response<v1::ListClustersResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ListClusters", list_clusters(&reading, request)).await
    }

    async fn list_replicas(
        &self,
        request: Request<v1::ListReplicasRequest>,
    ) -> Result<Response<v1::ListReplicasResponse>, Status> {
        self.0.answer("ListReplicas", replicas::list(&self.0, request)).await
    }

    async fn get_replica_status(
        &self,
        request: Request<v1::GetReplicaStatusRequest>,
    ) -> Result<Response<v1::GetReplicaStatusResponse>, Status> {
        self.0.answer("GetReplicaStatus", replicas::status(&self.0, request)).await
    }

    async fn promote_replica(
        &self,
        request: Request<v1::PromoteReplicaRequest>,
    ) -> Result<Response<v1::PromoteReplicaResponse>, Status> {
        self.0.answer("PromoteReplica", replicas::promote(&self.0, request)).await
    }

    async fn remove_replica(
        &self,
        request: Request<v1::RemoveReplicaRequest>,
    ) -> Result<Response<v1::RemoveReplicaResponse>, Status> {
        self.0.answer("RemoveReplica", replicas::remove(&self.0, request)).await
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        self.0.answer("TransferLeadership", replicas::transfer(&self.0, request)).await
    }

    async fn create_namespace(
        &self,
        request: Request<v1::CreateNamespaceRequest>,
    ) -> Result<Response<v1::CreateNamespaceResponse>, Status> {
        self.0.answer("CreateNamespace", create_namespace(&self.0, request)).await
    }

    async fn list_namespaces(
        &self,
        request: Request<v1::ListNamespacesRequest>,
    ) -> Result<Response<v1::ListNamespacesResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ListNamespaces", list_namespaces(&reading, request)).await
    }
}

async fn list_nodes(
    reading: &Reading<'_>,
    request: Request<v1::ListNodesRequest>,
) -> Result<v1::ListNodesResponse, ApiError> {
    authorize(&principal(&request)?, Action::Inspect)?;
    let request = request.into_inner();
    // The leader hears the nodes.
    let view = reading.view_of_leader().await?;
    let liveness = &reading.core().liveness;
    let pages = Pages::open(&view, "nodes", &[], request.page_size, &request.page_token)?;
    let after = pages.after.as_ref().map(|cursor| cursor.part::<NodeName>(0)).transpose()?;
    let rest = view.nodes().filter(|node| after.as_ref().is_none_or(|after| node.name > *after));
    let (page, next_page_token) = pages.take(rest, |node| Cursor::from([node.name.to_string()]));
    let nodes = page.into_iter().map(|node| {
        node_to_wire(node, view.used_on(&node.name), attempts_on(&view, node), liveness.heard_ms_ago(node))
    });
    Ok(v1::ListNodesResponse { nodes: nodes.collect(), next_page_token, revision: view.revision().0 })
}

async fn cordon_node(core: &Core, request: Request<v1::CordonNodeRequest>) -> Result<v1::CordonNodeResponse, ApiError> {
    let principal = principal(&request)?;
    authorize(&principal, Action::CordonNode)?;
    let v1::CordonNodeRequest { node, cordoned, request_id } = request.into_inner();
    let body = [&[u8::from(cordoned)], node.as_bytes()].concat();
    let node: NodeName = name("node", &node)?;
    let key = request_key("CordonNode", &request_id, None, &body)?;
    match core.propose(principal, key, Command::CordonNode { node, cordoned }).await? {
        Reply::Done => Ok(v1::CordonNodeResponse { revision: core.replica.view().revision().0 }),
        other => Err(core.internal(&format!("a cordon was answered with {other:?}"))),
    }
}

async fn list_clusters(
    reading: &Reading<'_>,
    request: Request<v1::ListClustersRequest>,
) -> Result<v1::ListClustersResponse, ApiError> {
    authorize(&principal(&request)?, Action::Inspect)?;
    let view = reading.view().await?;
    let clusters = view.clusters().map(|cluster| {
        let sums = Sums::over(&view, &cluster.name);
        v1::ClusterSummary {
            nodes_up: sums.up,
            nodes_lost: sums.lost,
            capacity: Some(resources_to_wire(sums.capacity)),
            used: Some(resources_to_wire(sums.used)),
            attempts: sums.attempts,
            ..cluster_to_wire(cluster)
        }
    });
    Ok(v1::ListClustersResponse { clusters: clusters.collect(), revision: view.revision().0 })
}

/// What the nodes of a cluster are together; the capacity of a lost node is not there to be used.
#[derive(Default)]
struct Sums {
    up: u32,
    lost: u32,
    attempts: u32,
    capacity: Resources,
    used: Resources,
}

impl Sums {
    fn over(view: &State, cluster: &ClusterName) -> Self {
        let mut sums = Self::default();
        for node in view.nodes().filter(|node| node.cluster == *cluster) {
            match node.status {
                NodeStatus::Up => {
                    sums.up += 1;
                    sums.capacity = sums.capacity.checked_add(node.capacity).unwrap_or(sums.capacity);
                }
                NodeStatus::Lost { .. } => sums.lost += 1,
            }
            sums.used = sums.used.checked_add(view.used_on(&node.name)).unwrap_or(sums.used);
            sums.attempts = sums.attempts.saturating_add(attempts_on(view, node));
        }
        sums
    }
}

fn attempts_on(view: &State, node: &Node) -> u32 {
    u32::try_from(view.attempts_on(&node.name).count()).unwrap_or(u32::MAX)
}

async fn create_namespace(
    core: &Core,
    request: Request<v1::CreateNamespaceRequest>,
) -> Result<v1::CreateNamespaceResponse, ApiError> {
    let principal = principal(&request)?;
    let v1::CreateNamespaceRequest { namespace, request_id } = request.into_inner();
    let namespace: Namespace = name("namespace", &namespace)?;
    authorize(&principal, Action::CreateNamespace(&namespace))?;
    core.room.admit()?;
    let key = request_key("CreateNamespace", &request_id, None, namespace.as_str().as_bytes())?;
    match core.propose(principal, key, Command::CreateNamespace { namespace }).await? {
        Reply::Done => Ok(v1::CreateNamespaceResponse { revision: core.replica.view().revision().0 }),
        other => Err(core.internal(&format!("a new namespace was answered with {other:?}"))),
    }
}

async fn list_namespaces(
    reading: &Reading<'_>,
    request: Request<v1::ListNamespacesRequest>,
) -> Result<v1::ListNamespacesResponse, ApiError> {
    authorize(&principal(&request)?, Action::Inspect)?;
    let view = reading.view().await?;
    let namespaces = view
        .namespaces()
        .map(|(name, created_at)| v1::NamespaceSummary { name: name.to_string(), created_at_ms: created_at.0 });
    Ok(v1::ListNamespacesResponse { namespaces: namespaces.collect(), revision: view.revision().0 })
}
