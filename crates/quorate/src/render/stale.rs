//! What is said of an answer that may be behind.

use quorate_client::Staleness;
use serde::Serialize;

/// Part of the object of a command that read with `--stale`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Stale {
    revision: u64,
    /// Milliseconds; none when nobody knows.
    age_ms: Option<u64>,
}

impl From<Staleness> for Stale {
    fn from(staleness: Staleness) -> Self {
        Self { revision: staleness.revision.0, age_ms: staleness.age_ms }
    }
}

impl Stale {
    /// For people.
    pub(crate) fn text(self) -> String {
        let revision = self.revision;
        match self.age_ms {
            Some(age) => {
                // Rounded up: it is a bound.
                let tenths = age.div_ceil(100);
                format!("stale: revision {revision}, at most {}.{} s behind", tenths / 10, tenths % 10)
            }
            None => format!("stale: revision {revision}, and the replica does not know how far behind that is"),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_state::Revision;

    use super::*;

    #[test]
    fn an_age_is_rounded_up_and_an_unknown_one_is_said_to_be() {
        let text = |age_ms| Stale::from(Staleness { revision: Revision(1204), age_ms }).text();
        assert_eq!(text(Some(1_101)), "stale: revision 1204, at most 1.2 s behind");
        assert_eq!(text(Some(0)), "stale: revision 1204, at most 0.0 s behind");
        assert_eq!(text(None), "stale: revision 1204, and the replica does not know how far behind that is");
    }

    #[test]
    fn a_stale_answer_says_so_before_what_it_shows() {
        let list = crate::render::namespace::NamespaceList::from(quorate_proto::v1::ListNamespacesResponse {
            revision: 57,
            ..Default::default()
        });
        let json = |age_ms| crate::render::json(&list, Some(Staleness { revision: Revision(57), age_ms }.into()));
        let rest = r#""namespaces":[],"fairness":null,"revision":57}"#;
        let expected = r#"{"schema":"quorate.v1.namespace_list/1","stale":{"revision":57,"age_ms":"#;
        assert_eq!(json(Some(1_200)), format!("{expected}1200}},{rest}"));
        assert_eq!(json(None), format!("{expected}null}},{rest}"));
    }
}
