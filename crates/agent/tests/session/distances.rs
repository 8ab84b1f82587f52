//! How far other regions are, measured for a control plane that asks for it.

use super::*;

fn landmark(region: &str, address: &str) -> v1::Landmark {
    v1::Landmark { region: region.into(), address: address.into() }
}

#[tokio::test]
async fn the_way_to_each_region_that_can_be_reached_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::new().await;
    let agent = Agent::of(&plane, directory.path());
    let mut session = plane.session().await;
    let here = plane.address.to_string();
    // Nobody listens on the discard port.
    session.landmarks = vec![
        landmark("us", "127.0.0.1:9"),
        landmark("ap", &here),
        landmark("us", &here),
        landmark("sa", "127.0.0.1:9"),
    ];
    session.welcome(10, LEASE_MS).await;
    session.say(full(vec![])).await;
    let FromAgent::Distances(v1::Distances { distances }) = session.hear().await else { panic!("nothing else is new") };
    let told: Vec<&str> = distances.iter().map(|distance| &*distance.region).collect();
    assert_eq!(told, ["ap", "us"]);
    assert!(distances.iter().all(|distance| (1..3_000_000).contains(&distance.round_trip_us)), "{distances:?}");
    agent.handle.request();
    agent.end().await.unwrap();
}
