//! Bad input: each a clear error, and nothing changed.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use quorate_proto::v1;
use quorate_tests::{binary, options, quorate, said, start, until};

/// Job files and a word that the answer must have.
const FILES: &[(&str, &[u8], &str)] = &[
    ("unknown key", b"name = \"j\"\n[task.t]\nrunn = [\"true\"]\n", "run"),
    ("no reference", b"name = \"j\"\n[task.t]\nrun = [\"true\"]\nwhen = \"x\"\n", "is no reference"),
    ("a shell's own", b"name = \"j\"\n[task.t]\nrun = [\"echo\", \"${HOME}\"]\n", "$${HOME}"),
    ("itself", b"name = \"j\"\n[task.a]\nneeds = [\"a\"]\nrun = [\"true\"]\n", "itself"),
    (
        "twice",
        b"name = \"j\"\n[task.b]\nrun = [\"true\"]\n[task.a]\nneeds = [\"b\", \"b\"]\nrun = [\"true\"]\n",
        "twice",
    ),
    (
        "cycle through references",
        b"name = \"j\"\n[task.a]\nrun = [\"x\", \"${b.result}\"]\n[task.b]\nrun = [\"x\", \"${a.result}\"]\n",
        "a -> b -> a",
    ),
    ("stands in for itself", b"name = \"j\"\n[task.a]\nrun = [\"true\"]\non = { failed = [\"a\"] }\n", "for itself"),
    ("no such element", b"name = \"j\"\n[task.a]\nrun = [\"x\", \"${each}\"]\n", "each"),
    ("too many elements", b"name = \"j\"\n[task.a]\neach = 3000000\nrun = [\"true\"]\n", "tasks_per_run_max"),
    (
        "cycle",
        b"name = \"j\"\n[task.a]\nneeds = [\"b\"]\nrun = [\"true\"]\n[task.b]\nneeds = [\"a\"]\nrun = [\"true\"]\n",
        "cycle",
    ),
    ("missing need", b"name = \"j\"\n[task.a]\nneeds = [\"zz\"]\nrun = [\"true\"]\n", "zz"),
    ("count", b"name = \"j\"\n[task.a]\ncount = 4294967296\nrun = [\"true\"]\n", "count"),
    ("negative", b"name = \"j\"\n[task.a]\nrun = [\"true\"]\nresources = { cpu = -1 }\n", "cpu"),
    ("absurd", b"name = \"j\"\n[task.a]\nrun = [\"true\"]\nresources = { memory = \"999999999Ti\" }\n", "memory"),
    ("no program", b"name = \"j\"\n[task.a]\nrun = []\n", "program"),
    ("NUL", b"name = \"j\"\n[task.a]\nrun = [\"a\\u0000b\"]\n", "NUL"),
    ("not UTF-8", b"name = \"j\xff\"\n", "UTF-8"),
    ("namespace", b"name = \"j\"\nnamespace = \"nobody\"\n[task.a]\nrun = [\"true\"]\n", "nobody"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_job_files_are_refused_and_nothing_changes() {
    let cluster = start(options(1)).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes, word) in FILES {
        std::fs::write(directory.path().join("job.toml"), bytes).unwrap();
        let said = quorate(cluster.api_addresses(), directory.path(), &["job", "run", "job.toml"]);
        assert_ne!(said.code, 0, "{name}: {said:?}");
        assert!(said.out.is_empty() && said.err.contains(word), "{name}: {said:?}");
    }
    // What is nested, long or multiplied beyond all reason.
    let deep = format!("{}true{}", "(".repeat(1_000), ")".repeat(1_000));
    let long = "true || ".repeat(1_000);
    let nested = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let bomb = (1..9).fold("a0: &a0 [x, x]\n".to_owned(), |text, at| text + &format!("a{at}: &a{at} [*a{}]\n", at - 1));
    for (file, text, word) in [
        (
            "deep.toml",
            format!("name = \"j\"\n[task.a]\nrun = [\"true\"]\nwhen = \"{deep}\"\n"),
            "CONDITION_BRACKETS_MAX",
        ),
        (
            "long.toml",
            format!("name = \"j\"\n[task.a]\nrun = [\"true\"]\nwhen = \"{long}true\"\n"),
            "CONDITION_BYTES_MAX",
        ),
        (
            "nested.json",
            format!("{{\"name\":\"j\",\"task\":{{\"a\":{{\"run\":[\"true\"],\"each\":{nested}}}}}}}"),
            "NESTING_MAX",
        ),
        ("bomb.yaml", format!("name: j\n{bomb}"), "aliases are not supported"),
    ] {
        std::fs::write(directory.path().join(file), text).unwrap();
        let said = quorate(cluster.api_addresses(), directory.path(), &["job", "run", file]);
        assert!(said.code != 0 && said.out.is_empty() && said.err.contains(word), "{file}: {said:?}");
    }
    let mut large = std::fs::File::create(directory.path().join("large.toml")).unwrap();
    for _ in 0..100 {
        large.write_all(&vec![b'#'; 1 << 20]).unwrap();
    }
    let refused = quorate(cluster.api_addresses(), directory.path(), &["job", "run", "large.toml"]);
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("BYTES_MAX"), "{refused:?}");
    // Nothing above became a run or a job.
    let runs = client.list_runs(v1::ListRunsRequest { page_size: 10, ..v1::ListRunsRequest::default() }).await.unwrap();
    assert_eq!(runs.runs.len(), 0);
    // What no node can ever hold: the plan says so.
    std::fs::write(
        directory.path().join("huge.toml"),
        "name = \"huge\"\n[task.t]\nrun = [\"true\"]\nresources = { cpu = 1000 }\n",
    )
    .unwrap();
    let plan = quorate(cluster.api_addresses(), directory.path(), &["job", "plan", "huge.toml"]);
    assert!(plan.out.contains("too small") || plan.out.contains("TOO_SMALL"), "{plan:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_agent_with_a_taken_name_is_told_so() {
    let mut options = options(1);
    options.agents.truncate(1);
    let cluster = start(options).await;
    let client = cluster.client();
    let before = client.list_nodes(v1::ListNodesRequest { page_size: 10, page_token: String::new() }).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let replicas = client.list_replicas(v1::ListReplicasRequest {}).await.unwrap();
    let agent_address = replicas.replicas[0].agent_address.clone();
    let arguments = [
        "agent",
        "--replicas",
        &agent_address,
        "--node",
        "node-1",
        "--region",
        "eu",
        "--cluster",
        "eu-a",
        "--data-dir",
        "data",
        "--listen-ops",
        "off",
    ];
    let said = quorate(&[], directory.path(), &arguments);
    assert_ne!(said.code, 0);
    assert!(said.err.contains("node-1") && said.err.contains("held by another agent"), "{said:?}");
    let after = client.list_nodes(v1::ListNodesRequest { page_size: 10, page_token: String::new() }).await.unwrap();
    assert_eq!(before.nodes[0].uuid, after.nodes[0].uuid);
    assert_eq!(before.nodes[0].epoch, after.nodes[0].epoch);
}

/// Runs `quorate server` with `arguments`; it must end by itself.
fn server(directory: &Path, arguments: &[&str]) -> quorate_tests::Said {
    let output = Command::new("timeout")
        .args(["30", binary().to_str().unwrap(), "server"])
        .args(arguments)
        .args(OPS_OFF)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    said(&output)
}

/// Its default port is one for the whole machine.
const OPS_OFF: [&str; 2] = ["--listen-ops", "off"];
const FREE: [&str; 6] =
    ["--listen-api", "127.0.0.1:0", "--listen-agent", "127.0.0.1:0", "--listen-raft", "127.0.0.1:0"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_start_says_why() {
    let mut options = options(1);
    options.agents.clear();
    let cluster = start(options).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();

    let taken = cluster.api_addresses()[0].clone();
    let said = server(
        path,
        &[
            "init",
            "--data-dir",
            "a",
            "--listen-api",
            &taken,
            "--listen-agent",
            "127.0.0.1:0",
            "--listen-raft",
            "127.0.0.1:0",
        ],
    );
    assert!(said.code != 0 && said.err.contains(&taken) && said.err.contains("in use"), "{said:?}");

    // Not loopback, and no TLS.
    let said = server(
        path,
        &[
            "init",
            "--data-dir",
            "b",
            "--listen-api",
            "0.0.0.0:0",
            "--listen-agent",
            "127.0.0.1:0",
            "--listen-raft",
            "127.0.0.1:0",
        ],
    );
    assert!(said.code != 0 && said.err.contains("listen.api") && said.err.contains("insecure"), "{said:?}");

    // Nothing to go on with.
    let said = server(path, &[&["run", "--data-dir", "c"], &FREE[..]].concat());
    assert!(said.code != 0 && said.err.contains("init"), "{said:?}");

    // A disk that cannot be written: a file where the directory should be.
    std::fs::write(path.join("file"), "x").unwrap();
    let said = server(path, &[&["init", "--data-dir", "file/data"], &FREE[..]].concat());
    assert!(said.code != 0 && said.err.contains("file/data"), "{said:?}");

    // The data of the running replica, which holds its lock.
    let data = cluster.directory().join("replica-1").join("data");
    let said = server(path, &[&["run", "--data-dir", data.to_str().unwrap()], &FREE[..]].concat());
    assert!(said.code != 0 && (said.err.contains("lock") || said.err.contains("in use")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_of_another_cluster_is_refused() {
    let mut options = options(1);
    options.agents.clear();
    let ours = start(options.clone()).await;
    let mut theirs = start(options).await;
    theirs.stop(0).await.unwrap();
    let data = theirs.directory().join("replica-1").join("data");
    let replicas = ours.client().list_replicas(v1::ListReplicasRequest {}).await.unwrap();
    let raft = replicas.replicas[0].raft_address.clone();
    let directory = tempfile::tempdir().unwrap();
    let said = server(
        directory.path(),
        &[&["join", "--peers", &raft, "--data-dir", data.to_str().unwrap()], &FREE[..]].concat(),
    );
    assert!(said.code != 0 && said.err.contains("cluster"), "{said:?}");
    let after = ours.client().list_replicas(v1::ListReplicasRequest {}).await.unwrap();
    assert_eq!(after.replicas.len(), 1, "a foreign replica was let in");
}

/// Mounts a small file system; needs root.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "a test that could not run says so")]
async fn a_full_disk_stops_the_replica_with_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(directory.path()).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        println!("skipped: mounting a small file system is not allowed here");
        return;
    }
    let result = fill_disk(directory.path()).await;
    let unmounted = Command::new("umount").arg(directory.path()).status().unwrap();
    assert!(unmounted.success());
    let text = result.unwrap();
    assert!(text.contains("disk is full"), "{text}");
}

/// Starts a replica on `directory`, submits until the disk is full, and returns what it said at its end.
async fn fill_disk(directory: &Path) -> Result<String, String> {
    // Elsewhere: what it says of a full disk must have room.
    let elsewhere = tempfile::tempdir().map_err(|error| error.to_string())?;
    let log = elsewhere.path().join("log");
    let mut child = Command::new(binary())
        .args(["server", "init", "--data-dir"])
        .arg(directory.join("data"))
        // With a reserve it would refuse the jobs long before.
        .args(["--disk-reserve", "off"])
        .args(FREE)
        .args(OPS_OFF)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).map_err(|error| error.to_string())?)
        .spawn()
        .map_err(|error| error.to_string())?;
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    let address = until("the replica to listen", || async {
        let text = read();
        let rest = text.split("ready: clients ").nth(1).ok_or_else(|| text.clone())?;
        rest.split(',').next().map(str::to_owned).ok_or(text.clone())
    })
    .await;
    let config = quorate_client::ClientConfig::new(vec![address]);
    let client = quorate_client::Client::new(
        quorate_client::ClientConfig { deadline: std::time::Duration::from_secs(3), ..config },
        std::sync::Arc::new(quorate_seams::TcpNetwork),
        std::sync::Arc::new(quorate_seams::SystemEntropy),
    );
    let filler = "x".repeat(100_000);
    for number in 0..2_000 {
        let spec = quorate_tests::spec(&format!("name = \"j{number}\"\n[task.t]\nrun = [\"echo\", \"{filler}\"]\n"));
        let submitted = client.submit_job(v1::SubmitJobRequest { spec: Some(spec), request_id: String::new() }).await;
        if submitted.is_err() && child.try_wait().map_err(|error| error.to_string())?.is_some() {
            break;
        }
    }
    if child.try_wait().map_err(|error| error.to_string())?.is_none() {
        child.kill().map_err(|error| error.to_string())?;
    }
    child.wait().map_err(|error| error.to_string())?;
    Ok(read())
}
