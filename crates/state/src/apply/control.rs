//! Control of a run that has not ended: paused, resumed, put elsewhere in the queue. Its tasks keep their rows: that they
//! are placed or not, and when, follows from the run's (`ready.rs`), so that none of this grows with how many they are.

use std::sync::Arc;

use super::overlay::Overlay;
use crate::{Event, Pause, Principal, Rejection, Reply, Run, RunId, Violation};

/// The highest priority of a run, as of a job.
const PRIORITY_MAX: u8 = 100;

pub(super) fn pause(overlay: &mut Overlay, by: &Principal, run: RunId, reason: &Arc<str>) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    let (bytes, bytes_max) = (reason.len() as u64, u64::from(settings.annotation_value_bytes_max));
    if bytes > bytes_max {
        let message = format!("has {bytes} bytes, annotation_value_bytes_max is {bytes_max}");
        return Err(invalid("reason", message));
    }
    let run = open(overlay, run)?;
    // Since when it stands still does not change with the reason.
    let at = run.paused.as_ref().map_or(overlay.now(), |pause| pause.at);
    let pause = Pause { by: by.clone(), at, reason: reason.clone() };
    overlay.put_run(Run { paused: Some(Arc::new(pause)), ..(*run).clone() });
    if run.paused.is_none() {
        overlay.emit(Event::RunPaused { run: run.id, by: by.clone() });
    }
    Ok(Reply::Controlled { revision: overlay.revision() })
}

pub(super) fn resume(overlay: &mut Overlay, by: &Principal, run: RunId) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let run = open(overlay, run)?;
    if run.paused.is_some() {
        overlay.put_run(Run { paused: None, ..(*run).clone() });
        overlay.emit(Event::RunResumed { run: run.id, by: by.clone() });
    }
    Ok(Reply::Controlled { revision: overlay.revision() })
}

pub(super) fn set_priority(
    overlay: &mut Overlay,
    by: &Principal,
    run: RunId,
    priority: u8,
) -> Result<Reply, Rejection> {
    overlay.settings()?;
    if priority > PRIORITY_MAX {
        return Err(invalid("priority", format!("is {priority}, at most {PRIORITY_MAX} is possible")));
    }
    let run = open(overlay, run)?;
    if run.priority() != priority {
        overlay.put_run(Run { priority_set: Some(priority), ..(*run).clone() });
        overlay.emit(Event::RunPrioritySet { run: run.id, priority, by: by.clone() });
    }
    Ok(Reply::Controlled { revision: overlay.revision() })
}

/// A run of which something may still be placed: also of one that is being cancelled, if something comes after its work.
fn open(overlay: &Overlay, id: RunId) -> Result<Arc<Run>, Rejection> {
    let run = overlay.run(id)?;
    let is_over = run.cancelling && (run.abandoned || run.graph.after().is_empty());
    if is_over || run.state.is_terminal() { Err(Rejection::RunOver(id)) } else { Ok(run) }
}

fn invalid(field: &str, message: String) -> Rejection {
    Rejection::Invalid(vec![Violation { field: field.into(), message }])
}
