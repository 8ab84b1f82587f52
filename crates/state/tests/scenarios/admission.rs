//! Who becomes a node: join tokens that are made, used, used up, expired and revoked.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    Command, Digest, Feature, JOIN_TOKENS_MAX, JoinTerms, JoinTokenId, NodeAdmission, NodeName, Principal, Rejection,
    Reply, TokenFlaw,
};

use crate::cluster::Cluster;

const SECRET: Digest = Digest([7; 32]);

fn name(node: &str) -> NodeName {
    node.parse().unwrap()
}

fn create(digest: Digest, ttl_ms: u64, uses_max: u32, terms: JoinTerms) -> Command {
    Command::CreateJoinToken { digest, ttl_ms, uses_max, terms: Arc::new(terms) }
}

fn set(admission: NodeAdmission) -> Command {
    Command::SetNodeAdmission { admission }
}

/// An arrival with the secret of this digest.
fn arrival(cluster: &Cluster, node: &str, uuid: u128, token: Digest) -> Command {
    let Command::RegisterNode(registration) = cluster.registration(node, uuid, "eu", "eu-a") else {
        panic!("a registration")
    };
    Command::AdmitNode { registration, token }
}

fn refused(node: &str, why: TokenFlaw) -> Result<Reply, Rejection> {
    Err(Rejection::JoinTokenRefused { node: name(node), why })
}

/// A cluster that knows node `old` and asks new ones for a token.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    for feature in Feature::ALL {
        cluster.run(Command::EnableFeature { feature, term: 1 }).unwrap();
    }
    cluster.register("old", 1, "eu", "eu-a").unwrap();
    cluster.run(set(NodeAdmission::Token)).unwrap();
    cluster
}

#[test]
fn a_cluster_admits_everybody_until_it_is_told_otherwise() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.run(set(NodeAdmission::Token)), Err(Rejection::FeatureNotEnabled(Feature::JoinTokens)));
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.run(Command::EnableFeature { feature: Feature::JoinTokens, term: 1 }).unwrap();
    // A secret is not looked at where none is asked for.
    cluster.run(arrival(&cluster, "m", 2, SECRET)).unwrap();
    assert_eq!(cluster.state.node(&name("m")).unwrap().admission, None);
}

#[test]
fn a_new_node_needs_a_token_and_a_known_one_never_again() {
    let mut cluster = cluster();
    cluster.register("old", 1, "eu", "eu-a").unwrap();
    assert_eq!(cluster.register("n", 2, "eu", "eu-a"), Err(Rejection::JoinTokenNeeded(name("n"))));
    assert_eq!(cluster.run(arrival(&cluster, "n", 2, SECRET)), refused("n", TokenFlaw::Unknown));

    cluster.run(create(SECRET, 60_000, 1, JoinTerms::default())).unwrap();
    cluster.run(arrival(&cluster, "n", 2, SECRET)).unwrap();
    let admission = cluster.state.node(&name("n")).unwrap().admission.clone().unwrap();
    assert_eq!(admission.token, JoinTokenId::of(SECRET));
    assert_eq!(cluster.run(arrival(&cluster, "m", 3, SECRET)), refused("m", TokenFlaw::UsedUp));
    cluster.register("n", 2, "eu", "eu-a").unwrap();
    assert_eq!(cluster.state.node(&name("n")).unwrap().admission, Some(admission), "who admitted it stays known");
    assert_eq!(cluster.state.join_token(JoinTokenId::of(SECRET)).unwrap().uses, 1);
}

#[test]
fn another_machine_under_a_known_name_is_a_new_node() {
    let mut cluster = cluster();
    cluster.expire("old");
    assert_eq!(cluster.register("old", 9, "eu", "eu-a"), Err(Rejection::JoinTokenNeeded(name("old"))));
    cluster.run(create(SECRET, 60_000, 1, JoinTerms::default())).unwrap();
    cluster.run(arrival(&cluster, "old", 9, SECRET)).unwrap();
}

#[test]
fn a_use_is_given_back_by_whoever_is_refused_for_something_else() {
    let mut cluster = cluster();
    cluster.run(create(SECRET, 60_000, 1, JoinTerms::default())).unwrap();
    let taken = cluster.run(arrival(&cluster, "old", 9, SECRET));
    assert!(matches!(taken, Err(Rejection::NodeNameTaken { .. })), "{taken:?}");
    assert_eq!(cluster.state.join_token(JoinTokenId::of(SECRET)).unwrap().uses, 0);
    // The log decides who is the last one.
    let (one, other) = (arrival(&cluster, "n", 2, SECRET), arrival(&cluster, "m", 3, SECRET));
    let replies = cluster.entry(vec![(None, one), (None, other)]);
    assert!(replies[0].is_ok());
    assert_eq!(replies[1], refused("m", TokenFlaw::UsedUp));
}

