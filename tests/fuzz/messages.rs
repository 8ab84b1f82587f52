//! Messages of clients and agents.

use prost::Message;
use quorate_proto::convert::agent::{hello_from_wire, hello_to_wire, report_from_wire, report_to_wire};
use quorate_proto::convert::job::{spec_from_wire, spec_to_wire};
use quorate_proto::convert::join_token::create_from_wire;
use quorate_proto::v1;
use quorate_state::{Command, Settings};
use v1::agent_message::Message as Said;

use crate::persisted;

/// The spec in a submit: equal bytes are one job to `apply`, so a spec must not change on its way through.
pub(crate) fn submit(bytes: &[u8]) {
    let Ok(message) = v1::JobSpec::decode(bytes) else { return };
    match spec_from_wire(message) {
        Ok(spec) => {
            assert_eq!(spec_from_wire(spec_to_wire(&spec)).as_ref(), Ok(&spec));
            if let Err(violations) = spec.check(&Settings::default()) {
                assert!(violations.iter().all(|violation| !violation.message.is_empty()) && !violations.is_empty());
            }
        }
        Err(violations) => assert!(!violations.is_empty(), "refused, and nothing is wrong"),
    }
}

pub(crate) fn join_token(bytes: &[u8]) {
    let Ok(message) = v1::CreateJoinTokenRequest::decode(bytes) else { return };
    if let Err(violations) = create_from_wire(message) {
        assert!(!violations.is_empty(), "refused, and nothing is wrong");
    }
}

/// What an agent says.
pub(crate) fn agent(bytes: &[u8]) {
    let Ok(v1::AgentMessage { message: Some(message) }) = v1::AgentMessage::decode(bytes) else { return };
    match message {
        Said::Hello(hello) => match hello_from_wire(hello) {
            Ok(registration) => assert_eq!(hello_from_wire(hello_to_wire(&registration)).as_ref(), Ok(&registration)),
            Err(violations) => assert!(!violations.is_empty(), "refused, and nothing is wrong"),
        },
        Said::Reports(reports) => {
            for report in reports.reports {
                match report_from_wire(report) {
                    Ok(report) => assert_eq!(report_from_wire(report_to_wire(&report)).as_ref(), Ok(&report)),
                    Err(violations) => assert!(!violations.is_empty(), "refused, and nothing is wrong"),
                }
            }
        }
        // Taken as they are.
        Said::Renew(_) | Said::LogChunk(_) | Said::Resync(_) | Said::Usage(_) | Said::Distances(_) => {}
    }
}

/// The specs of submits that the golden entries hold.
pub(crate) fn specs() -> Vec<Vec<u8>> {
    let commands = persisted::commands();
    commands
        .filter_map(|command| match command {
            Command::SubmitJob { spec, .. } => Some(spec_to_wire(&spec).encode_to_vec()),
            _ => None,
        })
        .collect()
}

/// Registrations and reports that the golden entries hold, as agents say them.
pub(crate) fn agents() -> Vec<Vec<u8>> {
    let said = persisted::commands().filter_map(|command| match command {
        Command::RegisterNode(registration) => Some(Said::Hello(hello_to_wire(&registration))),
        Command::ReportAttempts { reports, .. } => {
            Some(Said::Reports(v1::Reports { reports: reports.iter().map(report_to_wire).collect(), ..<_>::default() }))
        }
        _ => None,
    });
    said.map(|message| v1::AgentMessage { message: Some(message) }.encode_to_vec()).collect()
}

/// Join tokens that the golden entries hold, as operators ask for them.
pub(crate) fn join_tokens() -> Vec<Vec<u8>> {
    let asked = persisted::commands().filter_map(|command| match command {
        Command::CreateJoinToken { digest, ttl_ms, uses_max, terms } => Some(v1::CreateJoinTokenRequest {
            digest: digest.0.to_vec().into(),
            ttl_ms,
            uses_max,
            region: terms.region.as_ref().map(ToString::to_string).unwrap_or_default(),
            cluster: terms.cluster.as_ref().map(ToString::to_string).unwrap_or_default(),
            ..<_>::default()
        }),
        _ => None,
    });
    asked.map(|request| request.encode_to_vec()).collect()
}
