//! A version that takes no renewals together, in front of a replica: it names no session, and has no such service.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use quorate_proto::v1;
use quorate_proto::v1::agents_client::AgentsClient;
use quorate_proto::v1::agents_server::{Agents, AgentsServer};
use quorate_proto::v1::server_message::Message as Down;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use crate::agent::{Agent, hello};
use crate::cluster::Cluster;
use crate::sessions::renew;
use crate::startup::{get, value};

/// Where the replica listens, once it does.
#[derive(Clone, Default)]
struct Older(Arc<OnceLock<String>>);

impl Older {
    /// Its address.
    fn listen(&self) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tonic::transport::Server::builder().add_service(AgentsServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }
}

#[tonic::async_trait]
impl Agents for Older {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::ServerMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let relayed = request.metadata().get("quorate-relayed-by").cloned();
        let mut onward = Request::new(request.into_inner().filter_map(Result::ok));
        onward.metadata_mut().insert("quorate-relayed-by", relayed.expect("only replicas come this way"));
        let target = format!("http://{}", self.0.get().expect("the replica listens"));
        let mut client = AgentsClient::connect(target).await.map_err(|error| Status::unavailable(error.to_string()))?;
        let answers = client.session(onward).await?.into_inner();
        Ok(Response::new(Box::pin(answers.map(|answer| {
            let mut answer = answer?;
            if let Some(Down::Welcome(welcome)) = &mut answer.message {
                assert!(welcome.relayed_as.take().is_some(), "a session that is passed on has a name");
            }
            Ok(answer)
        }))))
    }
}

#[tokio::test]
async fn renewals_go_in_their_sessions_where_the_leader_is_older() {
    let older = [Older::default(), Older::default()];
    let addresses = vec![older[0].listen(), older[1].listen()];
    let cluster = Cluster::start_behind(addresses).await;
    // What replicas say of themselves is the way there.
    for (one, replica) in older.iter().zip(&cluster.replicas) {
        one.0.set(replica.bound.agent.clone()).unwrap();
    }
    let follower = &cluster.replicas[cluster.follower().await].bound;
    let mut agent = Agent::connect(&follower.agent, hello("n1", 1)).await.unwrap();
    for sent_at_ms in 1..=5 {
        renew(&mut agent, sent_at_ms).await;
    }
    let metrics = get(follower.ops.as_ref().unwrap(), "/metrics").await;
    assert_eq!(value(&metrics, "quorate_lease_renewals_passed_on_total"), 0.0, "{metrics}");
}
