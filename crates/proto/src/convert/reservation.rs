//! What becomes of reservations, as sent and as stored.

use quorate_state::ReservationMove;

use crate::v1;

/// What became of one.
pub fn move_to_wire(to: ReservationMove) -> v1::ReservationMove {
    match to {
        ReservationMove::Made => v1::ReservationMove::Made,
        ReservationMove::Opened => v1::ReservationMove::Opened,
        ReservationMove::Over => v1::ReservationMove::Over,
        ReservationMove::Ended => v1::ReservationMove::Ended,
    }
}

/// The same of a message; none if it says nothing that this version knows.
pub fn move_from_wire(to: v1::ReservationMove) -> Option<ReservationMove> {
    match to {
        v1::ReservationMove::Unspecified => None,
        v1::ReservationMove::Made => Some(ReservationMove::Made),
        v1::ReservationMove::Opened => Some(ReservationMove::Opened),
        v1::ReservationMove::Over => Some(ReservationMove::Over),
        v1::ReservationMove::Ended => Some(ReservationMove::Ended),
    }
}
