//! A cluster that is gone goes on from its backup: what was in it is there, what runs is neither killed
//! nor repeated, and a backup that is not whole is refused before anything is made of it.

use std::collections::BTreeSet;
use std::path::Path;

use quorate_proto::backup::{Chain, MAGIC, encode_piece, v1 as backup};
use quorate_proto::v1;
use quorate_tests::{Ledger, Server, get_run, options, quorate, run_end, start, submit, until};

/// A job whose one task of interest waits until `go` exists.
fn behind(go: &Path, name: &str, promise: &str, task: &str) -> String {
    let wait = format!("while [ ! -e {} ]; do sleep 0.1; done", go.display());
    format!(
        "name = \"{name}\"\non_node_loss = \"{promise}\"\n\
         [task.gate]\non_node_loss = \"at_least_once\"\nrun = [\"sh\", \"-c\", \"{wait}\"]\n\
         resources = {{ cpu = \"100m\", memory = \"16Mi\" }}\n\
         [task.{name}]\nneeds = [\"gate\"]\nrun = {task}\nresources = {{ cpu = \"100m\", memory = \"16Mi\" }}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_on_from_a_snapshot_that_was_taken_under_load() {
    let mut cluster = start(options(3)).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let ledger = Ledger::new();
    let go = path.join("go");
    let slow = submit(&client, &behind(&go, "slow", "at_least_once", &ledger.task("12"))).await;
    let once = submit(&client, &behind(&go, "once", "at_most_once", &ledger.task("0.1"))).await;
    let fenced = submit(&client, &behind(&go, "fenced", "fenced", &ledger.task("0.1"))).await;
    let mut before = BTreeSet::from(["slow".to_owned(), "once".to_owned(), "fenced".to_owned()]);
    for number in 0..20 {
        submit(&client, &format!("name = \"before-{number}\"\n[task.t]\nrun = [\"true\"]\n")).await;
        before.insert(format!("before-{number}"));
    }
    until("the gates to run", || async {
        for run in [&slow, &once, &fenced] {
            let counts = get_run(&client, run).await?.counts.unwrap_or_default();
            if counts.running == 0 {
                return Err(format!("{counts:?}"));
            }
        }
        Ok(())
    })
    .await;

    let load = tokio::spawn({
        let client = client.clone();
        async move {
            for number in 0..60 {
                submit(&client, &format!("name = \"during-{number}\"\n[task.t]\nrun = [\"true\"]\n")).await;
            }
        }
    });
    let addresses = cluster.api_addresses().to_vec();
    let ask = |arguments: &[&str]| quorate(&addresses, path, arguments);
    let saved = tokio::task::block_in_place(|| ask(&["snapshot", "save", "all", "--json"]));
    assert_eq!(saved.code, 0, "{saved:?}");
    load.await.unwrap();
    // Any replica will do, each at its own revision.
    for (number, address) in addresses.iter().enumerate() {
        let said = ask(&["snapshot", "save", &format!("from-{number}"), "--from", address, "--json"]);
        assert_eq!(said.code, 0, "{said:?}");
    }
    let inspected = ask(&["snapshot", "inspect", "all", "--json"]);
    assert_eq!(inspected.code, 0, "{inspected:?}");
    for key in ["digest", "cluster_id", "revision", "incarnation", "bytes"] {
        assert_eq!(saved.json()[key], inspected.json()[key], "{key}");
    }

    // The old life goes on for a while: what waited runs, and some of it ends.
    std::fs::write(&go, "").unwrap();
    until("what waited to run", || async {
        let (started, ended) = (ledger.lines("start").len(), ledger.lines("end").len());
        if (started, ended) == (3, 2) { Ok(()) } else { Err(format!("{started} started, {ended} ended")) }
    })
    .await;
    until("the quick ones to be done", || async {
        for run in [&once, &fenced] {
            let run = get_run(&client, run).await?;
            if run.state() != v1::RunState::Succeeded {
                return Err(format!("{run:?}"));
            }
        }
        Ok(())
    })
    .await;
    let old = client.list_replicas(v1::ListReplicasRequest {}).await.unwrap();
    let first = old.replicas.iter().find(|replica| replica.api_address == cluster.api_addresses()[0]).unwrap();
    for replica in 0..3 {
        cluster.kill9(replica);
    }

    let listen = [
        "--listen-api",
        &first.api_address,
        "--listen-agent",
        &first.agent_address,
        "--listen-raft",
        &first.raft_address,
    ];
    let restore =
        ["snapshot", "restore", "all", "--data-dir", "restored", "--expect-cluster", &old.cluster_id, "--json"];
    let restored = quorate(&[], path, &[&restore[..], &listen].concat());
    assert_eq!(restored.code, 0, "{restored:?}");
    let (restored, inspected) = (restored.json(), inspected.json());
    for (kind, rows) in restored["counts"].as_object().unwrap() {
        assert_eq!(*rows, inspected["counts"][kind], "{kind}");
    }
    assert_ne!(restored["cluster_id"], inspected["cluster_id"]);
    assert!(restored["base"].as_u64() > inspected["revision"].as_u64());
    let _server =
        Server::spawn(path, &[&["run", "--data-dir", "restored", "--listen-ops", "off"][..], &listen].concat());

    // Everything that was accepted before the save, and as many jobs as the snapshot says.
    let jobs = until("the list of jobs", || async {
        let request = v1::ListJobsRequest { page_size: 1000, ..v1::ListJobsRequest::default() };
        let jobs = client.list_jobs(request).await.map_err(|error| error.to_string())?.jobs;
        Ok(jobs.into_iter().map(|job| job.name).collect::<BTreeSet<_>>())
    })
    .await;
    assert!(before.is_subset(&jobs), "{jobs:?}");
    assert_eq!(Some(jobs.len() as u64), inspected["counts"]["jobs"].as_u64());

    // The task that runs is taken in, although the snapshot knew nothing of its start.
    assert_eq!(run_end(&client, &slow).await.state(), v1::RunState::Succeeded);
    // The one that may have had its one start waits for a person.
    let why = until("the once to be held", || async {
        let why = ask(&["task", "why", "once", "once", "--json"]);
        if why.code == 0 && why.json()["reason"]["kind"] == "held" { Ok(why) } else { Err(format!("{why:?}")) }
    })
    .await;
    assert!(why.json()["reason"]["text"].as_str().unwrap().contains("backup"), "{why:?}");
    assert_eq!(ask(&["run", "cancel", "once"]).code, 0);
    assert_eq!(run_end(&client, &once).await.state(), v1::RunState::Cancelled);
    // The fenced one is run again, later.
    assert_eq!(run_end(&client, &fenced).await.state(), v1::RunState::Succeeded);
    let starts = |task: &str| ledger.lines("start").iter().filter(|line| line.starts_with(task)).count();
    assert_eq!((starts("slow"), starts("once"), starts("fenced")), (1, 1, 2), "{:?}", ledger.lines("start"));

    let new = submit(&client, "name = \"new\"\n[task.t]\nrun = [\"true\"]\n").await;
    assert_eq!(run_end(&client, &new).await.state(), v1::RunState::Succeeded);
    let join = ["join", "--peers", &first.raft_address, "--data-dir", "joined", "--listen-ops", "off"];
    let free = ["--listen-api", "127.0.0.1:0", "--listen-agent", "127.0.0.1:0", "--listen-raft", "127.0.0.1:0"];
    let _joined = Server::spawn(path, &[&join[..], &free].concat());
    until("the second replica to vote and have everything", || async {
        let answer = client.list_replicas(v1::ListReplicasRequest {}).await.map_err(|error| error.to_string())?;
        let matched: BTreeSet<_> =
            answer.replicas.iter().map(|replica| (replica.voter, replica.matched_index)).collect();
        if answer.replicas.len() == 2 && matched.len() == 1 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_a_whole_snapshot_of_the_right_cluster_is_refused() {
    let mut options = options(1);
    options.agents.clear();
    let cluster = start(options).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let ask = |arguments: &[&str]| quorate(cluster.api_addresses(), path, arguments);
    assert_eq!(ask(&["snapshot", "save", "whole"]).code, 0);
    let whole = std::fs::read(path.join("whole")).unwrap();

    // A file is replaced on request only.
    let again = ask(&["snapshot", "save", "whole"]);
    assert!(again.code == 4 && again.err.contains("--force"), "{again:?}");
    assert_eq!(std::fs::read(path.join("whole")).unwrap(), whole);
    assert_eq!(ask(&["snapshot", "save", "whole", "--force"]).code, 0);
    assert_eq!(std::fs::read_dir(path).unwrap().count(), 1, "nothing is left beside it");
    let nowhere = ask(&["snapshot", "save", "none/such"]);
    assert!(nowhere.code == 1 && nowhere.err.contains("none/such"), "{nowhere:?}");
    let nobody = ask(&["snapshot", "save", "other", "--from", "127.0.0.1:1", "--deadline", "500ms"]);
    assert_eq!(nobody.code, 6, "{nobody:?}");
    assert!(!path.join("other").exists());

    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    std::fs::write(path.join("flipped"), flipped).unwrap();
    std::fs::write(path.join("cut"), &whole[..whole.len() - 7]).unwrap();
    std::fs::write(path.join("newer"), newer()).unwrap();
    std::fs::write(path.join("text"), "not a snapshot").unwrap();
    let other = "--expect-cluster=00000000000000000000000000000001";
    for (file, flags, code, word) in [
        ("flipped", "--json", 8, "damaged"),
        ("cut", "--json", 8, "cut off"),
        ("newer", "--json", 8, "newer version"),
        ("text", "--json", 8, "not a snapshot"),
        ("missing", "--json", 1, "missing"),
        ("whole", other, 4, "expected was"),
    ] {
        if flags == "--json" {
            let said = quorate(&[], path, &["snapshot", "inspect", file]);
            assert!(said.code == code && said.err.contains(word) && said.out.is_empty(), "{file}: {said:?}");
        }
        let said = quorate(&[], path, &["snapshot", "restore", file, "--data-dir", "made", flags]);
        assert!(said.code == code && said.err.contains(word), "{file}: {said:?}");
        assert!(!path.join("made").exists(), "{file}");
    }

    std::fs::create_dir(path.join("full")).unwrap();
    std::fs::write(path.join("full").join("file"), "x").unwrap();
    let said = quorate(&[], path, &["snapshot", "restore", "whole", "--data-dir", "full"]);
    assert!(said.code == 4 && said.err.contains("not empty"), "{said:?}");
    assert_eq!(std::fs::read_dir(path.join("full")).unwrap().count(), 1);
    let hidden = std::fs::read_dir(path)
        .unwrap()
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with('.')));
    assert_eq!(hidden.count(), 0, "nothing half made is left");
    assert_eq!(quorate(&[], path, &["snapshot", "restore", "whole", "--data-dir", "made"]).code, 0);
}

/// What a later version might write.
fn newer() -> Vec<u8> {
    let header = backup::Header { format: 2, ..backup::Header::default() };
    let piece = encode_piece(backup::piece::Piece::Header(header));
    let mut file = MAGIC.to_vec();
    file.extend(u32::try_from(piece.len()).unwrap().to_be_bytes());
    file.extend(Chain::default().with(&piece).digest());
    file.extend(piece);
    file
}
