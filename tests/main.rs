//! End to end: real processes, real sockets, real disks. Each module is one promise.

mod e2e;
