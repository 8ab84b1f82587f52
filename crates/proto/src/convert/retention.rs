//! How long runs that have ended are kept.

use quorate_state::Retention;

use crate::v1;

/// The limits, as sent.
pub fn retention_to_wire(limits: Retention) -> v1::Retention {
    v1::Retention {
        memory_runs_max: limits.memory_runs_max,
        memory_rows_max: limits.memory_rows_max,
        archive_runs_max: limits.archive_runs_max,
        archive_ms_max: limits.archive_ms_max,
        history_revisions_max: limits.history_revisions_max,
        segment_runs_max: limits.segment_runs_max,
    }
}

/// These limits with those in the place of which others are asked for. Whether they may be so is for `apply` to say.
pub fn retention_asked(limits: Retention, asked: &v1::SetRetentionRequest) -> Retention {
    Retention {
        memory_runs_max: asked.memory_runs_max.unwrap_or(limits.memory_runs_max),
        memory_rows_max: asked.memory_rows_max.unwrap_or(limits.memory_rows_max),
        archive_runs_max: asked.archive_runs_max.unwrap_or(limits.archive_runs_max),
        archive_ms_max: asked.archive_ms_max.unwrap_or(limits.archive_ms_max),
        history_revisions_max: asked.history_revisions_max.unwrap_or(limits.history_revisions_max),
        segment_runs_max: asked.segment_runs_max.unwrap_or(limits.segment_runs_max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Retention = Retention {
        memory_runs_max: 1,
        memory_rows_max: 2,
        archive_runs_max: 3,
        archive_ms_max: 4,
        history_revisions_max: 5,
        segment_runs_max: 6,
    };
    const THERE: Retention = Retention {
        memory_runs_max: 10,
        memory_rows_max: 20,
        archive_runs_max: 30,
        archive_ms_max: 0,
        history_revisions_max: 50,
        segment_runs_max: 60,
    };

    #[test]
    fn all_limits_that_are_asked_for_are_those_that_are_there_afterwards() {
        let wire = retention_to_wire(THERE);
        let asked = v1::SetRetentionRequest {
            memory_runs_max: Some(wire.memory_runs_max),
            memory_rows_max: Some(wire.memory_rows_max),
            archive_runs_max: Some(wire.archive_runs_max),
            archive_ms_max: Some(wire.archive_ms_max),
            history_revisions_max: Some(wire.history_revisions_max),
            segment_runs_max: Some(wire.segment_runs_max),
            request_id: String::new(),
        };
        assert_eq!(retention_asked(HERE, &asked), THERE);
    }

    #[test]
    fn what_is_not_asked_for_stays_and_zero_is_asked_for() {
        assert_eq!(retention_asked(HERE, &v1::SetRetentionRequest::default()), HERE);
        let asked = v1::SetRetentionRequest { archive_ms_max: Some(0), ..Default::default() };
        assert_eq!(retention_asked(HERE, &asked), Retention { archive_ms_max: 0, ..HERE });
    }
}
