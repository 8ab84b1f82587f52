//! Where work that waits for the disk is done.

/// Runs what waits for the disk without holding up the runtime's other tasks, where it has threads
/// for that; in place on a runtime of one thread, which is what the simulator uses.
///
/// For work whose caller is a task of its own and bounded in number: each call holds a thread for as
/// long as the disk takes.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
