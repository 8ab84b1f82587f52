//! Where work that waits for the disk is done.

/// Runs what waits for the disk without holding up the runtime's other tasks, where it has threads
/// for that; in place on a runtime of one thread, which is what the simulator uses.
///
/// For work whose caller is a task of its own and bounded in number: each call holds a thread for as
/// long as the disk takes.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    if is_single_threaded() { work() } else { tokio::task::block_in_place(work) }
}

/// True where the runtime has no threads but the calling one: a second one would make what happens
/// depend on more than the seed.
pub(crate) fn is_single_threaded() -> bool {
    let flavor = tokio::runtime::Handle::current().runtime_flavor();
    flavor == tokio::runtime::RuntimeFlavor::CurrentThread
}
