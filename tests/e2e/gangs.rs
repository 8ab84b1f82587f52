//! A gang of real processes: they find each other by what they are told, and begin anew together.

use quorate_bench::local::AgentOptions;
use quorate_client::Client;
use quorate_proto::v1;
use quorate_tests::{attempts, options, quorate, run_end, spec, start, until};

async fn submit(client: &Client, job: &str) -> String {
    let request = v1::SubmitFlowRequest { spec: Some(spec(job)), ..Default::default() };
    client.submit_flow(request).await.expect("the job is accepted").run_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_know_where_the_others_are_and_one_that_dies_takes_all_of_them_along() {
    let mut wanted = options(1);
    let agent = |node: &str| AgentOptions {
        node: node.to_owned(),
        region: "eu".to_owned(),
        cluster: "eu-a".to_owned(),
        cpu: Some("2".to_owned()),
        memory: Some("4Gi".to_owned()),
        gpus: None,
        flags: Vec::new(),
    };
    wanted.agents = vec![agent("left"), agent("right")];
    let cluster = start(wanted).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| quorate(cluster.api_addresses(), directory.path(), arguments);

    let say = "echo \"[$QUORATE_GANG_GENERATION] [$QUORATE_GANG_INDEX/$QUORATE_GANG_SIZE] [$QUORATE_GANG_NODES] [$QUORATE_NODE] [$$]\"";
    let script = format!("{say}; [ $QUORATE_GANG_GENERATION = 2 ] && exit 0; exec sleep 1000");
    let run = submit(
        &client,
        &format!(
            "name = \"train\"\n[task.train]\nrun = [\"sh\", \"-c\", '{script}']\ncount = 3\ngang = {{ within = \"cluster\", start = \"5m\" }}\n\
             resources = {{ cpu = 1 }}\nretry = {{ attempts = 2, first = \"100ms\" }}\n"
        ),
    )
    .await;
    let said = |index: u32| {
        let (ask, run) = (&ask, &run);
        async move {
            let words = until("a member to speak", || async {
                let logs = ask(&["run", "logs", run, &format!("train[{index}]")]);
                if logs.out.matches(']').count() >= 5 { Ok(logs.out) } else { Err(format!("{logs:?}")) }
            })
            .await;
            let parts: Vec<String> = words.split(['[', ']']).skip(1).step_by(2).map(str::to_owned).collect();
            <[String; 5]>::try_from(parts).unwrap()
        }
    };
    let mut told = vec![];
    for index in 0..3 {
        told.push(said(index).await);
    }
    let nodes: Vec<String> = told[0][2].split(',').map(str::to_owned).collect();
    for ([generation, place, all, node, _], index) in told.iter().zip(0..) {
        assert_eq!((generation.as_str(), place.as_str()), ("1", format!("{index}/3").as_str()));
        assert_eq!((all, node), (&told[0][2], &nodes[index]));
    }
    let on = |name: &str| nodes.iter().filter(|node| *node == name).count();
    assert_eq!([on("left"), on("right")].iter().max(), Some(&2), "{nodes:?}");
    assert!(ask(&["run", "status", &run]).out.contains("(gang 1)"));

    // A second one waits for the room of all its members.
    let waiting = submit(
        &client,
        "name = \"more\"\n[task.more]\nrun = [\"true\"]\ncount = 2\ngang = true\nresources = { cpu = 1 }\n",
    )
    .await;
    let why = until("a reason", || async {
        let why = ask(&["task", "why", &waiting, "more[1]", "--json"]);
        if why.code == 0 { Ok(why.json()) } else { Err(format!("{why:?}")) }
    })
    .await;
    assert_eq!(why["reason"]["kind"], "gang", "{why}");
    assert_eq!((&why["reason"]["gang"]["fits"], &why["reason"]["gang"]["members"]), (&1.into(), &2.into()), "{why}");

    let killed = std::process::Command::new("kill").args(["-9", &told[1][4]]).status().unwrap();
    assert!(killed.success());
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Succeeded);
    let mut tries: Vec<(u32, u32, v1::AttemptState)> =
        attempts(&client, &run).await.iter().map(|one| (one.number, one.index, one.state())).collect();
    tries.sort_unstable_by_key(|(number, index, _)| (*number, *index));
    let states: Vec<v1::AttemptState> = tries.iter().map(|(_, _, state)| *state).collect();
    use v1::AttemptState::{Failed, Preempted, Succeeded};
    assert_eq!(states, [Preempted, Failed, Preempted, Succeeded, Succeeded, Succeeded], "{tries:?}");
    assert_eq!(said(2).await[..3], ["2".to_owned(), "2/3".to_owned(), said(0).await[2].clone()]);
    assert!(ask(&["run", "status", &run]).out.contains("(gang 2)"));
    assert_eq!(run_end(&client, &waiting).await.state(), v1::RunState::Succeeded);
}
