//! What is needed of etcd's public API: to put a key. Field numbers are those of its `rpc.proto`
//! (package `etcdserverpb`, service `KV`); fields that are left out have their defaults.

use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::load::{CALL_DEADLINE, Target, object, value};

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "1")]
    cluster_id: u64,
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
    #[prost(uint64, tag = "4")]
    raft_term: u64,
}

/// Puts values over some connections.
pub(crate) struct KeyValue(pub(crate) Vec<Channel>);

impl Target for KeyValue {
    async fn operate(&self, connection: usize, number: u64) -> Result<(), String> {
        let put = PutRequest {
            key: format!("/runs/{:013}/note", object(number)).into_bytes(),
            value: value(number).into_bytes(),
        };
        let mut request = Request::new(put);
        request.set_timeout(CALL_DEADLINE);
        let mut grpc = Grpc::new(self.0[connection].clone());
        grpc.ready().await.map_err(|error| error.to_string())?;
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
        let codec = ProstCodec::<PutRequest, PutResponse>::default();
        let answer = grpc.unary(request, path, codec).await.map_err(|status| status.to_string())?;
        // An answer that does not decode to a revision comes from something else.
        match answer.into_inner().header {
            Some(header) if header.revision > 0 => Ok(()),
            other => Err(format!("a put was answered with {other:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_put_has_the_bytes_that_etcd_reads() {
        let put = PutRequest { key: b"k".to_vec(), value: b"vw".to_vec() };
        assert_eq!(put.encode_to_vec(), [0x0a, 1, b'k', 0x12, 2, b'v', b'w']);
        let header = [0x08, 1, 0x10, 2, 0x18, 3, 0x20, 4];
        let mut answer = vec![0x0a, 8];
        answer.extend(header);
        let answer = PutResponse::decode(&*answer).unwrap().header.unwrap();
        assert_eq!((answer.revision, answer.raft_term), (3, 4));
    }
}
