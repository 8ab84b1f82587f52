//! How long an attempt has said nothing while somebody listened.
//!
//! Measured here because only this node can see it, and on its own clock: what a process says while it runs is not in the
//! log. What it means is: the control plane decides, and has the attempt stopped as for any other timeout.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::driver::{Pulse, Sign};

/// How often is listened.
const LISTEN_EVERY: Duration = Duration::from_secs(1);
/// More than this does not count from one look to the next: the agent stood still meanwhile, or the machine did.
const LISTENED_MAX: Duration = Duration::from_secs(2);

/// Waits until an attempt has said nothing for too long, and says for how long. Its start, or its being taken over by
/// another agent, counts as its first word. Cancel-safe.
pub(super) async fn fallen_silent(pulse: Option<(Arc<dyn Pulse>, Duration)>) -> Duration {
    let Some((pulse, silent_max)) = pulse else { return std::future::pending().await };
    let mut silence = Silence::new(Instant::now());
    loop {
        tokio::time::sleep(LISTEN_EVERY).await;
        let sign = pulse.sign().await;
        if silence.listen(sign, Instant::now()) >= silent_max {
            return silent_max;
        }
    }
}

/// What was heard so far.
struct Silence {
    sign: Sign,
    listened_at: Instant,
    lasts: Duration,
}

impl Silence {
    fn new(now: Instant) -> Self {
        Self { sign: Sign::default(), listened_at: now, lasts: Duration::ZERO }
    }

    /// How long nothing was said, now that its report looks like this.
    fn listen(&mut self, sign: Sign, now: Instant) -> Duration {
        let listened = now.saturating_duration_since(self.listened_at).min(LISTENED_MAX);
        self.listened_at = now;
        self.lasts = if self.sign == sign { self.lasts + listened } else { Duration::ZERO };
        self.sign = sign;
        self.lasts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(bytes: u64) -> Sign {
        Sign { bytes, written_ns: 7 }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_what_was_listened_to_since_the_last_word() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut silence = Silence::new(start);
        let mut listen = |sign, now| silence.listen(sign, now).as_millis();
        assert_eq!(listen(Sign::default(), at(1_000)), 1_000, "the start counts as the first word");
        assert_eq!(listen(sign(5), at(2_000)), 0);
        assert_eq!(listen(sign(5), at(3_500)), 1_500);
        assert_eq!(listen(sign(5), at(63_500)), 3_500, "nobody listened for a minute");
        assert_eq!(listen(Sign { written_ns: 8, ..sign(5) }, at(64_500)), 0, "the same again is a word as well");
        assert_eq!(listen(sign(5), at(65_500)), 0, "and so is a file that was written anew");
        assert_eq!(listen(sign(5), at(66_500)), 1_000);
    }
}
