//! The service Cluster: nodes, clusters, replicas and namespaces as operators see them.

use quorate_proto::convert::job::resources_to_wire;
use quorate_proto::convert::node::{cluster_to_wire, withdrawal_to_wire};
use quorate_proto::status::ApiError;
use quorate_proto::v1;
use quorate_state::{ClusterName, NodeStatus, Resources, Scope, State};
use tonic::{Request, Response, Status};

use super::nodes::attempts_on;
use super::{admission, forecast, namespaces, nodes, preemption, rebalance, replicas, reservations, retention, scopes};
use crate::auth::{Action, authorize, principal};
use crate::core::Shared;
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
        reading.answer("ListNodes", nodes::list(&reading, request)).await
    }

    async fn cordon_node(
        &self,
        request: Request<v1::CordonNodeRequest>,
    ) -> Result<Response<v1::CordonNodeResponse>, Status> {
        self.0.answer("CordonNode", nodes::cordon(&self.0, request)).await
    }

    async fn get_node(&self, request: Request<v1::GetNodeRequest>) -> Result<Response<v1::GetNodeResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("GetNode", nodes::get(&reading, request)).await
    }

    async fn drain_node(
        &self,
        request: Request<v1::DrainNodeRequest>,
    ) -> Result<Response<v1::DrainNodeResponse>, Status> {
        self.0.answer("DrainNode", nodes::drain(&self.0, request)).await
    }

    async fn maintain_node(
        &self,
        request: Request<v1::MaintainNodeRequest>,
    ) -> Result<Response<v1::MaintainNodeResponse>, Status> {
        self.0.answer("MaintainNode", nodes::maintain(&self.0, request)).await
    }

    async fn withdraw_scope(
        &self,
        request: Request<v1::WithdrawScopeRequest>,
    ) -> Result<Response<v1::WithdrawScopeResponse>, Status> {
        self.0.answer("WithdrawScope", scopes::withdraw(&self.0, request)).await
    }

    async fn restore_scope(
        &self,
        request: Request<v1::RestoreScopeRequest>,
    ) -> Result<Response<v1::RestoreScopeResponse>, Status> {
        self.0.answer("RestoreScope", scopes::restore(&self.0, request)).await
    }

    async fn forget_node(
        &self,
        request: Request<v1::ForgetNodeRequest>,
    ) -> Result<Response<v1::ForgetNodeResponse>, Status> {
        self.0.answer("ForgetNode", nodes::forget(&self.0, request)).await
    }

    async fn set_node_admission(
        &self,
        request: Request<v1::SetNodeAdmissionRequest>,
    ) -> Result<Response<v1::SetNodeAdmissionResponse>, Status> {
        self.0.answer("SetNodeAdmission", admission::set(&self.0, request)).await
    }

    async fn create_join_token(
        &self,
        request: Request<v1::CreateJoinTokenRequest>,
    ) -> Result<Response<v1::CreateJoinTokenResponse>, Status> {
        self.0.answer("CreateJoinToken", admission::create(&self.0, request)).await
    }

    async fn list_join_tokens(
        &self,
        request: Request<v1::ListJoinTokensRequest>,
    ) -> Result<Response<v1::ListJoinTokensResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ListJoinTokens", admission::list(&reading, request)).await
    }

    async fn revoke_join_token(
        &self,
        request: Request<v1::RevokeJoinTokenRequest>,
    ) -> Result<Response<v1::RevokeJoinTokenResponse>, Status> {
        self.0.answer("RevokeJoinToken", admission::revoke(&self.0, request)).await
    }

    async fn list_clusters(
        &self,
        request: Request<v1::ListClustersRequest>,
    ) -> Result<Response<v1::ListClustersResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ListClusters", list_clusters(&reading, request)).await
    }

    async fn forecast_loss(
        &self,
        request: Request<v1::ForecastLossRequest>,
    ) -> Result<Response<v1::ForecastLossResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ForecastLoss", forecast::loss(&reading, request)).await
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
        self.0.answer("CreateNamespace", namespaces::create(&self.0, request)).await
    }

    async fn list_namespaces(
        &self,
        request: Request<v1::ListNamespacesRequest>,
    ) -> Result<Response<v1::ListNamespacesResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ListNamespaces", namespaces::list(&reading, request)).await
    }

    async fn get_namespace(
        &self,
        request: Request<v1::GetNamespaceRequest>,
    ) -> Result<Response<v1::GetNamespaceResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("GetNamespace", namespaces::get(&reading, request)).await
    }

    async fn set_namespace(
        &self,
        request: Request<v1::SetNamespaceRequest>,
    ) -> Result<Response<v1::SetNamespaceResponse>, Status> {
        self.0.answer("SetNamespace", namespaces::set(&self.0, request)).await
    }

    async fn set_fairness(
        &self,
        request: Request<v1::SetFairnessRequest>,
    ) -> Result<Response<v1::SetFairnessResponse>, Status> {
        self.0.answer("SetFairness", namespaces::set_fairness(&self.0, request)).await
    }

    async fn get_preemption(
        &self,
        request: Request<v1::GetPreemptionRequest>,
    ) -> Result<Response<v1::GetPreemptionResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("GetPreemption", preemption::get(&reading, request)).await
    }

    async fn set_preemption(
        &self,
        request: Request<v1::SetPreemptionRequest>,
    ) -> Result<Response<v1::SetPreemptionResponse>, Status> {
        self.0.answer("SetPreemption", preemption::set(&self.0, request)).await
    }

    async fn get_rebalance(
        &self,
        request: Request<v1::GetRebalanceRequest>,
    ) -> Result<Response<v1::GetRebalanceResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("GetRebalance", rebalance::get(&reading, request)).await
    }

    async fn plan_rebalance(
        &self,
        request: Request<v1::PlanRebalanceRequest>,
    ) -> Result<Response<v1::PlanRebalanceResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("PlanRebalance", rebalance::plan(&reading, request)).await
    }

    async fn start_rebalance(
        &self,
        request: Request<v1::StartRebalanceRequest>,
    ) -> Result<Response<v1::StartRebalanceResponse>, Status> {
        self.0.answer("StartRebalance", rebalance::start(&self.0, request)).await
    }

    async fn stop_rebalance(
        &self,
        request: Request<v1::StopRebalanceRequest>,
    ) -> Result<Response<v1::StopRebalanceResponse>, Status> {
        self.0.answer("StopRebalance", rebalance::stop(&self.0, request)).await
    }

    async fn create_reservation(
        &self,
        request: Request<v1::CreateReservationRequest>,
    ) -> Result<Response<v1::CreateReservationResponse>, Status> {
        self.0.answer("CreateReservation", reservations::create(&self.0, request)).await
    }

    async fn list_reservations(
        &self,
        request: Request<v1::ListReservationsRequest>,
    ) -> Result<Response<v1::ListReservationsResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("ListReservations", reservations::list(&reading, request)).await
    }

    async fn get_reservation(
        &self,
        request: Request<v1::GetReservationRequest>,
    ) -> Result<Response<v1::GetReservationResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("GetReservation", reservations::get(&reading, request)).await
    }

    async fn end_reservation(
        &self,
        request: Request<v1::EndReservationRequest>,
    ) -> Result<Response<v1::EndReservationResponse>, Status> {
        self.0.answer("EndReservation", reservations::end(&self.0, request)).await
    }

    async fn get_retention(
        &self,
        request: Request<v1::GetRetentionRequest>,
    ) -> Result<Response<v1::GetRetentionResponse>, Status> {
        let reading = Reading::of(&self.0, request.metadata());
        reading.answer("GetRetention", retention::get(&reading, request)).await
    }

    async fn set_retention(
        &self,
        request: Request<v1::SetRetentionRequest>,
    ) -> Result<Response<v1::SetRetentionResponse>, Status> {
        self.0.answer("SetRetention", retention::set(&self.0, request)).await
    }
}

async fn list_clusters(
    reading: &Reading<'_>,
    request: Request<v1::ListClustersRequest>,
) -> Result<v1::ListClustersResponse, ApiError> {
    authorize(&principal(&request)?, Action::Inspect)?;
    let view = reading.view().await?;
    let served = reading.log_now(&view)?.served;
    let clusters = view.clusters().map(|cluster| {
        let said_of = |scope| view.scope(&scope).map(|row| withdrawal_to_wire(&row.withdrawal, served));
        let sums = Sums::over(&view, &cluster.name);
        v1::ClusterSummary {
            nodes_up: sums.up,
            nodes_lost: sums.lost,
            capacity: Some(resources_to_wire(sums.capacity)),
            used: Some(resources_to_wire(sums.used)),
            attempts: sums.attempts,
            withdrawal: said_of(Scope::Cluster(cluster.name.clone())),
            region_withdrawal: said_of(Scope::Region(cluster.region.clone())),
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
