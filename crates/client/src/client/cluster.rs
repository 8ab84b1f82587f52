//! Calls of the service `Cluster`.

use quorate_proto::v1;
use quorate_proto::v1::cluster_client::ClusterClient;
use tonic::transport::Channel;

use super::Client;
use crate::{Error, MESSAGE_BYTES_MAX};

impl Client {
    /// Nodes, a page of them.
    pub async fn list_nodes(&self, request: v1::ListNodesRequest) -> Result<v1::ListNodesResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).list_nodes(request).await }).await
    }

    /// Says whether a node takes new work. An empty `request_id` is filled in.
    pub async fn cordon_node(&self, mut request: v1::CordonNodeRequest) -> Result<v1::CordonNodeResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).cordon_node(request).await };
        self.change(request, request_id, send).await
    }

    /// A node and what is on it.
    pub async fn get_node(&self, request: v1::GetNodeRequest) -> Result<v1::GetNodeResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).get_node(request).await }).await
    }

    /// Moves off what runs on a node. An empty `request_id` is filled in.
    pub async fn drain_node(&self, mut request: v1::DrainNodeRequest) -> Result<v1::DrainNodeResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).drain_node(request).await };
        self.change(request, request_id, send).await
    }

    /// Moves off what runs on a node, which takes work again after a time. An empty `request_id` is filled in.
    pub async fn maintain_node(&self, mut request: v1::MaintainNodeRequest) -> Result<v1::MaintainNodeResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).maintain_node(request).await };
        self.change(request, request_id, send).await
    }

    /// Takes all nodes of a cluster or a region out of service. An empty `request_id` is filled in.
    pub async fn withdraw_scope(
        &self,
        mut request: v1::WithdrawScopeRequest,
    ) -> Result<v1::WithdrawScopeResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).withdraw_scope(request).await };
        self.change(request, request_id, send).await
    }

    /// Gives them back. An empty `request_id` is filled in.
    pub async fn restore_scope(&self, mut request: v1::RestoreScopeRequest) -> Result<v1::RestoreScopeResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).restore_scope(request).await };
        self.change(request, request_id, send).await
    }

    /// Gives up a lost node, for good. An empty `request_id` is filled in.
    pub async fn forget_node(&self, mut request: v1::ForgetNodeRequest) -> Result<v1::ForgetNodeResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).forget_node(request).await };
        self.change(request, request_id, send).await
    }

    /// Says what a machine needs to become a node. An empty `request_id` is filled in.
    pub async fn set_node_admission(
        &self,
        mut request: v1::SetNodeAdmissionRequest,
    ) -> Result<v1::SetNodeAdmissionResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).set_node_admission(request).await };
        self.change(request, request_id, send).await
    }

    /// Makes a join token of a secret's digest. An empty `request_id` is filled in.
    pub async fn create_join_token(
        &self,
        mut request: v1::CreateJoinTokenRequest,
    ) -> Result<v1::CreateJoinTokenResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).create_join_token(request).await };
        self.change(request, request_id, send).await
    }

    /// The join tokens, and whether new nodes need one.
    pub async fn list_join_tokens(
        &self,
        request: v1::ListJoinTokensRequest,
    ) -> Result<v1::ListJoinTokensResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).list_join_tokens(request).await }).await
    }

    /// Ends a join token. An empty `request_id` is filled in.
    pub async fn revoke_join_token(
        &self,
        mut request: v1::RevokeJoinTokenRequest,
    ) -> Result<v1::RevokeJoinTokenResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).revoke_join_token(request).await };
        self.change(request, request_id, send).await
    }

    /// Clusters and what they have left.
    pub async fn list_clusters(&self, request: v1::ListClustersRequest) -> Result<v1::ListClustersResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).list_clusters(request).await }).await
    }

    /// What would become of the work if some nodes went away now.
    pub async fn forecast_loss(&self, request: v1::ForecastLossRequest) -> Result<v1::ForecastLossResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).forecast_loss(request).await }).await
    }

    /// The replicas of the control plane.
    pub async fn list_replicas(&self, request: v1::ListReplicasRequest) -> Result<v1::ListReplicasResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).list_replicas(request).await }).await
    }

    /// What the replica at hand knows; the client should have no other address.
    pub async fn replica_status(
        &self,
        request: v1::GetReplicaStatusRequest,
    ) -> Result<v1::GetReplicaStatusResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).get_replica_status(request).await }).await
    }

    /// Makes a learner a voter. Asking again changes nothing.
    pub async fn promote_replica(
        &self,
        request: v1::PromoteReplicaRequest,
    ) -> Result<v1::PromoteReplicaResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).promote_replica(request).await }).await
    }

    /// Removes a replica for good. Asking again changes nothing.
    pub async fn remove_replica(&self, request: v1::RemoveReplicaRequest) -> Result<v1::RemoveReplicaResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).remove_replica(request).await }).await
    }

    /// Passes leadership on.
    pub async fn transfer_leadership(
        &self,
        request: v1::TransferLeadershipRequest,
    ) -> Result<v1::TransferLeadershipResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).transfer_leadership(request).await }).await
    }

    /// Makes a namespace. An empty `request_id` is filled in.
    pub async fn create_namespace(
        &self,
        mut request: v1::CreateNamespaceRequest,
    ) -> Result<v1::CreateNamespaceResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).create_namespace(request).await };
        self.change(request, request_id, send).await
    }

    /// All namespaces.
    pub async fn list_namespaces(
        &self,
        request: v1::ListNamespacesRequest,
    ) -> Result<v1::ListNamespacesResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).list_namespaces(request).await }).await
    }

    /// A namespace, and those directly below it.
    pub async fn get_namespace(&self, request: v1::GetNamespaceRequest) -> Result<v1::GetNamespaceResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).get_namespace(request).await }).await
    }

    /// Changes the part of the cluster that a namespace has, or makes one with such a part. An empty `request_id` is filled in.
    pub async fn set_namespace(&self, mut request: v1::SetNamespaceRequest) -> Result<v1::SetNamespaceResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).set_namespace(request).await };
        self.change(request, request_id, send).await
    }

    /// Says how namespaces are kept even. An empty `request_id` is filled in.
    pub async fn set_fairness(&self, mut request: v1::SetFairnessRequest) -> Result<v1::SetFairnessResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).set_fairness(request).await };
        self.change(request, request_id, send).await
    }

    /// Who may be preempted by whom.
    pub async fn get_preemption(&self, request: v1::GetPreemptionRequest) -> Result<v1::GetPreemptionResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).get_preemption(request).await }).await
    }

    /// Says who may be preempted by whom. An empty `request_id` is filled in.
    pub async fn set_preemption(
        &self,
        mut request: v1::SetPreemptionRequest,
    ) -> Result<v1::SetPreemptionResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).set_preemption(request).await };
        self.change(request, request_id, send).await
    }

    /// The rebalance that goes on, or the last one.
    pub async fn get_rebalance(&self, request: v1::GetRebalanceRequest) -> Result<v1::GetRebalanceResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).get_rebalance(request).await }).await
    }

    /// What would be moved.
    pub async fn plan_rebalance(&self, request: v1::PlanRebalanceRequest) -> Result<v1::PlanRebalanceResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).plan_rebalance(request).await }).await
    }

    /// Moves work to better places. An empty `request_id` is filled in.
    pub async fn start_rebalance(
        &self,
        mut request: v1::StartRebalanceRequest,
    ) -> Result<v1::StartRebalanceResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).start_rebalance(request).await };
        self.change(request, request_id, send).await
    }

    /// Sets nodes aside for a namespace. An empty `request_id` is filled in.
    pub async fn create_reservation(
        &self,
        mut request: v1::CreateReservationRequest,
    ) -> Result<v1::CreateReservationResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).create_reservation(request).await };
        self.change(request, request_id, send).await
    }

    /// The reservations that are not over.
    pub async fn list_reservations(
        &self,
        request: v1::ListReservationsRequest,
    ) -> Result<v1::ListReservationsResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).list_reservations(request).await }).await
    }

    /// One of them, with what is on its nodes.
    pub async fn get_reservation(
        &self,
        request: v1::GetReservationRequest,
    ) -> Result<v1::GetReservationResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).get_reservation(request).await }).await
    }

    /// Ends one before its time is over. An empty `request_id` is filled in.
    pub async fn end_reservation(
        &self,
        mut request: v1::EndReservationRequest,
    ) -> Result<v1::EndReservationResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).end_reservation(request).await };
        self.change(request, request_id, send).await
    }

    /// No more of it. An empty `request_id` is filled in.
    pub async fn stop_rebalance(
        &self,
        mut request: v1::StopRebalanceRequest,
    ) -> Result<v1::StopRebalanceResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).stop_rebalance(request).await };
        self.change(request, request_id, send).await
    }

    /// How long runs that have ended are kept, and how much of that is in use.
    pub async fn get_retention(&self, request: v1::GetRetentionRequest) -> Result<v1::GetRetentionResponse, Error> {
        self.read(request, |channel, request| async move { cluster(channel).get_retention(request).await }).await
    }

    /// Says how long runs that have ended are kept. An empty `request_id` is filled in.
    pub async fn set_retention(&self, mut request: v1::SetRetentionRequest) -> Result<v1::SetRetentionResponse, Error> {
        self.mint_if_empty(&mut request.request_id);
        let request_id = request.request_id.clone();
        let send = |channel, request| async move { cluster(channel).set_retention(request).await };
        self.change(request, request_id, send).await
    }
}

fn cluster(channel: Channel) -> ClusterClient<Channel> {
    ClusterClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}