#[test]
fn a_token_ends_with_its_time_or_when_it_is_revoked() {
    let mut cluster = cluster();
    cluster.run(create(SECRET, 60_000, 2, JoinTerms::default())).unwrap();
    cluster.pass(59_999);
    cluster.run(arrival(&cluster, "n", 2, SECRET)).unwrap();
    cluster.pass(1);
    assert_eq!(cluster.run(arrival(&cluster, "m", 3, SECRET)), refused("m", TokenFlaw::Expired));

    let other = Digest([8; 32]);
    cluster.run(create(other, 60_000, 2, JoinTerms::default())).unwrap();
    let left: Vec<JoinTokenId> = cluster.state.join_tokens().map(|token| token.id()).collect();
    assert_eq!(left, [JoinTokenId::of(other)], "what expired is removed when another one is made");
    let revoke = Command::RevokeJoinToken { token: JoinTokenId::of(other) };
    cluster.run(revoke.clone()).unwrap();
    assert_eq!(cluster.run(arrival(&cluster, "m", 3, other)), refused("m", TokenFlaw::Unknown));
    assert_eq!(cluster.run(revoke), Err(Rejection::UnknownJoinToken(JoinTokenId::of(other))));
    cluster.register("n", 2, "eu", "eu-a").unwrap();
}

#[test]
fn what_a_token_demands_holds_for_as_long_as_the_node_is_known() {
    let mut cluster = cluster();
    let labels = BTreeMap::from([("pool".to_owned(), "gpu".to_owned())]);
    let terms = JoinTerms { region: Some("eu".parse().unwrap()), cluster: Some("eu-b".parse().unwrap()), labels };
    cluster.run(create(SECRET, 60_000, 2, terms)).unwrap();
    let wrong = TokenFlaw::Cluster("eu-b".parse().unwrap());
    assert_eq!(cluster.run(arrival(&cluster, "n", 2, SECRET)), refused("n", wrong.clone()));
    assert_eq!(cluster.state.join_token(JoinTokenId::of(SECRET)).unwrap().uses, 0);

    let Command::RegisterNode(mut registration) = cluster.registration("n", 2, "eu", "eu-b") else { panic!() };
    registration.labels.insert("pool".into(), "none".into());
    registration.labels.insert("disk".into(), "ssd".into());
    cluster.run(Command::AdmitNode { registration, token: SECRET }).unwrap();
    let node = cluster.state.node(&name("n")).unwrap().clone();
    assert_eq!((node.labels["pool"].as_str(), node.labels["disk"].as_str()), ("gpu", "ssd"));
    assert_eq!(cluster.register("n", 2, "eu", "eu-a"), refused("n", wrong));
    cluster.register("n", 2, "eu", "eu-b").unwrap();
    assert_eq!(cluster.state.node(&name("n")).unwrap().labels["pool"], "gpu");

    // A forgotten node is nobody.
    cluster.expire("n");
    cluster.pass(60_000);
    cluster.run(Command::ForgetNode { node: name("n") }).unwrap();
    assert_eq!(cluster.register("n", 2, "eu", "eu-a"), Err(Rejection::JoinTokenNeeded(name("n"))));
}

#[test]
fn a_wish_for_a_token_says_all_that_is_wrong_with_it() {
    let mut cluster = cluster();
    let labels = BTreeMap::from([("quorate.dev/arch".to_owned(), "sparc".to_owned()), (String::new(), String::new())]);
    let Err(Rejection::Invalid(found)) =
        cluster.run(create(SECRET, 0, 0, JoinTerms { labels, ..JoinTerms::default() }))
    else {
        panic!("it was taken")
    };
    let fields: Vec<&str> = found.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["labels", "labels", "ttl_ms", "uses_max"]);
    cluster.run(create(SECRET, 1_000, 1, JoinTerms::default())).unwrap();
    let again = cluster.run(create(SECRET, 1_000, 1, JoinTerms::default()));
    assert!(matches!(again, Err(Rejection::Stale(_))), "{again:?}");
}

#[test]
fn there_are_only_so_many_tokens_at_once() {
    let mut cluster = cluster();
    let digest = |number: usize| {
        let mut digest = Digest([0; 32]);
        digest.0[..8].copy_from_slice(&(number as u64).to_be_bytes());
        digest
    };
    let all = (0..JOIN_TOKENS_MAX).map(|number| (None, create(digest(number), 60_000, 1, JoinTerms::default())));
    assert!(cluster.entry(all.collect()).iter().all(Result::is_ok));
    let more = create(digest(JOIN_TOKENS_MAX), 60_000, 1, JoinTerms::default());
    let refused = cluster.run(more.clone());
    assert!(matches!(refused, Err(Rejection::LimitReached { limit: "JOIN_TOKENS_MAX", .. })), "{refused:?}");
    cluster.pass(60_000);
    cluster.run(more).unwrap();
    assert_eq!(cluster.state.join_tokens().count(), 1);
    assert_eq!(cluster.state.join_tokens().next().unwrap().by, Principal::anonymous_local());
}
