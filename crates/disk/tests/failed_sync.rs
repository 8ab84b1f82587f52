//! A device that cannot make bytes durable ends the process at once: nothing that is in memory after a
//! failed sync may be vouched for.
#![expect(unsafe_code, reason = "a symbol of libc is replaced, so that syncs can fail")]

use std::ffi::c_int;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_disk::RocksDisk;
use quorate_seams::{Batch, Disk as _, Durability, Table};

static BROKEN: AtomicBool = AtomicBool::new(false);
const CHILD: &str = "QUORATE_TEST_FAILED_SYNC";

/// RocksDB's way to make its log durable.
// SAFETY: the signature is libc's; what it calls instead takes the same descriptor.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    if BROKEN.load(Ordering::SeqCst) {
        // What errno says does not matter: anything that fails is a failure.
        return -1;
    }
    // SAFETY: libc's own function; a wrong descriptor is an error, not undefined.
    unsafe { fsync(fd) }
}

unsafe extern "C" {
    fn fsync(fd: c_int) -> c_int;
}

#[test]
fn a_failed_sync_aborts_the_process() {
    if let Some(directory) = std::env::var_os(CHILD) {
        let disk = RocksDisk::open(directory).unwrap();
        let mut batch = Batch::default();
        batch.put(Table::State, "key", "value");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(disk.submit(batch.clone(), Durability::Synced)).unwrap();
        BROKEN.store(true, Ordering::SeqCst);
        let outcome = runtime.block_on(disk.submit(batch, Durability::Synced));
        panic!("the process is still there, with {outcome:?}");
    }
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "a_failed_sync_aborts_the_process"]).env(CHILD, directory.path());
    let output = child.output().unwrap();
    assert_eq!(output.status.signal(), Some(6), "{output:?}");
}
