//! The four seams through which every effect passes: clock, entropy, network and disk.
//!
//! `main` hands in the real ones, the simulator hands in its own, and both then start replicas and
//! agents through the same `run(config, seams)`. Nothing above this crate reads a clock, draws a
//! random number, opens a socket or touches a file of the store by any other way.
//!
//! Timers are the exception that proves the rule: code sleeps with `tokio::time`, which the
//! simulator drives, and then looks at the [`Clock`] to learn whether the deadline has passed.

// turmoil seeds tokio's generator only under this flag; an environment RUSTFLAGS silently replaces
// the one in .cargo/config.toml, and simulations would then differ from run to run.
#[cfg(not(tokio_unstable))]
compile_error!(
    "build with --cfg tokio_unstable: unset RUSTFLAGS (it overrides .cargo/config.toml), or add the flag to it"
);

mod clock;
mod disk;
mod entropy;
mod journal;
mod network;
mod shutdown;

pub use clock::{BootInstant, Clock, SystemClock, WallMillis};
pub use disk::{Batch, Completion, Disk, DiskError, DiskView, Done, Durability, NewRows, Row, Space, Table, Write};
pub use entropy::{Entropy, SystemEntropy};
pub use journal::{FileJournal, Journal};
pub use network::{BoxedIo, Listener, Network, TcpNetwork};
pub use shutdown::{Shutdown, ShutdownHandle};
