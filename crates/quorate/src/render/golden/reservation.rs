//! Nodes that are set aside.

use quorate_proto::v1;

use super::check;
use crate::render::reservation::{ReservationCreated, ReservationEnded, ReservationList, ReservationShown};
use crate::render::{Paint, View as _};

fn spring(open: bool) -> v1::Reservation {
    let node = |name: &str, takes_work, own_attempts, other_attempts| v1::ReservedNode {
        name: name.into(),
        takes_work,
        own_attempts,
        other_attempts,
    };
    v1::Reservation {
        name: "spring".into(),
        namespace: "research".into(),
        nodes: vec![node("eu-1-a", Some(true), 3, 1), node("eu-1-b", Some(false), 0, 0), node("eu-1-c", None, 0, 0)],
        open,
        begins_in_ms: if open { 0 } else { 5_400_000 },
        ends_in_ms: 9_000_000,
        by: "operator:ada".into(),
        at_ms: 1_763_900_000_000,
        waiting: 12,
    }
}

#[test]
fn a_reservation_says_what_is_on_its_nodes_and_who_waits() {
    let shown = ReservationShown::from(v1::GetReservationResponse { reservation: Some(spring(true)), revision: 57 });
    check("reservation", &shown);
    let expected = "\
Reservation  spring (open)
Namespace    research
Time         begins now, ends in 2h30m
Made by      operator:ada at 2025-11-23T12:13:20Z
Waiting      12 tasks

NODE    STATUS          OF IT  OTHERS
eu-1-a  takes work      3      1
eu-1-b  out of service  0      0
eu-1-c  not known       0      0";
    assert_eq!(shown.human(Paint::Never), expected);
}

#[test]
fn a_list_says_when_each_begins_and_ends() {
    let other = v1::Reservation { name: "tonight".into(), ..spring(false) };
    let answer = v1::ListReservationsResponse { reservations: vec![spring(true), other], revision: 57 };
    let list = ReservationList::from(answer);
    check("reservation_list", &list);
    let expected = "\
RESERVATION  NAMESPACE  STATE    BEGINS    ENDS      NODES
spring       research   open     begun     in 2h30m  3
tonight      research   planned  in 1h30m  in 2h30m  3";
    assert_eq!(list.human(Paint::Never), expected);
    let none = ReservationList::from(v1::ListReservationsResponse::default());
    assert!(none.human(Paint::Never).contains("reservation create"));
}

#[test]
fn who_made_or_ended_one_is_told_what_that_means() {
    let created = ReservationCreated {
        name: "spring".into(),
        namespace: "research".into(),
        nodes: vec!["eu-1-a".into(), "eu-1-b".into()],
        wait_ms: 5_400_000,
        for_ms: 3_600_000,
        revision: 57,
    };
    check("reservation_created", &created);
    let text = created.human(Paint::Never);
    assert!(text.contains("2 nodes for namespace research, in 1h30m for 1h00m"), "{text}");
    check("reservation_ended", &ReservationEnded { name: "spring".into(), revision: 58 });
}
