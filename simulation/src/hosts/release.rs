//! An operator who looks at what is in quarantine once the faults are over, and lets it run again. It sleeps until it is
//! told that there is something, so that runs without any are as if it did not exist.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{ApiError, Client, ClientConfig, Error};
use quorate_proto::v1;
use quorate_state::TaskId;
use tokio::sync::Notify;

use super::client::{ATTEMPT_TIMEOUT, DEADLINE};
use super::{API_PORT, addresses};
use crate::net::SimNetwork;
use crate::scenario::Scenario;
use crate::seeded::{SimEntropy, Stream};

/// Between two times of asking for the same.
const AGAIN_AFTER: Duration = Duration::from_millis(300);

/// Tasks to release, and how many are not done yet. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Releases {
    coming: Rc<RefCell<VecDeque<TaskId>>>,
    open: Rc<Cell<usize>>,
    bell: Rc<Notify>,
}

impl Releases {
    /// Has a task released.
    pub(crate) fn put(&self, task: TaskId) {
        self.open.set(self.open.get() + 1);
        self.coming.borrow_mut().push_back(task);
        self.bell.notify_one();
    }

    /// True when everything is done.
    pub(crate) fn is_clear(&self) -> bool {
        self.open.get() == 0
    }
}

/// Does so for as long as the run lasts.
pub(super) async fn let_go(scenario: Rc<Scenario>, releases: Releases) {
    let mut client = None;
    loop {
        releases.bell.notified().await;
        loop {
            let Some(task) = releases.coming.borrow_mut().pop_front() else { break };
            let client = client.get_or_insert_with(|| {
                let entropy = SimEntropy::new(Stream::of(scenario.seed, "releaser"));
                let (deadline, attempt_timeout) = (DEADLINE, ATTEMPT_TIMEOUT);
                let config =
                    ClientConfig { deadline, attempt_timeout, ..ClientConfig::new(addresses(&scenario, API_PORT)) };
                Client::new(config, Arc::new(SimNetwork), Arc::new(entropy))
            });
            while !is_released(client, task).await {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            releases.open.set(releases.open.get() - 1);
        }
    }
}

async fn is_released(client: &Client, task: TaskId) -> bool {
    let run = Some(v1::RunRef { r#ref: Some(v1::run_ref::Ref::RunId(task.run.to_string())) });
    let answer = match client.get_run(v1::GetRunRequest { run: run.clone() }).await {
        Ok(answer) => answer,
        // The data is another life's by now.
        Err(Error::Api(ApiError::NotFound { .. })) => return true,
        Err(_) => return false,
    };
    let Some(step) = answer.steps.get(task.step as usize) else { return false };
    let request = v1::ReleaseTaskRequest { run, task: step.task.clone(), index: task.index, request_id: String::new() };
    client.release_task(request).await.is_ok()
}
