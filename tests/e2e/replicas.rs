//! Operators change who leads and who takes part, with the commands they would use.

use quorate_tests::{options, quorate, start, submit, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_a_replica_goes_and_the_rest_say_how_they_stand() {
    let mut cluster = start(options(3)).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let addresses = cluster.api_addresses().to_vec();
    let run = |arguments: &[&str]| quorate(&addresses, directory.path(), arguments);

    let said = run(&["replica", "status", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let status = said.json();
    assert_eq!(status["quorum"], true);
    assert_eq!(status["replicas"].as_array().unwrap().len(), 3);
    let leader = status["replicas"][0]["leader"].as_u64().unwrap();

    let next = leader % 3 + 1;
    // A replica that is behind is not passed to, and leadership may move by itself meanwhile.
    until("the next one to lead", || async {
        let moved = run(&["replica", "transfer", &next.to_string(), "--json"]);
        let leads = moved.code == 0 && moved.json()["replica"].as_u64() == Some(next);
        if leads { Ok(()) } else { Err(format!("{moved:?}")) }
    })
    .await;
    submit(&client, "name = \"one\"\n[task.t]\nrun = [\"true\"]\n").await;

    // A leader is removed like any other: its successor does it.
    until("it to be removed", || async {
        let removed = run(&["replica", "remove", &next.to_string()]);
        if removed.code == 0 { Ok(()) } else { Err(format!("{removed:?}")) }
    })
    .await;
    let listed = until("two replicas are left", || async {
        let listed = run(&["replica", "list", "--json"]).json();
        let ids: Vec<u64> =
            listed["replicas"].as_array().unwrap().iter().filter_map(|one| one["id"].as_u64()).collect();
        if ids.len() == 2 { Ok(ids) } else { Err(format!("{ids:?}")) }
    })
    .await;
    assert!(!listed.contains(&next), "{listed:?}");
    submit(&client, "name = \"two\"\n[task.t]\nrun = [\"true\"]\n").await;
    // Whoever wants another one is told what its machine has to run, with those who are left.
    let added = run(&["replica", "add", "--json"]);
    assert_eq!(added.code, 0, "{added:?}");
    let (command, peers) = (added.json()["command"].clone(), added.json()["peers"].clone());
    assert_eq!(peers.as_array().unwrap().len(), 2, "{added:?}");
    assert!(command.as_str().unwrap().starts_with("quorate server join --peers "), "{added:?}");
    assert!(run(&["replica", "add", "--learner"]).out.contains(" --learner\n"));
    let unknown = run(&["replica", "remove", "9"]);
    assert_eq!(unknown.code, 3, "{unknown:?}");

    // One of two dies: nobody can decide anything, and whoever is asked says why.
    let position = |id: u64| usize::try_from(id - 1).unwrap();
    cluster.kill9(position(listed[1]));
    let refused = run(&["replica", "status"]);
    assert_eq!(refused.code, 6, "{refused:?}");
    until("the survivor says what is missing", || async {
        let said = run(&["replica", "status"]);
        let why = format!("replica {} at", listed[1]);
        if said.out.contains("are needed") && said.out.contains(&why) { Ok(()) } else { Err(said.out) }
    })
    .await;
}
