//! GPUs on their way from the words of an agent to the environments of processes, through a log that is new and agents that
//! begin again. The devices are those that the agents say they have: nothing here runs on one.

use quorate_bench::local::AgentOptions;
use quorate_proto::v1;
use quorate_tests::{attempts, options, quorate, run_end, start, submit, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_task_is_told_which_gpus_are_its_own_and_no_two_of_them_get_the_same() {
    let mut wanted = options(1);
    let agent = |node: &str, gpus: Option<&str>| AgentOptions {
        node: node.to_owned(),
        region: "eu".to_owned(),
        cluster: "eu-a".to_owned(),
        cpu: Some("16".to_owned()),
        memory: Some("4Gi".to_owned()),
        gpus: gpus.map(str::to_owned),
        flags: Vec::new(),
    };
    wanted.agents = vec![agent("plain", Some("none")), agent("render", Some("T4:2,A100-80G"))];
    let cluster = start(wanted).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| quorate(cluster.api_addresses(), directory.path(), arguments);
    // An agent that came before the feature was enabled is asked to come again.
    until("the GPUs to be known", || async {
        let list = ask(&["node", "list"]);
        if list.out.contains("0/3") { Ok(()) } else { Err(format!("{}{}", list.out, ask(&["replica", "list"]).out)) }
    })
    .await;
    let say =
        "echo \"[$QUORATE_GPUS] [$QUORATE_GPU_MILLI] [$CUDA_VISIBLE_DEVICES] [$NVIDIA_VISIBLE_DEVICES]\"; sleep 1000";
    let job = "name = \"render\"\n".to_owned()
        + &[
            ("half", "gpu = 0.5"),
            ("rest", "gpu = \"500m\""),
            ("big", "gpu = 1, gpu_models = [\"A100-80G\"]"),
            ("none", ""),
        ]
        .map(|(name, gpu)| {
            let comma = if gpu.is_empty() { "" } else { ", " };
            format!("[task.{name}]\nrun = [\"sh\", \"-c\", '{say}']\nresources = {{ cpu = \"100m\"{comma}{gpu} }}\n")
        })
        .concat();
    let run = submit(&client, &job).await;
    until("all to run", || async {
        let tries = attempts(&client, &run).await;
        let running = tries.iter().filter(|one| one.state() == v1::AttemptState::Running).count();
        if running == 4 { Ok(()) } else { Err(format!("{tries:?}")) }
    })
    .await;
    let said = |task: &'static str| {
        let (ask, run) = (&ask, &run);
        async move {
            until("the words of a task", || async {
                let logs = ask(&["run", "logs", run, task]);
                if logs.out.contains(']') { Ok(logs.out.trim().to_owned()) } else { Err(format!("{logs:?}")) }
            })
            .await
        }
    };
    assert_eq!(said("half").await, "[0] [500] [0] [0]");
    assert_eq!(said("rest").await, "[0] [500] [0] [0]");
    assert_eq!(said("big").await, "[2] [1000] [2] [2]");
    // Where there are GPUs it is told that it has none.
    let none = said("none").await;
    assert!(["[] [] [] []", "[] [0] [] [void]"].contains(&none.as_str()), "{none}");
    let node = ask(&["node", "status", "render", "--json"]).json();
    let used: Vec<_> = node["gpus"].as_array().unwrap().iter().map(|gpu| gpu["used_milli"].as_u64().unwrap()).collect();
    assert_eq!(used, [1_000, 0, 1_000], "{node}");

    let text = ask(&["node", "status", "render"]).out;
    assert!(text.contains("GPUs       0 T4 (1 taken), 1 T4, 2 A100-80G (1 taken)"), "{text}");
    let more = submit(
        &client,
        "name = \"more\"\n[task.a]\nrun = [\"true\"]\nresources = { gpu = 1, gpu_models = [\"A100-80G\"] }\n",
    )
    .await;
    until("what waits to say why", || async {
        let why = ask(&["task", "why", &more, "a"]);
        if why.out.contains("missing 1 of a GPU that it could use") { Ok(()) } else { Err(why.out) }
    })
    .await;
    let why_not = |node: &str| ask(&["node", "why-not", node, "--run", &more, "--task", "a", "--json"]);
    let checks = |node: &str| -> Vec<String> {
        let failed = why_not(node).json()["failed"].as_array().unwrap().clone();
        failed.iter().map(|failed| failed["check"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((checks("plain"), checks("render")), (vec!["TOO_SMALL".to_owned()], vec!["FULL".to_owned()]));
    let unknown = why_not("rendr");
    assert!(unknown.code != 0 && unknown.err.contains("render"), "{unknown:?}");
    assert_eq!(ask(&["run", "cancel", &run]).code, 0);
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Cancelled);
    // What was given back is given on.
    assert_eq!(run_end(&client, &more).await.state(), v1::RunState::Succeeded);
}
